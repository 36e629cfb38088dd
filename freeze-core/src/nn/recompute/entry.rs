//! What flows into a stage, with a graph that begins there.

use candle_core::{Result, Tensor, TensorId, Var};

use crate::model::Flat;

/// The inputs of a stage as the stage is given them: tracked where they were, and without what lies
/// behind.
pub(super) struct Entry {
    pub(super) flat: Flat,
    /// Each tracked input once.
    pub(super) gates: Vec<Gate>,
}

/// A tracked input.
pub(super) struct Gate {
    /// What was to flow in.
    pub(super) given: Tensor,
    /// What gets its gradient.
    pub(super) var: Var,
    /// What flows in: no variable itself, so that its gradients are added up as those of any tensor
    /// between two operations.
    pub(super) within: Tensor,
}

impl Entry {
    pub(super) fn of(inputs: &Flat) -> Result<Self> {
        let mut flat = inputs.clone();
        let mut gates: Vec<Gate> = Vec::new();
        for tensor in flat.tensors_mut().filter(|tensor| is_tracked(tensor)) {
            let known = gates.iter().position(|gate| gate.given.id() == tensor.id());
            let place = match known {
                Some(place) => place,
                None => {
                    gates.push(Gate::of(tensor)?);
                    gates.len() - 1
                }
            };
            *tensor = gates[place].within.clone();
        }
        Ok(Self { flat, gates })
    }

    /// What was to flow in, where the tensor is what flows in for it.
    pub(super) fn given(&self, tensor: &Tensor) -> Option<&Tensor> {
        let gate = self.gates.iter().find(|gate| gate.within.id() == tensor.id());
        gate.map(|gate| &gate.given)
    }

    /// The place of the input that has the variable.
    pub(super) fn gate_of(&self, var: TensorId) -> Option<usize> {
        self.gates.iter().position(|gate| gate.var.id() == var)
    }
}

impl Gate {
    fn of(given: &Tensor) -> Result<Self> {
        // candle makes a variable of a copy.
        let var = Var::from_tensor(&given.detach())?;
        let within = var.as_tensor().reshape(var.shape())?;
        Ok(Self { given: given.clone(), var, within })
    }
}

/// Whether candle's backward comes to the tensor.
pub(super) fn is_tracked(tensor: &Tensor) -> bool {
    tensor.track_op() && tensor.dtype().is_float()
}
