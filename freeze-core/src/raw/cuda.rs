//! The update as one CUDA launch, compiled for the card by NVRTC when first used.

use std::sync::OnceLock;

use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, DeviceRepr, LaunchConfig, PushKernelArg,
};
use candle_core::cuda_backend::cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use candle_core::cuda_backend::{CudaDType, WrapErr};
use candle_core::{CudaDevice, CudaStorage, DType, Layout, Result, Storage, Tensor, bail};
use half::{bf16, f16};

use crate::optim::kernel::{CudaUpdate, Element, GradMap, Rows};

const SOURCE: &str = include_str!("fused.cu");
const MODULE: &str = "freeze_core_optim";
const THREADS: u32 = 256;

/// Updates `theta` and `state` in place. `theta` and `grad` are contiguous and of one type, `state`
/// holds its rows one after the other, from its start.
pub(crate) fn update(
    update: &CudaUpdate,
    map: GradMap,
    theta: (&mut CudaStorage, &Layout),
    grad: (&CudaStorage, &Layout),
    state: (Option<&mut CudaStorage>, Rows),
) -> Result<()> {
    use candle_core::backend::BackendStorage;
    match theta.0.dtype() {
        DType::F32 => typed::<f32>("f32", update, map, theta, grad, state),
        DType::F64 => typed::<f64>("f64", update, map, theta, grad, state),
        DType::F16 => typed::<f16>("f16", update, map, theta, grad, state),
        DType::BF16 => typed::<bf16>("bf16", update, map, theta, grad, state),
        dtype => bail!("no optimizer kernel for {dtype:?}"),
    }
}

fn typed<P>(
    suffix: &str,
    update: &CudaUpdate,
    map: GradMap,
    (theta, theta_layout): (&mut CudaStorage, &Layout),
    (grad, grad_layout): (&CudaStorage, &Layout),
    (state, rows): (Option<&mut CudaStorage>, Rows),
) -> Result<()>
where
    P: Element + CudaDType,
    P::Acc: CudaDType,
{
    let (Some((start, end)), Some((grad_start, grad_end))) =
        (theta_layout.contiguous_offsets(), grad_layout.contiguous_offsets())
    else {
        bail!("expected contiguous tensors")
    };
    let device = theta.device.clone();
    let function = format!("{}_{suffix}", update.kernel);
    let function = device.get_or_load_custom_func(&function, MODULE, compiled()?)?;
    let (theta, grad) = (theta.as_cuda_slice_mut::<P>()?, grad.as_cuda_slice::<P>()?);
    let (count, len) = ((end - start) as u64, end - start);
    if theta.len() < end || grad.len() < grad_end || grad_end - grad_start != len {
        bail!("the layouts reach behind the storages")
    }
    let mut theta = theta.slice_mut(start..end);
    let grad = grad.slice(grad_start..grad_end);
    let (scale, bound) = match map {
        GradMap::Identity => (1.0, f64::INFINITY),
        GradMap::Scale(factor) => (factor, f64::INFINITY),
        GradMap::Clamp(bound) => (1.0, bound),
    };

    let null = 0u64;
    let mut launch = function.builder();
    launch.arg(&count).arg(&mut theta).arg(&grad);
    match state {
        Some(state) => {
            let state = state.as_cuda_slice_mut::<P::Acc>()?;
            if state.len() < rows.count() * len || (update.kernel == "adam" && rows.moments < 2) {
                bail!("the state is too small for the parameter")
            }
            launch.arg(state);
        }
        None if update.kernel == "adam" => bail!("adam needs its moments"),
        None => {
            launch.arg(&null);
        }
    }
    let (moments, master) = (rows.moments as u32, u32::from(rows.master));
    launch.arg(&moments).arg(&master).arg(&scale).arg(&bound);
    for number in &update.numbers {
        launch.arg(number);
    }
    // SAFETY: the arguments are those of the kernel, in their order and types: every rule's numbers
    // are checked against `fused.cu` in its tests. The kernel reads and writes below `count` in
    // `theta` and `grad` and below `(moments + master) * count` in the state, of which adam takes
    // two moments for granted; all of it was compared with the lengths above.
    #[allow(unsafe_code)]
    let launched = unsafe { launch.launch(threads(len)) };
    launched.w()?;
    Ok(())
}

/// Threads for so many elements; each thread takes several where there are very many.
fn threads(len: usize) -> LaunchConfig {
    let blocks = len.div_ceil(THREADS as usize).clamp(1, 1 << 16) as u32;
    LaunchConfig { grid_dim: (blocks, 1, 1), block_dim: (THREADS, 1, 1), shared_mem_bytes: 0 }
}

/// Whether no element is infinite or NaN: one launch for each tensor, then one number from each card.
pub(crate) fn all_finite(grads: &[&Tensor]) -> Result<bool> {
    let mut flags: Vec<(CudaDevice, CudaSlice<u32>)> = Vec::new();
    for grad in grads.iter().filter(|grad| grad.elem_count() > 0) {
        let grad = grad.contiguous()?;
        let (storage, layout) = grad.storage_and_layout();
        let Storage::Cuda(storage) = &*storage else { bail!("expected a tensor on a card") };
        let device = &storage.device;
        let at = match flags.iter().position(|(known, _)| known.id() == device.id()) {
            Some(at) => at,
            None => {
                flags.push((device.clone(), device.alloc_zeros(1)?));
                flags.len() - 1
            }
        };
        let flag = &mut flags[at].1;
        match grad.dtype() {
            DType::F32 => look::<f32>("look_f32", storage, layout, flag)?,
            DType::F64 => look::<f64>("look_f64", storage, layout, flag)?,
            DType::F16 => look::<f16>("look_f16", storage, layout, flag)?,
            DType::BF16 => look::<bf16>("look_bf16", storage, layout, flag)?,
            dtype => bail!("no optimizer kernel for {dtype:?}"),
        }
    }
    for (device, flag) in flags {
        if device.clone_dtoh(&flag)? != [0] {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Raises `flag` if an element is infinite or NaN.
fn look<P: CudaDType + DeviceRepr>(
    kernel: &str,
    grad: &CudaStorage,
    layout: &Layout,
    flag: &mut CudaSlice<u32>,
) -> Result<()> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("expected a contiguous tensor")
    };
    let elements = grad.as_cuda_slice::<P>()?;
    if elements.len() < end {
        bail!("the layout reaches behind the storage")
    }
    let function = grad.device.get_or_load_custom_func(kernel, MODULE, compiled()?)?;
    let (count, elements) = ((end - start) as u64, elements.slice(start..end));
    let mut launch = function.builder();
    launch.arg(&count).arg(&elements).arg(flag);
    // SAFETY: the arguments are those of the kernel, in their order and types. It reads below `count`
    // in the elements, which were compared with the storage's above, and writes the one flag.
    #[allow(unsafe_code)]
    let launched = unsafe { launch.launch(threads(end - start)) };
    launched.w()?;
    Ok(())
}

/// The kernels as PTX, compiled once in a process; candle loads them once for each device.
fn compiled() -> Result<&'static str> {
    static PTX: OnceLock<String> = OnceLock::new();
    if let Some(ptx) = PTX.get() {
        return Ok(ptx);
    }
    // No fused multiply-add, so that the numbers are those of the CPU.
    let options = CompileOptions { fmad: Some(false), ..CompileOptions::default() };
    let ptx = compile_ptx_with_opts(SOURCE, options).map_err(candle_core::Error::wrap)?;
    Ok(PTX.get_or_init(|| ptx.to_src()))
}
