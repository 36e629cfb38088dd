//! What fine-tuning has to beat: the most frequent class, and a linear layer over the words of a text.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use candle_core::{D, DType, Device, Tensor};
use candle_nn::{Module, ParamsAdamW};
use freeze_core::init::Seeded;
use freeze_core::nn::{Linear, cross_entropy, linear};
use freeze_core::{Training, optim::AdamW};

use crate::common::Result;
use crate::task::{Sample, Task};

/// Guesses the class that most texts of the training set have.
pub(crate) fn majority(task: &Task) -> Vec<u32> {
    let count = |class: &u32| task.train.iter().filter(|text| text.class == *class).count();
    let most = (0..task.classes.len() as u32).rev().max_by_key(count).unwrap_or(0);
    vec![most; task.test.len()]
}

/// The guesses of a linear layer over which words a text has; words of one training text only do not count.
/// Of 20 epochs of `AdamW`, the one that guesses most of the validation set right decides.
///
/// # Errors
///
/// candle failed.
pub(crate) fn bag_of_words(task: &Task, seed: u64) -> Result<Vec<u32>> {
    let words = Words::of(&task.train);
    let net =
        linear(words.0.len(), task.classes.len(), Seeded::builder(seed, DType::F32, &Device::Cpu))?;
    let (epochs, size) = (20, 64);
    let params = ParamsAdamW { lr: 3e-3, weight_decay: 0.1, ..Default::default() };
    let mut run = Training::new(net)?
        .optimizer(|vars| AdamW::with_names(vars, params))?
        .seed(seed)
        .length(epochs, task.train.len().div_ceil(size))?;
    let (mut best, mut found) = (0, majority(task));
    while let Some(epoch) = run.next_epoch()? {
        for which in epoch.shuffled(task.train.len(), size) {
            let texts: Vec<&Sample> = which.iter().map(|&at| &task.train[at as usize]).collect();
            let classes: Vec<u32> = texts.iter().map(|text| text.class).collect();
            let scores = run.model().forward(&words.rows(&texts)?)?;
            run.step(&cross_entropy(&scores, &Tensor::new(classes, &Device::Cpu)?, None)?)?;
        }
        let net = run.freezer().frozen_view()?;
        let guesses = words.guess(&net, &task.valid)?;
        let right = guesses.iter().zip(&task.valid).filter(|(guess, text)| **guess == text.class);
        let right = right.count();
        if right > best {
            (best, found) = (right, words.guess(&net, &task.test)?);
        }
        run.epoch_end([])?;
    }
    Ok(found)
}

/// The words that count, each with its column.
struct Words(HashMap<String, usize>);

impl Words {
    fn of(samples: &[Sample]) -> Self {
        let mut texts: BTreeMap<String, usize> = BTreeMap::new();
        for sample in samples {
            for word in words(&sample.text) {
                *texts.entry(word).or_default() += 1;
            }
        }
        let often = texts.into_iter().filter(|(_, texts)| *texts > 1);
        // One more, so that there is a column in any case.
        let names = std::iter::once(String::new()).chain(often.map(|(word, _)| word));
        Self(names.enumerate().map(|(column, word)| (word, column)).collect())
    }

    /// 1 for each word that a text has, divided so that the squares of a row sum up to 1.
    fn rows(&self, samples: &[&Sample]) -> Result<Tensor> {
        let mut rows = vec![0f32; samples.len() * self.0.len()];
        for (sample, row) in samples.iter().zip(rows.chunks_mut(self.0.len())) {
            let found: Vec<usize> =
                words(&sample.text).iter().filter_map(|word| self.0.get(word)).copied().collect();
            found.iter().for_each(|&column| row[column] = 1.0 / (found.len() as f32).sqrt());
        }
        Ok(Tensor::from_vec(rows, (samples.len(), self.0.len()), &Device::Cpu)?)
    }

    fn guess(&self, net: &Linear, samples: &[Sample]) -> Result<Vec<u32>> {
        let mut guesses = Vec::new();
        for samples in samples.chunks(256) {
            let samples: Vec<&Sample> = samples.iter().collect();
            guesses
                .extend(net.forward(&self.rows(&samples)?)?.argmax(D::Minus1)?.to_vec1::<u32>()?);
        }
        Ok(guesses)
    }
}

/// The words of a text in lower case, each once.
fn words(text: &str) -> BTreeSet<String> {
    let lower = text.to_lowercase();
    let words = lower.split(|sign: char| !sign.is_alphanumeric() && sign != '\'');
    words.filter(|word| !word.is_empty()).map(str::to_string).collect()
}
