//! The findings of an audit as sentences.

use std::fmt;

use super::{Audit, AuditedLeaf, Cause, CutAt, FrozenWork, Outcome};
use crate::error::{listed, several};

/// One thing that an audit found. Prints as a sentence with a remedy.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Finding {
    /// The model has no variable at all.
    NoVariables,
    /// Trained parameters got no gradient.
    NoGradient {
        /// Paths of leaves, or full names of parameters if only some of a leaf's are concerned.
        names: Vec<String>,
        /// The cause that they share.
        cause: Cause,
    },
    /// Parameters that the plan trains are plain tensors, which cannot be trained.
    PlainTensors {
        /// Paths of leaves, or full names of parameters if only some of a leaf's are concerned.
        names: Vec<String>,
    },
    /// Gradients go to variables that the model does not have.
    OutsideTheModel {
        /// The variables' shapes.
        shapes: Vec<Vec<usize>>,
    },
    /// The loss uses the model's variables directly and not the model that it is given, in which
    /// they are frozen.
    PastTheModel {
        /// The variables' full names.
        names: Vec<String>,
    },
    /// The loss is infinite or NaN.
    NonFiniteLoss,
    /// Evaluations on the same input use different operations, so order and cost cannot be
    /// determined.
    RandomGraph,
    /// In each evaluation stages did not run, or returned what they were given. That may be meant, as for a
    /// dropout that is off.
    IdleStages {
        /// The stages' paths.
        paths: Vec<String>,
    },
    /// The first leaf, which freezes first, is used last.
    FirstRunsLast {
        /// The leaf's path.
        path: String,
    },
    /// A leaf's input passes through leaves that are declared after it.
    OutOfOrder {
        /// The leaf's path.
        path: String,
        /// The paths of those leaves.
        runs_behind: Vec<String>,
    },
    /// Gradients that nothing reads are computed for a frozen leaf.
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
    /// Whether something does not train as planned, or freezing would affect the wrong leaves.
    /// Otherwise the finding only costs time, or may be meant.
    pub fn is_fault(&self) -> bool {
        let at_times = matches!(self, Self::NoGradient { cause: Cause::AtTimes, .. });
        let is_harmless = matches!(
            self,
            Self::UnreadGradients { .. } | Self::RandomGraph | Self::IdleStages { .. }
        );
        !at_times && !is_harmless
    }
}

impl Audit {
    /// All findings, faults first; leaves with the same cause share one.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if !self.has_variables {
            return vec![Finding::NoVariables];
        }
        findings.extend(self.general.iter().cloned());
        let untrained = |leaf: &&AuditedLeaf| !matches!(leaf.outcome, Outcome::Frozen(_));
        let plain: Vec<String> =
            self.leaves.iter().filter(untrained).flat_map(AuditedLeaf::plain_names).collect();
        if !plain.is_empty() {
            findings.push(Finding::PlainTensors { names: plain });
        }
        for leaf in &self.leaves {
            let Outcome::Missing(cause) = &leaf.outcome else { continue };
            let mine: Vec<String> = match leaf.all_missing {
                true => vec![leaf.path.clone()],
                false => leaf.names(&leaf.missing).collect(),
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
        findings.sort_by_key(|finding| !finding.is_fault());
        findings
    }
}

impl AuditedLeaf {
    fn plain_names(&self) -> Vec<String> {
        match self.outcome {
            Outcome::NoVariables => vec![self.path.clone()],
            _ => self.names(&self.plain).collect(),
        }
    }
}

impl Finding {
    /// Emits it as a `tracing` warning.
    pub(crate) fn trace(&self) {
        tracing::warn!(fault = self.is_fault(), "{self}");
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
            Self::PlainTensors { names } => write!(
                f,
                "the plan trains {}, but they are plain tensors, which nothing can train; call \
                 `into_trainable()`, or freeze them",
                listed(names)
            ),
            Self::OutsideTheModel { shapes } => {
                let shown = several(shapes.iter().map(|shape| format!("{shape:?}")), ", ");
                write!(
                    f,
                    "gradients arrive at {} variables that the model does not have, of shapes \
                     {shown}: no plan freezes them, and no optimizer built from the model trains \
                     them; a field that holds parameters must not be skipped, and another model is \
                     used through a frozen view",
                    shapes.len()
                )
            }
            Self::PastTheModel { names } => write!(
                f,
                "the loss uses {} past the model that it is given, in which they are frozen; compute \
                 it from that model, and keep no clone of a parameter elsewhere",
                listed(names)
            ),
            Self::NonFiniteLoss => f.write_str(
                "the loss is infinite or NaN; lower the learning rate, or look for a division by 0, \
                 a logarithm of 0 or half-precision numbers above 65504",
            ),
            Self::RandomGraph => f.write_str(
                "the operations differ from one evaluation to the next, as with a random depth: \
                 whether leaves are declared in order and what frozen ones cost cannot be told",
            ),
            Self::IdleStages { paths } => write!(
                f,
                "the loss is computed without the stages {}: they do not run, or `run` returns what \
                 it is given",
                listed(paths)
            ),
            Self::FirstRunsLast { path } => write!(
                f,
                "`{path}` is declared first, so that it freezes first, but is used last; declare the \
                 layers in the order of the data flow"
            ),
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
            Self::AtTimes => f.write_str(
                "they arrive in some evaluations and not in others, as with a random depth",
            ),
            Self::NotTried => {
                f.write_str("one step does not tell why; `freeze_core::audit::audit` finds out")
            }
            Self::NonFiniteLoss => {
                f.write_str("why cannot be told, since the loss is infinite or NaN")
            }
        }
    }
}
