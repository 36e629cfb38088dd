//! A launch of a kernel, whose arguments are compared with its source.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{LaunchConfig, PushKernelArg};
use candle_core::{CudaDevice, DType, Result, bail};

use super::array::Array;
use super::source::{File, kernel};
use crate::kernel::real_dtype;

/// An argument of a kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arg<'a> {
    /// Elements that the kernel reads, or writes.
    Of(&'a Array<'a>),
    /// The same, or the null pointer; the type is not compared then.
    Maybe(Option<&'a Array<'a>>),
    Size(usize),
    Number(f64),
    Flag(u32),
}

/// How many blocks of how many threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    pub(crate) blocks: [usize; 3],
    /// A multiple of 32, at most 1024.
    pub(crate) threads: u32,
}

impl Grid {
    const THREADS: u32 = 256;

    /// A thread for each of `n` elements, or several elements a thread where there are very many.
    pub(crate) fn each(n: usize) -> Self {
        Self {
            blocks: [n.div_ceil(Self::THREADS as usize).min(1 << 16), 1, 1],
            threads: Self::THREADS,
        }
    }

    /// So many blocks.
    pub(crate) fn blocks(n: usize) -> Self {
        Self { blocks: [n, 1, 1], threads: Self::THREADS }
    }

    /// A warp for each of `n` rows of this many elements where they are many and short, a block for each elsewhere;
    /// and whether it is a warp.
    pub(crate) fn warps_or_rows(n: usize, len: usize) -> (Self, Arg<'static>) {
        let many = len <= 128 || (len <= 1024 && n >= 4096);
        let grid = match many {
            true => Self { blocks: [n.div_ceil(8), 1, 1], threads: Self::THREADS },
            false => Self::rows(n, len),
        };
        (grid, Arg::Flag(u32::from(many)))
    }

    /// A block for each of `n` rows of this many elements.
    pub(crate) fn rows(n: usize, len: usize) -> Self {
        Self {
            blocks: [n, 1, 1],
            threads: len.div_ceil(4).next_multiple_of(32).clamp(32, 256) as u32,
        }
    }
}

/// Runs a kernel of `file` for elements of type `dtype`, behind all that was launched before.
///
/// The caller must hand over arrays as long as the kernel reads or writes, which nothing here can compare.
///
/// # Errors
///
/// The kernel does not compile, takes other arguments, or the card refuses it.
pub(crate) fn launch(
    device: &CudaDevice,
    (file, name): (File, &'static str),
    dtype: DType,
    grid: Grid,
    args: &[Arg<'_>],
) -> Result<()> {
    if real_dtype(dtype).is_none() {
        return Err(candle_core::Error::UnsupportedDTypeForOp(dtype, name).bt());
    }
    let kernel = kernel(device, file, name, dtype)?;
    let fit = args.len() == kernel.takes.len()
        && args.iter().zip(&kernel.takes).all(|(arg, written)| arg.fits(written, dtype));
    if !fit {
        bail!("the kernel `{name}` takes {:?}, and got {args:?}", kernel.takes)
    }
    let [x, y, z] = grid.blocks;
    if x > i32::MAX as usize || y > 0xffff || z > 0xffff {
        bail!("`{name}` on {:?} blocks: more than a card takes", grid.blocks)
    }
    let words: Vec<Word> = args.iter().map(|arg| arg.word()).collect();
    let stream = device.cuda_stream();
    let mut builder = stream.launch_builder(&kernel.function);
    for word in &words {
        match word {
            Word::Long(word) => builder.arg(word),
            Word::Double(word) => builder.arg(word),
            Word::Short(word) => builder.arg(word),
        };
    }
    let grid_dim = (x as u32, y as u32, z as u32);
    let shape = LaunchConfig { grid_dim, block_dim: (grid.threads, 1, 1), shared_mem_bytes: 0 };
    // SAFETY: the arguments are of the types that the kernel takes, which was compared above; the storages behind
    // the addresses are borrowed and so not freed before this, and what is freed later is freed behind the launch,
    // on the same stream. That they are long enough is the caller's part, said in the documentation above.
    #[allow(unsafe_code)]
    let launched = unsafe { builder.launch(shape) };
    launched.w()?;
    Ok(())
}

/// An argument as the card gets it.
enum Word {
    Long(u64),
    Double(f64),
    Short(u32),
}

impl Arg<'_> {
    /// Whether the kernel, whose elements are `dtype`, takes this for an argument of the written type.
    fn fits(&self, written: &str, dtype: DType) -> bool {
        let pointer = written.split_once('*').map(|(to, _)| to.trim_end());
        match (self, pointer) {
            (Self::Size(_), None) => written == "size",
            (Self::Number(_), None) => written == "double",
            (Self::Flag(_), None) => written == "unsigned",
            (Self::Maybe(None), Some(_)) => true,
            (Self::Of(array) | Self::Maybe(Some(array)), Some(to)) => match to {
                "T" => array.dtype == dtype,
                "A" => Some(array.dtype) == real_dtype(dtype),
                "double" => array.dtype == DType::F64,
                "long long" => array.dtype == DType::I64,
                "unsigned" => array.dtype == DType::U32,
                "unsigned char" => array.dtype == DType::U8,
                _ => false,
            },
            _ => false,
        }
    }

    fn word(&self) -> Word {
        match *self {
            Self::Of(array) => Word::Long(array.address),
            Self::Maybe(array) => Word::Long(array.map_or(0, |array| array.address)),
            Self::Size(n) => Word::Long(n as u64),
            Self::Number(number) => Word::Double(number),
            Self::Flag(flag) => Word::Short(flag),
        }
    }
}
