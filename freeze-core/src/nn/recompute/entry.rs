//! The inputs of a stage, as the start of a graph of its own.

use candle_core::{Result, Tensor, TensorId, Var};

use crate::model::Flat;

/// The inputs that are passed to a stage: tracked if they were tracked before, but without the
/// graph before them.
pub(super) struct Entry {
    pub(super) flat: Flat,
    /// Each tracked input once.
    pub(super) gates: Vec<Gate>,
}

/// A tracked input.
pub(super) struct Gate {
    /// The input as the caller passed it.
    pub(super) given: Tensor,
    /// The variable that gets its gradient.
    pub(super) var: Var,
    /// The tensor that is passed to the stage. It is not the variable itself, so that its gradients
    /// are added up like those of any intermediate tensor.
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

    /// The input that the caller passed, if `tensor` was passed to the stage in its place.
    pub(super) fn given(&self, tensor: &Tensor) -> Option<&Tensor> {
        let gate = self.gates.iter().find(|gate| gate.within.id() == tensor.id());
        gate.map(|gate| &gate.given)
    }

    /// The index of the input that has the variable.
    pub(super) fn gate_of(&self, var: TensorId) -> Option<usize> {
        self.gates.iter().position(|gate| gate.var.id() == var)
    }
}

impl Gate {
    fn of(given: &Tensor) -> Result<Self> {
        // candle makes variables from copies only.
        let var = Var::from_tensor(&given.detach())?;
        let within = var.as_tensor().reshape(var.shape())?;
        Ok(Self { given: given.clone(), var, within })
    }
}

/// Whether candle's backward reaches the tensor.
pub(super) fn is_tracked(tensor: &Tensor) -> bool {
    tensor.track_op() && tensor.dtype().is_float()
}
