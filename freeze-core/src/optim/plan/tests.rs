//! What each policy does with a state that has been copied to the host, tested without a GPU.

use candle_core::{DType, Device, Result, Tensor, Var};

use super::{Slot, State, let_go};
use crate::kernel::update::Rows;
use crate::optim::StatePolicy;

/// The bytes of two moments of three `f32`.
const BYTES: usize = 2 * 3 * 4;

fn state(value: f32) -> Result<State> {
    let tensor = Tensor::full(value, (2, 3), &Device::Cpu)?;
    Ok(State { tensor, rows: Rows { moments: 2, master: false } })
}

#[test]
fn a_state_is_dropped_kept_or_swapped_for_its_copy() -> Result<()> {
    // (policy, whether there is a copy, the bytes given back, the state and updates left)
    for (policy, copied, bytes, left) in [
        (StatePolicy::Drop, true, BYTES, (None, 0)),
        (StatePolicy::Keep, true, 0, (Some(1.0), 4)),
        (StatePolicy::Offload, true, BYTES, (Some(2.0), 4)),
        (StatePolicy::Offload, false, 0, (Some(1.0), 4)),
    ] {
        let mut slot = Slot::new(Var::zeros(3, DType::F32, &Device::Cpu)?);
        (slot.state, slot.steps) = (Some(state(1.0)?), 4);
        let copy = copied.then(|| state(2.0)).transpose()?;
        assert_eq!(let_go(&mut slot, policy, copy), bytes, "{policy:?} {copied}");
        let first = |state: &State| state.tensor.flatten_all()?.get(0)?.to_scalar::<f32>();
        let found = (slot.state.as_ref().map(first).transpose()?, slot.steps);
        assert_eq!(found, left, "{policy:?} {copied}");
    }
    Ok(())
}
