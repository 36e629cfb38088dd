//! Leaves that a policy treats as one.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::plan::matching_any;

/// What a policy counts as one layer: a setting of policies whose method speaks of layers or blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// Each leaf.
    Leaf,
    /// Each numbered part of the model: leaves whose paths agree up to the first number, such as
    /// those of `encoder.layers.3`. A leaf without a number in its path is a block of its own.
    #[default]
    Block,
    /// The leaves that each pattern matches; see
    /// [`FreezePlan::set_matching`](crate::FreezePlan::set_matching). A leaf belongs to the first
    /// pattern that matches it, or to no block.
    Patterns(Vec<String>),
}

impl By {
    /// An error if there is no pattern, so that there would be no block, and the policy would never act.
    pub(super) fn check(&self, policy: &str) -> Result<()> {
        match self {
            Self::Patterns(patterns) if patterns.is_empty() => {
                let why = "`by` has no pattern, so that there is no block; give at least one";
                Err(Error::policy(policy, why))
            }
            _ => Ok(()),
        }
    }
}

/// The blocks of a model, in the order of their first leaves.
///
/// ```
/// use freeze_core::policy::{Blocks, By};
///
/// let paths = ["embed", "body.0.a", "body.0.b", "body.1.a", "head"].map(String::from);
/// let blocks = Blocks::of(&paths, &By::Block)?;
/// assert_eq!(blocks.names().collect::<Vec<_>>(), ["embed", "body.0", "body.1", "head"]);
/// assert_eq!(blocks.body(), [1, 2]);
/// assert_eq!(blocks.leaves(1), [1, 2]);
/// # Ok::<(), freeze_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocks(Vec<Block>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Block {
    name: String,
    leaves: Vec<usize>,
    numbered: bool,
}

impl Blocks {
    /// The blocks of leaves with these paths.
    ///
    /// # Errors
    ///
    /// A pattern cannot be read or matches no leaf.
    pub fn of(paths: &[String], by: &By) -> Result<Self> {
        match by {
            By::Leaf => Ok(Self::grouped(paths, |path| (path, false))),
            By::Block => Ok(Self::grouped(paths, up_to_number)),
            By::Patterns(patterns) => Self::matched(paths, patterns),
        }
    }

    /// Leaves that follow each other with the same name are one block.
    fn grouped<'a>(paths: &'a [String], name: impl Fn(&'a str) -> (&'a str, bool)) -> Self {
        let mut blocks: Vec<Block> = Vec::new();
        for (leaf, path) in paths.iter().enumerate() {
            let (name, numbered) = name(path);
            match blocks.last_mut().filter(|last| last.name == name) {
                Some(last) => last.leaves.push(leaf),
                None => blocks.push(Block { name: name.into(), leaves: vec![leaf], numbered }),
            }
        }
        Self(blocks)
    }

    fn matched(paths: &[String], patterns: &[String]) -> Result<Self> {
        let mut taken = vec![false; paths.len()];
        let mut blocks = Vec::new();
        for pattern in patterns {
            let hits = matching_any(pattern, paths)?;
            let free = |leaf: &usize| !std::mem::replace(&mut taken[*leaf], true);
            let leaves: Vec<usize> = hits.into_iter().filter(free).collect();
            if !leaves.is_empty() {
                blocks.push(Block { name: pattern.clone(), leaves, numbered: true });
            }
        }
        blocks.sort_by_key(|block| block.leaves.first().copied());
        Ok(Self(blocks))
    }

    /// The number of blocks.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no block.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The blocks' names: a path, the beginning of one, or a pattern.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|block| block.name.as_str())
    }

    /// The leaves of the block at `index`; empty if there is none.
    pub fn leaves(&self, index: usize) -> &[usize] {
        self.0.get(index).map_or(&[], |block| &block.leaves)
    }

    /// The number of leaves in front of the block at `index`, which must all be frozen for a frozen
    /// prefix of blocks to need no backward; for the number of blocks, all leaves that are in one.
    pub fn leaves_before(&self, index: usize) -> usize {
        let next = self.0.get(index).and_then(|block| block.leaves.first());
        let last =
            || self.0.iter().flat_map(|block| &block.leaves).max().map_or(0, |leaf| leaf + 1);
        next.copied().unwrap_or_else(last)
    }

    /// The blocks that rotating policies draw from: the numbered ones, or all if none is numbered.
    /// What is outside them, such as embeddings and the head, they leave alone.
    pub fn body(&self) -> Vec<usize> {
        let numbered = |index: &usize| self.0[*index].numbered;
        let any = (0..self.0.len()).any(|index| numbered(&index));
        (0..self.0.len()).filter(|index| !any || numbered(index)).collect()
    }
}

/// The path up to its first number, and whether it has one.
fn up_to_number(path: &str) -> (&str, bool) {
    let mut end = 0;
    for segment in path.split('.') {
        end += segment.len();
        if !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit()) {
            return (&path[..end], true);
        }
        end += 1;
    }
    (path, false)
}
