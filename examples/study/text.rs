//! Sentences of movie reviews, by MiniLM.

use freeze_core::models::{Pooling, TextContext};
use freeze_core::train::Epoch;
use twox_hash::XxHash3_128;

use crate::batches;
use crate::common::Result;
use crate::common::rated::Set;
use crate::folder::{Folder, Net};
use crate::job::{Batch, Job, Part, Places};
use crate::row::Row;
use crate::task::{Between, Sample, Task, of_ratings};
use crate::tokens::Encoded;

/// Tokens after which a sentence is cut off.
const LONGEST: usize = 128;
/// A sentence is positive if its mean rating is this or more, negative if it is minus this or less.
const THRESHOLD: f64 = 0.5;

pub(crate) struct TextJob {
    folder: Folder,
    classes: usize,
    parts: [Encoded; 3],
    batch: usize,
}

impl TextJob {
    /// The sentences that a row asks for, of each part those whose hashes are lowest: in the file all positive
    /// ones come first.
    ///
    /// # Errors
    ///
    /// A file is missing or wrong, or there are not as many sentences.
    pub(crate) fn of(row: &Row, places: &Places) -> Result<Self> {
        let mut folder = Folder::open(&places.texts.join("minilm"))?;
        // Without dropout a frozen front is the same for a sample in every epoch, with a cache and without.
        folder.config.hidden_dropout_prob = 0.0;
        folder.config.attention_probs_dropout_prob = 0.0;
        let rated = Set::Movies.read(&places.texts)?;
        let labelled = of_ratings(Set::Movies, rated, THRESHOLD, Between::LeftOut);
        let task = Task::new(labelled.collect())?;
        folder.cut_after(LONGEST);
        let tokens = folder.tokens()?;
        let part = |mut samples: Vec<Sample>, asked: usize, what: &str| {
            samples.sort_by_cached_key(|sample| XxHash3_128::oneshot(sample.text.as_bytes()));
            match samples.get(..asked) {
                Some(samples) => tokens.encode(samples),
                None => {
                    let found = samples.len();
                    Err(format!("{asked} sentences for {what} of {found}; take fewer").into())
                }
            }
        };
        let parts = [
            part(task.train, row.train, "training")?,
            part(task.valid, row.valid, "validation")?,
            part(task.test, row.test, "the test")?,
        ];
        Ok(Self { folder, classes: task.classes.len(), parts, batch: row.batch })
    }

    fn part(&self, part: Part) -> &Encoded {
        let [train, valid, test] = &self.parts;
        match part {
            Part::Train => train,
            Part::Valid => valid,
            Part::Test => test,
        }
    }
}

impl Job for TextJob {
    type Context = TextContext;
    type Net = Net;

    fn net(&self, seed: u64) -> Result<Net> {
        Ok(self.folder.net(self.classes, Pooling::Mean, seed)?.0)
    }

    fn shuffled(&self, epoch: &Epoch) -> Vec<Vec<u32>> {
        batches::shuffled(self.part(Part::Train), self.batch, &mut epoch.rng())
    }

    fn in_order(&self, part: Part) -> Vec<Vec<u32>> {
        batches::in_order(self.part(part), self.batch)
    }

    fn batch(&self, part: Part, which: &[u32]) -> candle_core::Result<Batch<TextContext>> {
        let batches::Batch { keys, tokens, classes, context } =
            batches::Batch::new(self.part(part), which, part == Part::Train)?;
        Ok(Batch { keys, inputs: tokens, context, classes })
    }
}
