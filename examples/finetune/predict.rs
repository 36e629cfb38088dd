//! What class texts have, by a model that was fine-tuned.

use std::path::Path;

use candle_core::{D, Tensor};
use candle_nn::ops::softmax;
use freeze_core::{Freezable, Staged};

use crate::batches::{Batch, in_order};
use crate::common::Result;
use crate::folder::{Folder, Net};
use crate::task::Sample;
use crate::tokens::Encoded;

/// Prints the most probable class of each text, its probability, and the text.
///
/// # Errors
///
/// The folder has no fine-tuned model, or not all of its weights, or there is no text.
pub(crate) fn predict(folder: &Path, texts: Vec<String>, longest: Option<usize>) -> Result<()> {
    if !folder.is_dir() {
        let found = format!("{}: no fine-tuned model", folder.display());
        return Err(
            format!("{found}; train without --predict first, or name one by --model").into()
        );
    }
    let mut folder = Folder::open(folder)?;
    longest.into_iter().for_each(|tokens| folder.cut_after(tokens));
    let (classes, pooling) = folder.classes()?;
    let net = folder.trained_net(classes.len(), pooling)?;
    let samples: Vec<Sample> = texts.into_iter().map(|text| Sample { text, class: 0 }).collect();
    let encoded = folder.tokens()?.encode(&samples)?;
    let net = net.freeze_upto(net.leaves()?.len())?;
    let wide = classes.iter().map(String::len).max().unwrap_or(0);
    for (sample, shares) in samples.iter().zip(probabilities(&net, &encoded)?) {
        let best = most_probable(&shares);
        println!("{:wide$}  {:5.1} %  {}", classes[best], 100.0 * shares[best], sample.text);
    }
    Ok(())
}

/// The class with the largest share.
pub(crate) fn most_probable(shares: &[f32]) -> usize {
    (0..shares.len()).max_by(|&a, &b| shares[a].total_cmp(&shares[b])).unwrap_or(0)
}

/// The probabilities of the classes for each text.
///
/// # Errors
///
/// candle failed.
pub(crate) fn probabilities(net: &Net, texts: &Encoded) -> candle_core::Result<Vec<Vec<f32>>> {
    let mut all = vec![Vec::new(); texts.len()];
    for which in in_order(texts, 64) {
        let batch = Batch::new(texts, &which, false)?;
        let scores: Tensor = net.forward(batch.tokens, &batch.context)?;
        let rows = softmax(&scores, D::Minus1)?.to_vec2::<f32>()?;
        which.iter().zip(rows).for_each(|(&text, row)| all[text as usize] = row);
    }
    Ok(all)
}
