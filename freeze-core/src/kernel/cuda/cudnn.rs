//! Convolutions by cuDNN, forward and backward, by algorithms that give the same bits each time.

mod descriptors;
mod plan;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use candle_core::cuda_backend::{DeviceId, gemm_reduced_precision_f32};
use candle_core::{CudaDevice, CudaStorage, DType, Result, bail};

use super::array::{Array, empty};
use crate::kernel::conv::Geometry;
use descriptors::Handle;
pub(crate) use plan::Pass;
use plan::Plan;

/// What a plan is made for; the last says whether f32 may be rounded to TF32.
type Key = (DeviceId, Pass, Geometry, DType, bool);

/// To choose an algorithm takes as long as a small convolution, so it is done once.
#[derive(Default)]
struct Known {
    handles: HashMap<DeviceId, Rc<Handle>>,
    /// `None` where cuDNN has no algorithm.
    plans: HashMap<Key, Option<Rc<Plan>>>,
}

thread_local! {
    /// For each thread: a handle is not for several at once.
    static KNOWN: RefCell<Known> = RefCell::default();
}

/// The pass over contiguous operands; `None` where cuDNN has no algorithm for it.
pub(crate) fn run(
    device: &CudaDevice,
    pass: Pass,
    geometry: &Geometry,
    operands: [Array<'_>; 2],
) -> Result<Option<CudaStorage>> {
    let dtype = operands[0].dtype;
    let x = geometry.batch * geometry.sample_in();
    let y = geometry.batch * geometry.sample_out();
    let (lens, len) = match pass {
        Pass::Forward => ([x, geometry.weights()], y),
        Pass::Input => ([geometry.weights(), y], x),
        Pass::Weight => ([x, y], geometry.weights()),
    };
    if operands.map(|operand| operand.len) != lens || operands[1].dtype != dtype {
        bail!("operands that do not fit {geometry:?}")
    }
    let Some(plan) = plan(device, pass, geometry, dtype)? else { return Ok(None) };
    let result = empty(device, len, dtype)?;
    let space = match plan.workspace() {
        0 => None,
        bytes => Some(empty(device, bytes, DType::U8)?),
    };
    let space = space.as_ref().map(Array::whole).transpose()?;
    plan.run(device, operands, space, Array::whole(&result)?)?;
    Ok(Some(result))
}

fn plan(
    device: &CudaDevice,
    pass: Pass,
    geometry: &Geometry,
    dtype: DType,
) -> Result<Option<Rc<Plan>>> {
    /// Where sizes never repeat, plans are dropped now and then.
    const MANY: usize = 1 << 12;
    let rounds = dtype == DType::F32 && gemm_reduced_precision_f32();
    let key = (device.id(), pass, *geometry, dtype, rounds);
    KNOWN.with_borrow_mut(|known| {
        if let Some(plan) = known.plans.get(&key) {
            return Ok(plan.clone());
        }
        let handle = match known.handles.get(&device.id()) {
            Some(handle) => handle.clone(),
            None => {
                let handle = Rc::new(Handle::new(device)?);
                known.handles.insert(device.id(), handle.clone());
                handle
            }
        };
        if known.plans.len() == MANY {
            known.plans.clear();
        }
        let plan = Plan::new(handle, pass, geometry, dtype, rounds)?.map(Rc::new);
        known.plans.insert(key, plan.clone());
        Ok(plan)
    })
}
