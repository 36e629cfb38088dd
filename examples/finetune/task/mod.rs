//! What is to be learned: labelled texts, and a split of them that does not leak.

mod labels;
mod split;

use std::fmt;

use crate::common::Result;

pub(crate) use labels::{Between, of_lines, of_ratings, parse};

/// A text, its class by name, and what it must not be separated from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Labelled {
    /// All texts of a group, such as the sentences of a review, are in one part of the split.
    pub(crate) group: String,
    pub(crate) class: String,
    pub(crate) text: String,
}

/// A text and the number of its class.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) text: String,
    pub(crate) class: u32,
}

/// Classes, and texts of them in three parts.
#[derive(Debug)]
pub(crate) struct Task {
    /// In alphabetical order; a class's number is its place.
    pub(crate) classes: Vec<String>,
    pub(crate) train: Vec<Sample>,
    /// Decides when training stops and which weights are kept.
    pub(crate) valid: Vec<Sample>,
    /// Only measured, at the end.
    pub(crate) test: Vec<Sample>,
    /// Texts that another one repeats, up to case, punctuation and spaces: the first is kept.
    pub(crate) repeated: usize,
}

impl Task {
    /// Splits texts by a hash of their group: 70 % for training, 15 % each for validation and test.
    ///
    /// # Errors
    ///
    /// There are fewer than two classes or more than 1000, or a part of the split has no text of a class.
    pub(crate) fn new(labelled: Vec<Labelled>) -> Result<Self> {
        let all = labelled.len();
        let labelled = split::without_repeats(labelled);
        let repeated = all - labelled.len();
        let mut classes: Vec<String> = labelled.iter().map(|text| text.class.clone()).collect();
        classes.sort();
        classes.dedup();
        if !(2..=1000).contains(&classes.len()) {
            let found = format!("the texts have {} different labels", classes.len());
            return Err(format!("{found}; 2 to 1000 are needed, in the first column").into());
        }
        let mut parts: [Vec<Sample>; 3] = Default::default();
        for Labelled { group, class, text } in labelled {
            let class = classes.partition_point(|before| *before < class) as u32;
            parts[split::part(&group)].push(Sample { text, class });
        }
        for (part, name) in parts.iter().zip(["training", "validation", "test"]) {
            let absent = |at: &usize| part.iter().all(|sample| sample.class as usize != *at);
            if let Some(at) = (0..classes.len()).find(absent) {
                let found = format!("no text for {name} has the label `{}`", classes[at]);
                return Err(format!("{found}; give more texts of it, some 20 at least").into());
            }
        }
        let [train, valid, test] = parts;
        Ok(Self { classes, train, valid, test, repeated })
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [&self.train, &self.valid, &self.test];
        let count = |class: usize| {
            parts
                .iter()
                .flat_map(|part| part.iter())
                .filter(|text| text.class as usize == class)
                .count()
        };
        for (at, class) in self.classes.iter().enumerate() {
            write!(f, "{}{} {class}", if at == 0 { "texts: " } else { ", " }, count(at))?;
        }
        let [train, valid, test] = parts.map(Vec::len);
        write!(f, "; {train} for training, {valid} for validation, {test} for test")?;
        write!(f, "; {} repeated ones left out", self.repeated)
    }
}
