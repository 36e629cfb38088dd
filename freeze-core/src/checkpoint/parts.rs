//! The parts of a run that are saved and resumed.

use super::MetricHistory;
use super::random::Registered;
use crate::model::Freezer;
use crate::optim::GradAccumulator;
use crate::plan::PlanOptimizer;
use crate::policy::{Elapsed, Policy};

/// The parts of a run, borrowed.
pub(super) struct Parts<'a, M> {
    pub(super) net: &'a mut Freezer<M>,
    pub(super) optimizers: Vec<&'a mut dyn PlanOptimizer>,
    pub(super) policy: Option<&'a mut dyn Policy>,
    pub(super) generators: Vec<(String, Box<dyn Registered + 'a>)>,
    pub(super) history: Option<&'a mut MetricHistory>,
    pub(super) accumulator: Option<&'a mut GradAccumulator>,
    pub(super) progress: Option<Elapsed>,
    pub(super) samples: u64,
}
