//! The one error type of the library.

mod check;
mod words;

use std::path::Path;

pub(crate) use check::{at_least_1, check_number, check_positive, check_share, check_unit};
use words::short;
pub(crate) use words::{cut, listed, near, several};

/// What went wrong, and what to do about it.
///
/// Converts into [`candle_core::Error`], so `?` works inside functions that return candle's
/// `Result`; the original is kept as the source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// candle itself failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// Reading or writing failed in code of yours, such as a [`MetricSink`](crate::MetricSink).
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A number is outside its accepted range.
    #[error("`{name}` is {}, expected {expected}", short(.value))]
    Number {
        /// The argument's name.
        name: &'static str,
        /// What was given.
        value: f64,
        /// The accepted range, in words.
        expected: &'static str,
    },
    /// A count is outside its accepted range.
    #[error("`{name}` is {value}, expected {expected}")]
    Count {
        /// The argument's name.
        name: &'static str,
        /// What was given.
        value: u128,
        /// The accepted range, in words.
        expected: &'static str,
    },
    /// The reported progress of a run went backwards.
    #[error(
        "`{name}` goes back from {} of {} to {} of {}; it counts completed ones over the whole run, \
         and may go back only after `LayerFreezing::rewind`, as when an older checkpoint is resumed",
        from.0, from.1, to.0, to.1
    )]
    Backwards {
        /// `epoch` or `step`.
        name: &'static str,
        /// What was reported before: how many were completed, and of how many.
        from: (usize, usize),
        /// What is reported now.
        to: (usize, usize),
    },
    /// More leaves were asked for than the model has.
    #[error("cannot freeze up to leaf {asked}: the model has {leaves} leaves")]
    Depth {
        /// The number of leaves asked for.
        asked: usize,
        /// The number of leaves there are.
        leaves: usize,
    },
    /// No leaf is at or below a path.
    #[error("no leaf at or below `{}`{near}", cut(.path))]
    Path {
        /// The path asked for.
        path: String,
        /// The near names, as the end of the sentence.
        near: String,
    },
    /// A model has no such stage, or has it elsewhere than asked for.
    #[error("cannot enter or leave the model at stage `{stage}`: {why}")]
    Stage {
        /// The stage's path.
        stage: String,
        /// The reason, and the stages that exist.
        why: String,
    },
    /// A value that flows between the stages of a model does not have the expected form.
    #[error("the flow between stages, at `{part}`: {why}")]
    Flow {
        /// The part that differs: fields and indices joined by dots.
        part: String,
        /// The difference, and the remedy.
        why: String,
    },
    /// A stage that runs again in the backward does not do what it did in the forward.
    #[error("the stage that is recomputed: {why}")]
    Recompute {
        /// The difference, and the remedy.
        why: String,
    },
    /// A backward comes to an operation that released what it kept for it.
    #[error(
        "{op}: a backward has gone through this before and released it; compute the loss anew, and detach what it uses of \
         earlier steps; or, where the weights of what they share do not change in between, keep graphs, by `retain_graph` of a \
         `Training` or `backward` instead of `backward_once`"
    )]
    Released {
        /// The operation.
        op: &'static str,
    },
    /// The settings of a pretrained model cannot be used.
    #[error("{of}: {why}")]
    ModelConfig {
        /// The file, or `config`.
        of: String,
        /// The fault, and the remedy.
        why: String,
    },
    /// A pattern matches no leaf.
    #[error("no leaf matches `{}`{near}", cut(.pattern))]
    NoMatch {
        /// The pattern asked for.
        pattern: String,
        /// The near names, as the end of the sentence.
        near: String,
    },
    /// A pattern cannot be read.
    #[error("`{}` is not a pattern: {why}", cut(.pattern))]
    Pattern {
        /// The pattern asked for.
        pattern: String,
        /// The fault in it.
        why: String,
    },
    /// A saved plan has a leaf twice.
    #[error("the plan has the leaf `{}` twice; a plan has one state for each", cut(.path))]
    TwoStates {
        /// The leaf's path.
        path: String,
    },
    /// A plan was made for another model.
    #[error("the plan does not fit the model: {why}; make it from this model")]
    PlanMismatch {
        /// The first difference.
        why: String,
    },
    /// A plan made by hand trains leaves that hold only plain tensors, no variables.
    #[error(
        "no gradient step can move {names}, which the plan trains: their tensors are no variables; \
         call `into_trainable()` on the model before a freezer holds it, or freeze the leaf"
    )]
    NoVariables {
        /// The paths of the leaves.
        names: String,
    },
    /// An optimizer cannot do what the plan asks of it.
    #[error("{optimizer} cannot train `{name}` as planned: {why}")]
    Optimizer {
        /// The optimizer's type.
        optimizer: &'static str,
        /// The parameter's full name.
        name: String,
        /// The reason and the remedy.
        why: String,
    },
    /// A trained parameter belongs to none of the optimizers that were passed.
    #[error(
        "no optimizer owns {names}, which the plan trains; build one from `planned_vars()` of the \
         freezer and hand it over, or freeze the leaf"
    )]
    Unowned {
        /// The parameters' full names.
        names: String,
    },
    /// An optimizer that was passed before is missing now, and the plan changes variables that it
    /// owns.
    #[error(
        "the plan changes {names}, whose optimizer was handed over before and is not now; hand over \
         every optimizer in use, or one built anew from `vars()` of the freezer"
    )]
    LeftOut {
        /// The parameters' full names.
        names: String,
    },
    /// One of several ranks failed, left, or disagrees with the others.
    #[error("rank {rank}: {why}")]
    Rank {
        /// The rank, from 0.
        rank: usize,
        /// What it did, and the remedy.
        why: String,
    },
    /// MPI cannot be used.
    #[error("MPI: {why}")]
    Mpi {
        /// The reason and the remedy.
        why: String,
    },
    /// NCCL cannot be used, or a call has failed or not ended.
    #[error("NCCL: {why}")]
    Nccl {
        /// The reason and the remedy.
        why: String,
    },
    /// A training step reached no parameter.
    #[error("no gradient reached any of the {trained} trained variables{hint}")]
    NoGradient {
        /// How many variables were meant to train.
        trained: usize,
        /// The likely cause, as the end of the sentence.
        hint: &'static str,
    },
    /// A layer cannot be rebuilt with other tensors.
    #[error("`{path}` ({kind}) cannot be rebuilt: {why}")]
    Rebuild {
        /// The leaf's path.
        path: String,
        /// The layer's type.
        kind: &'static str,
        /// The reason and the remedy.
        why: String,
    },
    /// A model cannot be walked: a tensor outside a leaf, a map's key that is no part of a path, attributes where none can be.
    #[error("`map_params` at `{path}`: {why}")]
    Mapping {
        /// Where in the model.
        path: String,
        /// The reason and the remedy.
        why: &'static str,
    },
    /// A saved state of a policy does not fit the policy.
    #[error("the saved state does not fit the policy {policy}: {why}")]
    PolicyState {
        /// The policy in use.
        policy: String,
        /// The difference.
        why: String,
    },
    /// A quantity that a policy looks at is infinite or NaN.
    #[error(
        "the policy looks at the {what} of `{name}`, which is {value}; the policy has decided nothing, \
         lower the learning rate or clip the gradients"
    )]
    Observed {
        /// The parameter's full name.
        name: String,
        /// The quantity.
        what: &'static str,
        /// Its value.
        value: f64,
    },
    /// A policy cannot be made from its settings, or lacks something that the run must give it.
    #[error("the policy `{policy}`: {why}")]
    Policy {
        /// The policy's name.
        policy: String,
        /// The reason and the remedy.
        why: String,
    },
    /// An optimizer's state cannot be read or set from outside.
    #[error(
        "{optimizer} hides its state; use an optimizer of `freeze_core::optim` to save and resume"
    )]
    HiddenState {
        /// The optimizer's type.
        optimizer: &'static str,
    },
    /// An optimizer needs parameter names that it was never given.
    #[error(
        "{optimizer} has parameters without a name, which groups and saved state need; build it \
         with `with_names` or apply a plan through a freezer first"
    )]
    Unnamed {
        /// The optimizer's type.
        optimizer: &'static str,
    },
    /// A saved optimizer state does not fit the optimizer.
    #[error("the saved state does not fit {optimizer}: {why}")]
    OptimizerState {
        /// The optimizer's type.
        optimizer: &'static str,
        /// Every difference.
        why: String,
    },
    /// Gradients are infinite or NaN.
    #[error(
        "the gradients of {names} are infinite or NaN, nothing was updated; lower the learning \
         rate, clip the gradients, or skip such steps, with `OnNonFinite::Skip` of a `Training` or, in a loop of your \
         own, `NonFinite::SkipStep` of an optimizer"
    )]
    NonFinite {
        /// The parameters' full names, or their places in the optimizer.
        names: String,
    },
    /// A file or folder could not be read, written or put in its place.
    #[error("cannot {doing} `{path}`: {source}")]
    File {
        /// The file or folder.
        path: String,
        /// What was tried.
        doing: &'static str,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// A file is not a whole safetensors file, or its bytes have changed since it was written.
    #[error("`{path}` is damaged: {why}; take an older one, or fetch it again")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file was written by a later version of the library.
    #[error("`{path}` has format {found}, this version reads up to {known}; update `freeze-core`")]
    NewerFormat {
        /// The file.
        path: String,
        /// The file's format.
        found: u32,
        /// The latest format that can be read.
        known: u32,
    },
    /// A file was written by an earlier version of the library, in a format that is no longer read.
    #[error(
        "`{path}` has format {found}, this version reads {known} alone; resume it with the version \
         that wrote it"
    )]
    OlderFormat {
        /// The file.
        path: String,
        /// The file's format.
        found: u32,
        /// The format that can be read.
        known: u32,
    },
    /// A checkpoint belongs to another run: another model, optimizer, schedule or generator.
    #[error("`{path}` does not fit, nothing was changed: {why}")]
    Misfit {
        /// The file.
        path: String,
        /// Every difference.
        why: String,
    },
    /// Something that was passed cannot be saved.
    #[error("cannot save {what}: {why}")]
    Unsaved {
        /// What it is.
        what: String,
        /// The reason and the remedy.
        why: String,
    },
    /// The plan has been applied, but a metric could not be recorded.
    #[error("the plan has been applied, but its metric `{metric}` could not be recorded: {source}")]
    Unrecorded {
        /// The metric.
        metric: String,
        /// The error of the metrics sink.
        source: Box<Error>,
    },
    /// A call does not fit the state of a training run, or the run lacks a part.
    #[error("the training run: {why}")]
    Training {
        /// The reason and the remedy.
        why: String,
    },
    /// Activations cannot be stored, or the keys do not fit the samples.
    #[error("the activation cache: {why}")]
    Cache {
        /// The reason and the remedy.
        why: String,
    },
    /// A loss is infinite or NaN.
    #[error(
        "the loss of batch {batch} of epoch {epoch}, counted from 0, is {value}, nothing was updated; \
         lower the learning rate, clip the gradients, or skip such batches with `OnNonFinite::Skip`"
    )]
    NonFiniteLoss {
        /// The loss.
        value: f64,
        /// Epochs completed.
        epoch: usize,
        /// Batches of the epoch that were done.
        batch: usize,
    },
    /// A step that updates within its backward failed when some of its parameters were updated.
    #[error(
        "{updated} of {of} parameters were updated within the backward when it failed; resume the run \
         from a checkpoint: {source}"
    )]
    HalfUpdated {
        /// How many parameters were updated.
        updated: usize,
        /// How many train.
        of: usize,
        /// What failed.
        source: Box<Error>,
    },
    /// An audit found leaves that do not train as planned.
    #[error("the audit found faults: {faults}")]
    Audit {
        /// Every fault, with its leaves and a remedy.
        faults: String,
    },
}

