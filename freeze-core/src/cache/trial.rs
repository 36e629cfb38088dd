//! Whether the output of a stage can be stored, found by running it.

use std::borrow::Borrow;
use std::time::{Duration, Instant};

use candle_core::{DType, Tensor};

use super::context::CacheContext;
use crate::audit::trial::Saved;
use crate::bits::bits;
use crate::error::{Result, listed};
use crate::model::inspect::{generators, statistics};
use crate::model::{Flow, Generator, Rewind, Staged};

/// The largest difference between the outputs for a part of a batch and for the whole, relative to the
/// largest output: products of other sizes add in another order.
const TOLERANCE: f64 = 1e-3;
/// [`TOLERANCE`] for f16 and bf16.
const HALF_TOLERANCE: f64 = 3e-2;

/// A stage's output and how long it took, or why it cannot be stored.
pub(super) type Tried<F> = std::result::Result<(F, Duration), String>;

/// Which trials are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trials {
    /// Running the stage twice.
    pub(super) repeat: bool,
    /// Running it for a part of the batch.
    pub(super) part: bool,
}

/// Runs a stage with the trials that are due. Where its output cannot be stored, the generators of
/// dropouts and the running statistics are as before.
pub(super) fn tried<M: Staged<Context: CacheContext>>(
    model: &M,
    stage: M::Stage,
    xs: &M::Flow,
    context: &M::Context,
    trials: Trials,
) -> Result<Tried<M::Flow>> {
    let run = |xs, context: &M::Context| watched(model, stage, xs, context);
    if trials == (Trials { repeat: false, part: false }) {
        return run(xs.detached()?, context);
    }
    let statistics = Statistics::of(model)?;
    let (out, mut time) = match run(xs.detached()?, context)? {
        Ok(out) => out,
        refused => return Ok(refused),
    };
    let moved = statistics.moved()?;
    if !moved.is_empty() {
        return Ok(Err(format!(
            "the batch moves its running statistics {}, so it normalises by the batch; call \
             `set_batch_norm(BatchNormPolicy::Inference)`, and frozen batch norms normalise by their \
             statistics",
            listed(moved)
        )));
    }
    if trials.repeat {
        match run(xs.detached()?, context)? {
            // The first run may have waited for memory.
            Ok((again, second)) if are_equal(&out, &again)? => time = time.min(second),
            Ok(_) => {
                return Ok(Err("its output differs when it runs again with the same input: it \
                               draws random numbers, as candle's dropout does, or remembers; \
                               `nn::Dropout` in a struct that is frozen as a whole is off under \
                               `BatchNormPolicy::Inference`"
                    .to_string()));
            }
            refused => return Ok(refused),
        }
    }
    let batch = xs.batch()?;
    if trials.part && batch > 1 {
        // Every second sample, in reverse.
        let rows: Vec<u32> = (0..batch as u32).rev().step_by(2).collect();
        let alone = "its output for a sample depends on the other samples of the batch, as that of a batch \
                     norm in training does, or the context has a tensor that all samples share without \
                     `cache::Shared` around it";
        let selected = context.select(&rows, batch)?;
        let part = match run(select(xs, &rows)?, selected.borrow()) {
            Ok(Ok((part, _))) => part,
            Ok(refused) => return Ok(refused),
            Err(error) => {
                return Ok(Err(format!("{alone}; for a part of the batch it fails: {error}")));
            }
        };
        if !are_close(&select(&out, &rows)?, &part)? {
            return Ok(Err(alone.to_string()));
        }
    }
    Ok(Ok((out, time)))
}

/// Runs a stage and checks that no dropout draws; the generators of those that do are put back.
fn watched<M: Staged>(
    model: &M,
    stage: M::Stage,
    xs: M::Flow,
    context: &M::Context,
) -> Result<Tried<M::Flow>> {
    let (watch, start) = (Rewind::start([]), Instant::now());
    let out = model.run(stage, xs, context)?.detached()?;
    let time = start.elapsed();
    match watch.drawn() {
        none if none.is_empty() => Ok(Ok((out, time))),
        drawn => Ok(Err(drops(model, &drawn)?)),
    }
}

/// The samples of a flow at `rows`.
pub(super) fn select<F: Flow>(flow: &F, rows: &[u32]) -> Result<F> {
    match flow.tensors().first() {
        Some(first) => flow.select(&Tensor::new(rows, first.device())?),
        None => flow.detached(),
    }
}

fn drops<M: Staged>(model: &M, drawn: &[Generator]) -> Result<String> {
    let known = generators(&|mapper| model.visit_params(mapper))?;
    let is_drawn = |generator: &Generator| drawn.iter().any(|drawn| drawn.is(generator));
    let paths = known.iter().filter(|(_, generator)| is_drawn(generator)).map(|(path, _)| path);
    let dropouts = match listed(paths) {
        none if none.is_empty() => "a dropout that the model's walk does not see".to_string(),
        paths => format!("the dropout {paths}"),
    };
    Ok(format!(
        "{dropouts} is on; hold it in a struct that is frozen as a whole and call \
         `set_batch_norm(BatchNormPolicy::Inference)`, or run it without training"
    ))
}

/// The running statistics of a model, restored when dropped.
struct Statistics {
    names: Vec<String>,
    saved: Saved,
}

impl Statistics {
    fn of<M: Staged>(model: &M) -> Result<Self> {
        let found = statistics(&|mapper| model.visit_params(mapper))?;
        let (names, vars) = found.into_iter().unzip();
        Ok(Self { names, saved: Saved::new(vars)? })
    }

    fn moved(&self) -> Result<Vec<&str>> {
        let mut moved = Vec::new();
        for (name, (var, before)) in self.names.iter().zip(self.saved.iter()) {
            if bits(var)? != bits(before)? {
                moved.push(name.as_str());
            }
        }
        Ok(moved)
    }
}

fn are_equal(one: &impl Flow, other: &impl Flow) -> Result<bool> {
    let (one, other) = (one.to_rows()?, other.to_rows()?);
    Ok(one.layout() == other.layout() && one.as_bytes() == other.as_bytes())
}

pub(super) fn are_close<F: Flow>(one: &F, other: &F) -> Result<bool> {
    if one.row_layout()? != other.row_layout()? || one.batch()? != other.batch()? {
        return Ok(false);
    }
    for (one, other) in one.tensors().iter().zip(&other.tensors()) {
        let tolerance = match one.dtype() {
            DType::F32 | DType::F64 => TOLERANCE,
            dtype if dtype.is_float() => HALF_TOLERANCE,
            _ => 0.0,
        };
        let numbers = |tensor: &Tensor| -> Result<Vec<f64>> {
            Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
        };
        let (one, other) = (numbers(one)?, numbers(other)?);
        let size = one.iter().filter(|x| x.is_finite()).fold(0f64, |size, x| size.max(x.abs()));
        let is_close = |(a, b): (&f64, &f64)| {
            a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= tolerance * size
        };
        if !one.iter().zip(&other).all(is_close) {
            return Ok(false);
        }
    }
    Ok(true)
}
