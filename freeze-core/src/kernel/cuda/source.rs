//! The files of kernels, compiled once for each type of elements.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::cuda_backend::DeviceId;
use candle_core::cuda_backend::cudarc::driver::CudaFunction;
use candle_core::cuda_backend::cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use candle_core::{CudaDevice, DType, Result, bail};

const PRELUDE: &str = include_str!("prelude.cu");

/// A file of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum File {
    Attention,
    Digest,
    Dropout,
    Elements,
    Linear,
    Lookup,
    Order,
    Pairs,
    Planes,
    Rows,
    Softmax,
    Sums,
    Update,
    Windows,
}

impl File {
    fn text(self) -> (&'static str, &'static str) {
        match self {
            Self::Attention => ("attention", include_str!("attention.cu")),
            Self::Digest => ("digest", include_str!("digest.cu")),
            Self::Dropout => ("dropout", include_str!("dropout.cu")),
            Self::Elements => ("elements", include_str!("elements.cu")),
            Self::Linear => ("linear", include_str!("linear.cu")),
            Self::Lookup => ("lookup", include_str!("lookup.cu")),
            Self::Order => ("order", include_str!("order.cu")),
            Self::Pairs => ("pairs", include_str!("pairs.cu")),
            Self::Planes => ("planes", include_str!("planes.cu")),
            Self::Rows => ("rows", include_str!("rows.cu")),
            Self::Softmax => ("softmax", include_str!("softmax.cu")),
            Self::Sums => ("sums", include_str!("sums.cu")),
            Self::Update => ("update", include_str!("update.cu")),
            Self::Windows => ("windows", include_str!("windows.cu")),
        }
    }
}

/// A kernel, loaded on a card, and the types of its arguments as they are written in its file.
pub(super) struct Kernel {
    pub(super) function: CudaFunction,
    pub(super) takes: Vec<String>,
}

type Key = (DeviceId, File, DType, &'static str);

/// The kernel, compiled and loaded by its first use.
pub(super) fn kernel(
    device: &CudaDevice,
    file: File,
    name: &'static str,
    dtype: DType,
) -> Result<Arc<Kernel>> {
    static KERNELS: OnceLock<Mutex<HashMap<Key, Arc<Kernel>>>> = OnceLock::new();
    let mut kernels =
        KERNELS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    let key = (device.id(), file, dtype, name);
    if let Some(kernel) = kernels.get(&key) {
        return Ok(kernel.clone());
    }
    let (title, text) = file.text();
    let Some(takes) = arguments(text, name) else { bail!("{title}.cu has no kernel `{name}`") };
    let module = format!("freeze_core_{title}_{}", dtype.as_str());
    let function = device.get_or_load_custom_func(name, &module, compiled(file, dtype)?)?;
    let kernel = Arc::new(Kernel { function: function.into_cuda_function(), takes });
    kernels.insert(key, kernel.clone());
    Ok(kernel)
}

/// The types of a kernel's arguments.
fn arguments(text: &str, name: &str) -> Option<Vec<String>> {
    let (_, behind) = text.split_once(&format!("__global__ void {name}("))?;
    let (list, _) = behind.split_once(')')?;
    Some(list.split(',').map(of_argument).collect())
}

/// `const T *x` is `T *`.
fn of_argument(written: &str) -> String {
    let without_name =
        written.trim_end().trim_end_matches(|c: char| c.is_alphanumeric() || c == '_');
    let words = without_name.split_whitespace().filter(|word| *word != "const");
    words.collect::<Vec<_>>().join(" ")
}

/// A file as PTX, compiled once in a process; candle loads it once for each device.
fn compiled(file: File, dtype: DType) -> Result<&'static str> {
    static PTX: Mutex<Vec<(File, DType, &'static str)>> = Mutex::new(Vec::new());
    let mut known = PTX.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, _, ptx)) = known.iter().find(|(of, by, _)| (*of, *by) == (file, dtype)) {
        return Ok(ptx);
    }
    let (title, text) = file.text();
    let element = dtype.as_str().to_uppercase();
    let options = CompileOptions {
        // No fused multiply-add, so that the numbers are those of the CPU.
        fmad: Some(false),
        name: Some(format!("{title}.cu")),
        options: vec![format!("--define-macro=P={element}")],
        ..CompileOptions::default()
    };
    let ptx = compile_ptx_with_opts(format!("{PRELUDE}\n{text}"), options)
        .map_err(candle_core::Error::wrap)?;
    // Kept until the process ends: candle asks for it with each kernel.
    let ptx: &'static str = ptx.to_src().leak();
    known.push((file, dtype, ptx));
    Ok(ptx)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_from_the_source() {
        let text = "extern \"C\" __global__ void f(size n, const T *x,\n    A *__restrict__ y, double z) {";
        assert_eq!(arguments(text, "f").unwrap(), ["size", "T *", "A *__restrict__", "double"]);
        assert_eq!(arguments(text, "g"), None);
    }
}
