//! A stage that is recomputed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use candle_core::{Result, Tensor, TensorId};

use super::again::again;
use super::entry::{Entry, is_tracked};
use super::nodes::{self, Arrived};
use super::passage::Passage;
use super::same::{changed, check_same};
use crate::model::{Flat, Notes};
use crate::nn::backward::{apart, backward_of_part};
use crate::nn::ops::captured::{Captured, captured_within};
use crate::nn::ops::released::check_held;

pub(super) type Run = Box<dyn Fn(Flat) -> Result<Flat> + Send + Sync>;

/// A stage, with everything needed to run it again.
pub(super) struct Segment {
    run: Run,
    inputs: Flat,
    notes: Notes,
    operands: Vec<Operand>,
    passage: Passage,
    _captured: Captured,
}

/// An operand that results depend on.
enum Operand {
    /// The tracked input at this index.
    Input(usize),
    /// A variable of the stage.
    Variable(TensorId),
}

impl Segment {
    /// Runs the stage and returns its outputs.
    pub(super) fn forward(run: Run, inputs: Flat) -> Result<Flat> {
        let entry = Entry::of(&inputs)?;
        let ((outputs, notes), within) =
            captured_within(|| Notes::take(|| run(entry.flat.clone())));
        let mut outputs = outputs?;
        // A tensor that is returned unchanged already has its node.
        let is_made = |y: &Tensor| is_tracked(y) && entry.given(y).is_none();
        let made: Vec<Option<TensorId>> =
            outputs.tensors().map(|y| is_made(y).then(|| y.id())).collect();
        let nodes: Vec<&Tensor> = outputs.tensors().filter(|y| is_made(y)).flat_map(walk).collect();
        // What the stage captured is in no graph that a backward looks through before it begins.
        check_held(&nodes)?;
        let captured = Captured::new(&nodes, within);
        let variables = variables_of(nodes);
        let operand = |var: Tensor| match entry.gate_of(var.id()) {
            Some(place) => (Operand::Input(place), entry.gates[place].given.clone()),
            None => (Operand::Variable(var.id()), var),
        };
        let (operands, tensors): (Vec<_>, Vec<_>) = variables.into_iter().map(operand).unzip();
        for y in outputs.tensors_mut() {
            *y = entry.given(y).cloned().unwrap_or_else(|| y.detach());
        }
        // Drops the graph before the results are copied.
        drop(entry);
        let passage = Passage::default();
        let segment = Self { run, inputs, notes, operands, passage, _captured: captured };
        match tensors.is_empty() {
            true => Ok(outputs),
            false => Arc::new(segment).flow_out(outputs, &made, &tensors),
        }
    }

    /// `outputs`, with nodes of this stage in place of the tensors that it `made`.
    fn flow_out(
        self: Arc<Self>,
        mut outputs: Flat,
        made: &[Option<TensorId>],
        operands: &[Tensor],
    ) -> Result<Flat> {
        let mut chain = nodes::end(operands[0].device())?;
        for (place, operand) in operands.iter().enumerate() {
            let segment = Arc::clone(&self);
            let gradient = move |operand: &Tensor| segment.gradient(place, operand);
            chain = nodes::link(&chain, operand, Box::new(gradient))?;
        }
        let mut outlets: HashMap<TensorId, Tensor> = HashMap::new();
        for (place, (y, made)) in outputs.tensors_mut().zip(made).enumerate() {
            let Some(made) = made else { continue };
            *y = match outlets.get(made) {
                Some(outlet) => outlet.clone(),
                None => {
                    let segment = Arc::clone(&self);
                    let arrive = move |arrived| segment.passage.arrive(place, arrived);
                    let outlet = nodes::outlet(&chain, y.clone(), Box::new(arrive))?;
                    outlets.insert(*made, outlet.clone());
                    outlet
                }
            };
        }
        Ok(outputs)
    }

    /// The gradient of the operand at `place`. The first call, for the topmost operand, runs the
    /// stage.
    fn gradient(&self, place: usize, operand: &Tensor) -> Result<Option<Tensor>> {
        if place + 1 == self.operands.len() {
            self.passage.set_found(self.backward()?);
        }
        let found = self.passage.take_found(place);
        match self.operands[place] {
            // Reached only through results that the loss does not use, but candle requires a
            // gradient.
            Operand::Input(_) if found.is_none() => operand.zeros_like().map(Some),
            _ => Ok(found),
        }
    }

    /// Runs the stage again and its backward, for the gradients of all operands.
    fn backward(&self) -> Result<Vec<Option<Tensor>>> {
        let arrived = self.passage.take_arrived();
        let entry = Entry::of(&self.inputs)?;
        let run = || self.notes.replay(|| again(|| (self.run)(entry.flat.clone())));
        // A backward of the stage's own is none of the pass around this.
        let outputs = apart(run)?;
        // In the order of the forward's walk through the graph, which meets the last first.
        let mut root = None;
        for (place, Arrived { y, grad }) in arrived {
            let output = outputs.tensors().nth(place).ok_or_else(changed)?;
            check_same(&y, output)?;
            let chain = match root {
                Some(chain) => chain,
                None => nodes::end(grad.device())?,
            };
            root = Some(nodes::link(&chain, output, Box::new(move |_| Ok(Some(grad.clone()))))?);
        }
        drop(outputs);
        let Some(root) = root else { return Ok(Vec::new()) };
        let is_known = |var: &Tensor| {
            let own =
                |operand: &Operand| matches!(operand, Operand::Variable(id) if *id == var.id());
            entry.gate_of(var.id()).is_some() || self.operands.iter().any(own)
        };
        let variables = variables_of(walk(&root));
        if variables.is_empty() || !variables.iter().all(is_known) {
            return Err(changed());
        }
        let grads = backward_of_part(&root)?;
        let found = |operand: &Operand| {
            let id = match operand {
                Operand::Input(place) => entry.gates[*place].var.id(),
                Operand::Variable(id) => *id,
            };
            grads.get_id(id).map(Tensor::detach)
        };
        Ok(self.operands.iter().map(found).collect())
    }
}

/// What a tensor depends on, in the order in which candle's walk meets it.
fn walk(tensor: &Tensor) -> impl Iterator<Item = &Tensor> {
    tensor.sorted_nodes().into_iter().rev()
}

/// The variables among nodes, each once.
fn variables_of<'t>(nodes: impl IntoIterator<Item = &'t Tensor>) -> Vec<Tensor> {
    let mut met = HashSet::new();
    let variables = nodes.into_iter().filter(|node| node.is_variable() && met.insert(node.id()));
    variables.cloned().collect()
}
