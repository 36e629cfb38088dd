//! Rows of a table, looked up by index.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Device, Layout, Result, Shape, Tensor, WithDType, bail};

use super::operation::{Operand, Operation, Reads, Stored, each_wanted};
use super::sums::rows;
use crate::kernel::by_element;
#[cfg(feature = "cuda")]
use crate::kernel::cuda::{lookup, on_card, operand, tensor};
use crate::kernel::lookup::{gather, scatter};
use crate::kernel::slices::{read, with};
use crate::nn::record::{self, Work};

const NAME: &str = "embedding";

/// The rows of `table` `[entries, hidden]` at `indices`, integers of shape `[..]`: `[.., hidden]`. The largest
/// number of the indices' type stands for a row of zeros, as in candle, unless the table has a row of that number.
///
/// The backward adds up, in one pass, the rows that occur, each in the order of its places and in `f64`: equal
/// runs give equal bits, on any number of threads. On a CUDA card it sorts the places first, and an index that has
/// no row stands for zeros, since an error would have to wait for the card.
///
/// # Errors
///
/// A table of other dimensions, indices that are no integers or, on the CPU, have no row.
pub fn embedding(indices: &Tensor, table: &Tensor) -> Result<Tensor> {
    let (entries, hidden) = table.dims2()?;
    if !indices.dtype().is_int() {
        bail!(
            "embedding: the indices are {:?}, expected integers; convert them with `to_dtype`",
            indices.dtype()
        );
    }
    let shape = Shape::from([indices.dims(), &[hidden]].concat());
    let rows = match table.device() {
        Device::Cpu => numbers(indices, entries)?,
        _ => Vec::new(),
    };
    record::apply([indices, table], Work::Elements, Lookup { rows, shape, entries })
}

/// The row for each index.
fn numbers(indices: &Tensor, entries: usize) -> Result<Vec<Option<usize>>> {
    let none = match indices.dtype() {
        DType::U8 => i64::from(u8::MAX),
        DType::U32 => i64::from(u32::MAX),
        DType::I16 => i64::from(i16::MAX),
        DType::I32 => i64::from(i32::MAX),
        _ => i64::MAX,
    };
    let indices = indices.to_dtype(DType::I64)?.flatten_all()?.to_vec1::<i64>()?;
    let mut rows = Vec::with_capacity(indices.len());
    for (place, index) in indices.into_iter().enumerate() {
        rows.push(match usize::try_from(index) {
            Ok(row) if row < entries => Some(row),
            _ if index == none => None,
            _ => bail!(
                "embedding: index {place} is {index}, expected at least 0 and less than {entries}"
            ),
        });
    }
    Ok(rows)
}

/// Of indices and a table.
struct Lookup {
    /// On the CPU; elsewhere the device looks at the indices.
    rows: Vec<Option<usize>>,
    shape: Shape,
    entries: usize,
}

impl Operation<2> for Lookup {
    fn name(&self) -> &'static str {
        NAME
    }

    fn shape(&self, _: [&Layout; 2]) -> Result<Shape> {
        Ok(self.shape.clone())
    }

    fn cpu(&self, [_, (table, layout)]: [Operand<'_, CpuStorage>; 2]) -> Result<CpuStorage> {
        let (_, hidden) = layout.shape().dims2()?;
        by_element!(table.dtype(), NAME, T => {
            Ok(T::to_cpu_storage_owned(gather::<T>(&read(table, layout)?, &self.rows, hidden)))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [indices, table]: [Operand<'_, CudaStorage>; 2]) -> Result<CudaStorage> {
        let (device, indices) = (&table.0.device, operand(indices)?);
        lookup::gather(device, &operand(table)?, lookup::Numbers::new(&indices, self.entries)?)
    }

    fn portable<S: Stored>(&self, operands: [Operand<'_, S>; 2]) -> Result<S> {
        let [(indices, indices_l), (table, layout)] = operands;
        let flat = Layout::contiguous_with_offset(
            indices_l.shape().elem_count(),
            indices_l.start_offset(),
        );
        table.index_select(indices, layout, &flat, 0)
    }

    fn reads(&self, _: [bool; 2]) -> Reads<2> {
        Reads { operands: [true, false], result: false }
    }

    fn gradients(
        &self,
        [indices, table]: [&Tensor; 2],
        _: &Tensor,
        grad: &Tensor,
        wanted: [bool; 2],
    ) -> Result<[Option<Tensor>; 2]> {
        let hidden = table.dim(1)?;
        #[cfg(feature = "cuda")]
        if table.device().is_cuda() {
            return each_wanted(wanted, |_| {
                let sums = on_card([indices, grad], |device, [indices, grad]| {
                    let numbers = lookup::Numbers::new(&indices, self.entries)?;
                    lookup::scatter(device, &grad, numbers)
                })?;
                Ok(tensor(sums, table.shape()))
            });
        }
        if !table.device().is_cpu() {
            let sum = |_| table.zeros_like()?.index_add(&indices.flatten_all()?, &rows(grad)?, 0);
            return each_wanted(wanted, sum);
        }
        each_wanted(wanted, |_| {
            by_element!(grad.dtype(), NAME, T => {
                let dw = with(&rows(grad)?, |grad: &[T]| {
                    Ok(scatter(grad, &self.rows, hidden, self.entries))
                })?;
                Tensor::from_vec(dw, table.shape(), table.device())
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::ops::operation::tests::portable;

    #[test]
    fn the_portable_way_is_the_kernels() -> Result<()> {
        let table = Tensor::randn(0f64, 1., (5, 3), &Device::Cpu)?;
        let indices = Tensor::new(&[[4u32, 0], [4, 1]], &Device::Cpu)?;
        let lookup = Lookup { rows: Vec::new(), shape: Shape::from((2, 2, 3)), entries: 5 };
        let (found, y) = (portable(&lookup, [&indices, &table])?, embedding(&indices, &table)?);
        assert_eq!(found.to_vec3::<f64>()?, y.to_vec3::<f64>()?);
        Ok(())
    }
}
