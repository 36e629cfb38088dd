//! The settings of the budget.

use std::fmt;
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, at_least_1, check_number};
use crate::policy::By;

/// The settings of [`Budget`](super::Budget).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct BudgetSettings {
    /// The share of the time of a step that trains everything, in (0, 1], that a step may take;
    /// `None`: no limit.
    pub time: Option<f64>,
    /// The bytes of gradients, optimizer state and activations that a step may keep; `None`: no limit.
    pub bytes: Option<usize>,
    /// The share of the run, in (0, 1], after which leaves are looked at again.
    pub every: f64,
    /// Over how many batches the importance of a leaf is averaged.
    pub probe: usize,
    /// What trains together or not at all.
    pub by: By,
    /// Whether only a front may be frozen, with nothing that trains in it.
    pub prefix: bool,
    /// Whether the outputs of the frozen front are cached, so that its forward takes no time.
    pub cached: bool,
}

impl Default for BudgetSettings {
    fn default() -> Self {
        Self {
            time: Some(0.5),
            bytes: None,
            every: 1.0 / 3.0,
            probe: 3,
            by: By::Block,
            prefix: false,
            cached: false,
        }
    }
}

impl BudgetSettings {
    /// An error for a number outside its range, or if there is no limit.
    pub(super) fn check(&self) -> Result<()> {
        let share = (Bound::Excluded(0.0), Bound::Included(1.0));
        for (name, value) in [("time", self.time.unwrap_or(1.0)), ("every", self.every)] {
            check_number(name, value, share, "a number above 0 and at most 1")?;
        }
        at_least_1("probe", self.probe)?;
        self.by.check("budget")?;
        match (self.time, self.bytes) {
            (None, None) => {
                Err(Error::policy("budget", "neither `time` nor `bytes` is set; set one, or both"))
            }
            (_, Some(0)) => Err(Error::count("bytes", 0usize, "at least 1")),
            _ => Ok(()),
        }
    }
}

/// As a policy is described: without what is not set.
impl fmt::Display for BudgetSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { time, bytes, every, probe, by, prefix, cached } = self;
        write!(f, "budget(")?;
        time.iter().try_for_each(|time| write!(f, "time={time}, "))?;
        bytes.iter().try_for_each(|bytes| write!(f, "bytes={bytes}, "))?;
        write!(f, "every={every}, probe={probe}, ")?;
        match by {
            By::Leaf => write!(f, "by leaves")?,
            By::Block => write!(f, "by blocks")?,
            By::Patterns(patterns) => write!(f, "by {}", patterns.join(" | "))?,
        }
        let front = if *prefix { ", only a front frozen" } else { "" };
        let cached = if *cached { ", its outputs cached" } else { "" };
        write!(f, "{front}{cached})")
    }
}
