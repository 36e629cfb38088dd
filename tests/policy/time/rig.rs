//! Models of many sizes, recorded decisions, and a run without training.

use candle_core::{DType, Device};
use candle_nn::{Linear, VarBuilder, linear};
use freeze_core::policy::{Moment, Settings};
use freeze_core::{Decision, Elapsed, Freezable, FreezePlan, LeafState, Policy, Result};
use serde_json::Value;

/// A net with an embedding, blocks of two leaves, and a head that may be `always`.
#[derive(Freezable)]
pub struct Net {
    pub embed: Linear,
    pub body: Vec<Block>,
    pub head: Linear,
}

#[derive(Freezable)]
pub struct Block {
    pub a: Linear,
    pub b: Linear,
}

fn layer() -> Linear {
    linear(1, 1, VarBuilder::zeros(DType::F32, &Device::Cpu)).expect("a layer")
}

/// The plan of a net with so many blocks between embedding and head, all trained: `embed`,
/// `body.0.a`, `body.0.b`, .., `head`.
pub fn net(blocks: usize) -> FreezePlan {
    let body = (0..blocks).map(|_| Block { a: layer(), b: layer() }).collect();
    FreezePlan::all_trained(&Net { embed: layer(), body, head: layer() }).expect("a plan")
}

/// The plan of a model with so many leaves, `0`, `1`, .., all trained: each is a block of its own.
pub fn leaves(n: usize) -> FreezePlan {
    FreezePlan::all_trained(&(0..n).map(|_| layer()).collect::<Vec<_>>()).expect("a plan")
}

/// The plan of a model whose first leaf is declared `always`, and another follows.
pub fn always() -> FreezePlan {
    #[derive(Freezable)]
    struct Declared {
        #[freeze(always)]
        first: Linear,
        second: Linear,
        third: Linear,
    }
    let model = Declared { first: layer(), second: layer(), third: layer() };
    FreezePlan::declared(&model).expect("a plan")
}

/// What was recorded of the official code.
pub fn recorded(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

pub fn rows(value: &Value) -> impl Iterator<Item = &Vec<Value>> {
    value.as_array().expect("rows").iter().map(|row| row.as_array().expect("a row"))
}

pub fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

pub fn count(value: &Value) -> usize {
    value.as_u64().expect("a count") as usize
}

/// Whether a case or the last cell of a row has a mark.
pub fn is_marked(marks: &Value, name: &str) -> bool {
    marks.as_array().expect("marks").iter().any(|mark| mark == name)
}

pub fn step(done: usize, total: usize) -> Elapsed {
    Elapsed::new(0, 1).at_step(done, total)
}

/// Every point of a run of `epochs` epochs of `batches` steps, with the moment at which a policy is asked.
pub fn points(epochs: usize, batches: usize) -> impl Iterator<Item = (Elapsed, Moment)> {
    (0..=epochs * batches).map(move |step| {
        let moment = match step {
            0 => Moment::Start,
            step if step.is_multiple_of(batches) => Moment::Epoch,
            _ => Moment::Step,
        };
        (Elapsed::new(step / batches, epochs).at_step(step, epochs * batches), moment)
    })
}

/// The plan in force after each point of a run.
pub fn plans(
    policy: &mut impl Policy,
    base: &FreezePlan,
    (epochs, batches): (usize, usize),
) -> Result<Vec<FreezePlan>> {
    let mut now = base.clone();
    let mut plans = Vec::new();
    for (at, moment) in points(epochs, batches) {
        if policy.is_due(at, moment) {
            now = policy.decide(at, base)?.plan;
        }
        plans.push(now.clone());
    }
    Ok(plans)
}

pub fn decided<S: Settings>(settings: S, at: Elapsed, base: &FreezePlan) -> Result<Decision> {
    settings.policy()?.decide(at, base)
}

/// Shares of the learning rate; `None` where a leaf is frozen.
pub fn rates(plan: &FreezePlan) -> Vec<Option<f64>> {
    let rate = |state: &LeafState| match state {
        LeafState::Trained { lr_scale } => Some(*lr_scale),
        _ => None,
    };
    plan.states().iter().map(rate).collect()
}

/// The paths of the frozen leaves.
pub fn frozen(plan: &FreezePlan) -> Vec<&str> {
    let states = plan.states().iter().zip(plan.paths());
    states.filter(|(state, _)| state.is_frozen()).map(|(_, path)| path.as_str()).collect()
}

#[track_caller]
pub fn refused<T>(result: Result<T>) -> String {
    result.err().expect("refused").to_string()
}
