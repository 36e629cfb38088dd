//! What can happen to a run.

use proptest::prelude::*;

/// Leaves of the model.
pub const LEAVES: usize = 4;

#[derive(Clone, Debug)]
pub enum Turn {
    /// A step on the stock batch.
    Step,
    /// The same from within a rayon task.
    StepInATask,
    /// A micro-batch's gradients are gathered.
    Gather,
    /// A step by what was gathered.
    Apply,
    FreezeFront(usize),
    Thaw,
    /// By hand: frozen (`None`), or trained at a share of the rate.
    Plan(Vec<Option<f64>>),
    /// A plan while the list of optimizers is empty.
    PlanWithoutOptimizer(usize),
    /// A plan of another model.
    RefusedPlan,
    /// The hook's schedule at so many of four epochs.
    Schedule(usize),
    /// The same for an epoch beyond the last.
    RefusedSchedule,
    /// Whether the optimizer keeps the state of what freezes.
    KeepState(bool),
    /// What frozen batch norms normalise by.
    Inference(bool),
    /// A fresh optimizer takes the place of the old one.
    NewOptimizer,
    Save(usize),
    /// From a file that may not be there.
    Resume(usize),
    /// From a damaged file.
    RefusedResume,
    /// Through a view without a graph, on another thread.
    Evaluate,
}

/// A sequence of turns, each of one of two models.
pub fn turns() -> impl Strategy<Value = Vec<(usize, Turn)>> {
    let share = prop_oneof![2 => Just(None), 2 => Just(Some(1.0)), 1 => Just(Some(0.25))];
    let turn = prop_oneof![
        6 => Just(Turn::Step),
        1 => Just(Turn::StepInATask),
        2 => Just(Turn::Gather),
        2 => Just(Turn::Apply),
        2 => (0..=LEAVES + 1).prop_map(Turn::FreezeFront),
        1 => Just(Turn::Thaw),
        2 => proptest::collection::vec(share, LEAVES).prop_map(Turn::Plan),
        1 => (0..=LEAVES).prop_map(Turn::PlanWithoutOptimizer),
        1 => Just(Turn::RefusedPlan),
        2 => (0usize..=4).prop_map(Turn::Schedule),
        1 => Just(Turn::RefusedSchedule),
        1 => any::<bool>().prop_map(Turn::KeepState),
        1 => any::<bool>().prop_map(Turn::Inference),
        1 => Just(Turn::NewOptimizer),
        2 => (0usize..2).prop_map(Turn::Save),
        2 => (0usize..2).prop_map(Turn::Resume),
        1 => Just(Turn::RefusedResume),
        1 => Just(Turn::Evaluate),
    ];
    proptest::collection::vec((0usize..2, turn), 1..40)
}
