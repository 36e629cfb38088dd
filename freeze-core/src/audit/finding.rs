//! The findings of an audit as sentences.

use std::fmt;

use crate::error::listed;

use super::{Audit, Cause, CutAt, FrozenWork, Outcome};

/// One thing that an audit found. Prints as a sentence with a remedy.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Finding {
    /// The model has no variable at all.
    NoVariables,
    /// Gradients that should have arrived did not.
    NoGradient {
        /// Paths of leaves, or full names of parameters where only some of a leaf's are concerned.
        names: Vec<String>,
        /// The cause that they share.
        cause: Cause,
    },
    /// A leaf's input passes through leaves that are declared after it.
    OutOfOrder {
        /// The leaf's path.
        path: String,
        /// The paths of those leaves.
        runs_behind: Vec<String>,
    },
    /// A frozen leaf for which gradients are computed that nobody reads.
    UnreadGradients {
        /// The leaf's path.
        path: String,
        /// Its type name.
        kind: &'static str,
        /// The bytes of those gradients.
        bytes: usize,
    },
}

impl Finding {
    /// Whether something does not train as it was meant to, or freezing would meet the wrong leaves;
    /// otherwise time is lost and nothing else.
    pub fn is_fault(&self) -> bool {
        !matches!(self, Self::UnreadGradients { .. })
    }
}

impl Audit {
    /// Everything found, faults first; leaves with one cause share a finding.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if !self.has_variables {
            findings.push(Finding::NoVariables);
        }
        for leaf in &self.leaves {
            let Outcome::Missing(cause) = &leaf.outcome else { continue };
            let mine: Vec<String> = match leaf.all_missing {
                true => vec![leaf.path.clone()],
                false => {
                    leaf.missing.iter().map(|name| crate::mapper::join(&leaf.path, name)).collect()
                }
            };
            let same = findings.iter_mut().find_map(|finding| match finding {
                Finding::NoGradient { names, cause: other } if other == cause => Some(names),
                _ => None,
            });
            match same {
                Some(names) => names.extend(mine),
                None => findings.push(Finding::NoGradient { names: mine, cause: cause.clone() }),
            }
        }
        for leaf in self.leaves.iter().filter(|leaf| !leaf.runs_behind.is_empty()) {
            let (path, runs_behind) = (leaf.path.clone(), leaf.runs_behind.clone());
            findings.push(Finding::OutOfOrder { path, runs_behind });
        }
        for leaf in &self.leaves {
            if let Outcome::Frozen(FrozenWork::Whole { bytes }) = leaf.outcome {
                let (path, kind) = (leaf.path.clone(), leaf.kind);
                findings.push(Finding::UnreadGradients { path, kind, bytes });
            }
        }
        findings
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVariables => f.write_str(
                "the model has no variables, so nothing in it can train; call `into_trainable()`",
            ),
            Self::NoGradient { names, cause } => {
                write!(f, "no gradient reaches {}: {cause}", listed(names))
            }
            Self::OutOfOrder { path, runs_behind } => write!(
                f,
                "`{path}` is declared before {} but runs behind; declare the layers in the order of \
                 the data flow, which is the order in which they freeze",
                listed(runs_behind)
            ),
            Self::UnreadGradients { path, kind, bytes } => write!(
                f,
                "`{path}` ({kind}) is frozen, but every step computes {bytes} bytes of gradients for \
                 it, since something below it trains; use the layer of `freeze_core::nn`"
            ),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut(CutAt::Leaf { path, kind }) => write!(
                f,
                "they are cut off at `{path}`, candle's {kind}, which has no backward; use \
                 `freeze_core::nn::{kind}`"
            ),
            Self::Cut(CutAt::AtOrAbove) => f.write_str(
                "an operation at or above has no backward, such as candle's fused softmax; use \
                 those of `freeze_core::nn::ops`",
            ),
            Self::Unused => f.write_str(
                "the loss does not depend on them; use them in the forward or freeze them",
            ),
            Self::RandomLoss => f.write_str(
                "why cannot be told, since the loss is random: two equal evaluations differ; audit \
                 without candle's dropout",
            ),
            Self::NonFiniteLoss => {
                f.write_str("why cannot be told, since the loss is infinite or NaN")
            }
        }
    }
}
