//! A launch of a kernel of `fused.cu`, which NVRTC compiles for the card when the first is used.

use std::sync::OnceLock;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{LaunchArgs, LaunchConfig};
use candle_core::cuda_backend::cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use candle_core::{CudaDevice, DType, Result};

const SOURCE: &str = include_str!("fused.cu");
const MODULE: &str = "freeze_core";
const THREADS: u32 = 256;

/// A kernel together with arguments that fit it.
///
/// # Safety
///
/// [`push`](Self::push) hands over what the kernel takes, in its order and types, for elements of the
/// type that [`dtype`](Self::dtype) says; and every array has as many elements as the kernel reads or
/// writes when it is told that there are [`len`](Self::len).
#[allow(unsafe_code)]
pub(super) unsafe trait Launch {
    /// The kernel's name without the type of the elements.
    const KERNEL: &'static str;

    fn dtype(&self) -> DType;

    fn len(&self) -> usize;

    fn push<'a>(&'a mut self, to: &mut LaunchArgs<'a>);
}

/// Runs the kernel, a thread for each element, or several elements a thread where there are very many.
pub(super) fn launch<L: Launch>(device: &CudaDevice, mut arguments: L) -> Result<()> {
    let name = format!("{}_{}", L::KERNEL, arguments.dtype().as_str());
    let function = device.get_or_load_custom_func(&name, MODULE, compiled()?)?;
    let blocks = arguments.len().div_ceil(THREADS as usize).clamp(1, 1 << 16) as u32;
    let threads =
        LaunchConfig { grid_dim: (blocks, 1, 1), block_dim: (THREADS, 1, 1), shared_mem_bytes: 0 };
    let mut builder = function.builder();
    arguments.push(&mut builder);
    // SAFETY: the arguments are those of the kernel and long enough, as `Launch` asks.
    #[allow(unsafe_code)]
    let launched = unsafe { builder.launch(threads) };
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