/// The error for a file or folder that could not be read or written.
pub(crate) fn file_error(path: &Path, doing: &'static str, source: std::io::Error) -> Error {
    Error::File { path: path.display().to_string(), doing, source }
}

/// `std::result::Result` with this library's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The error for a count outside the `expected` range.
    pub(crate) fn count(
        name: &'static str,
        value: impl TryInto<u128>,
        expected: &'static str,
    ) -> Self {
        Self::Count { name, value: value.try_into().unwrap_or(u128::MAX), expected }
    }

    pub(crate) fn cache(why: impl Into<String>) -> Self {
        Self::Cache { why: why.into() }
    }

    #[cfg(feature = "mpi")]
    pub(crate) fn mpi(why: impl Into<String>) -> Self {
        Self::Mpi { why: why.into() }
    }

    #[cfg(feature = "nccl")]
    pub(crate) fn nccl(why: impl Into<String>) -> Self {
        Self::Nccl { why: why.into() }
    }

    pub(crate) fn policy(policy: &str, why: impl Into<String>) -> Self {
        Self::Policy { policy: policy.into(), why: why.into() }
    }

    pub(crate) fn rank(rank: usize, why: impl Into<String>) -> Self {
        Self::Rank { rank, why: why.into() }
    }

    pub(crate) fn training(why: impl Into<String>) -> Self {
        Self::Training { why: why.into() }
    }
}

impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Candle(error) => error,
            error => candle_core::Error::wrap(error),
        }
    }
}
