//! Running frozen stages, those with trials that are due and those without.

use std::time::{Duration, Instant};

use candle_core::Device;

use super::context::CacheContext;
use super::form::Form;
use super::front::{Cost, Front};
use super::samples::Samples;
use super::trial::{Trials, tried};
use crate::error::Result;
use crate::model::{Flow, Staged};

/// A batch and what its forward needs.
pub(super) struct Batch<'a, M: Staged> {
    pub(super) model: &'a M,
    pub(super) stages: Vec<M::Stage>,
    pub(super) samples: Samples,
    pub(super) xs: &'a M::Flow,
    pub(super) context: &'a M::Context,
    pub(super) device: Device,
}

/// The output of stages.
pub(super) struct Ran<F> {
    pub(super) flow: F,
    /// How many stages it has passed.
    pub(super) passed: usize,
    /// How long each stage took.
    pub(super) times: Vec<(usize, Duration)>,
    /// What came out of each stage.
    pub(super) forms: Vec<(usize, Form)>,
}

/// Runs the stages from number `passed` to the boundary, which moves if the output of a stage without
/// leaves cannot be stored, or is not worth it. `count` is the number of distinct samples in `xs`.
pub(super) fn through<M>(
    front: &mut Front,
    batch: &Batch<'_, M>,
    (passed, count): (usize, usize),
    xs: M::Flow,
    context: &M::Context,
) -> Result<Ran<M::Flow>>
where
    M: Staged<Context: CacheContext>,
{
    let mut ran = Ran { flow: xs, passed, times: Vec::new(), forms: Vec::new() };
    let is_new = front.depth > front.repeated;
    for at in passed..front.depth {
        let stage = batch.stages[at];
        let trials = Trials { repeat: at >= front.repeated, part: count > 1 && at >= front.parted };
        match tried(batch.model, stage, &ran.flow, context, trials)? {
            Ok((out, time)) => {
                (ran.flow, ran.passed) = (out, at + 1);
                ran.times.push((at, time));
                ran.forms.push((at + 1, Form::of(&ran.flow)?));
                if trials.repeat {
                    let copy = copied(&ran.flow, &batch.device)?;
                    front.repeats(at, Cost { run: time, copy });
                }
                if trials.part {
                    front.parts(at);
                }
            }
            Err(why) => {
                front.cut(at, &why)?;
                break;
            }
        }
    }
    if is_new {
        front.choose();
    }
    Ok(ran)
}

/// How long it takes to read a record of these activations, about.
fn copied<F: Flow>(flow: &F, device: &Device) -> Result<Duration> {
    let start = Instant::now();
    F::of_rows(&flow.to_rows()?, device)?;
    Ok(start.elapsed())
}
