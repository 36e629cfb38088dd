//! Containers of layers, bare tensors, and types without parameters.

use std::marker::PhantomData;

use candle_core::Tensor;
use candle_nn::{Activation, Dropout, ops::Identity};

use crate::layout::TUPLE;
use crate::{Freezable, Layout, Mapper, Part, Result};

impl<T: Freezable> Freezable for Vec<T> {
    const LAYOUT: Layout = Layout::open("Vec", || T::LAYOUT);

    fn map_params(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
        self.iter().enumerate().map(|(i, item)| mapper.part(&i.to_string(), item)).collect()
    }
}

impl<T: Freezable, const N: usize> Freezable for [T; N] {
    const LAYOUT: Layout = Layout::array(&T::LAYOUT, N);

    fn map_params(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
        let mapped: Result<Vec<T>> =
            self.iter().enumerate().map(|(i, item)| mapper.part(&i.to_string(), item)).collect();
        // The lengths agree by construction: one item was mapped for each of the array's.
        mapped?.try_into().map_err(|_| crate::Error::Mapping {
            path: mapper.path().to_string(),
            why: "an array changed its length",
        })
    }
}

impl<T: Freezable> Freezable for Option<T> {
    const LAYOUT: Layout = Layout::open("Option", || T::LAYOUT);

    fn map_params(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
        self.as_ref().map(|item| item.map_params(mapper)).transpose()
    }
}

impl<T: Freezable> Freezable for Box<T> {
    const LAYOUT: Layout = T::LAYOUT;

    fn map_params(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
        Ok(Box::new(self.as_ref().map_params(mapper)?))
    }
}

macro_rules! tuple {
    ($($type:ident $index:tt),+) => {
        impl<$($type: Freezable),+> Freezable for ($($type,)+) {
            const LAYOUT: Layout = Layout::group(
                TUPLE,
                &[$(Part { name: stringify!($index), layout: &$type::LAYOUT }),+],
            );

            fn map_params(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
                Ok(($(mapper.part(stringify!($index), &self.$index)?,)+))
            }
        }
    };
}

tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
tuple!(A 0, B 1, C 2, D 3, E 4);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);

macro_rules! without_parameters {
    ($($type:ty),+) => {$(
        impl Freezable for $type {
            const LAYOUT: Layout = Layout::EMPTY;

            fn map_params(&self, _: &mut Mapper<'_>) -> Result<Self> {
                Ok(self.clone())
            }
        }
    )+};
}

without_parameters!(Activation, Dropout, Identity);

impl<T: ?Sized> Freezable for PhantomData<T> {
    const LAYOUT: Layout = Layout::EMPTY;

    fn map_params(&self, _: &mut Mapper<'_>) -> Result<Self> {
        Ok(PhantomData)
    }
}

/// A bare tensor that `#[freeze(param)]` makes a leaf of its own.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a tensor that can be frozen",
    label = "not a `Tensor`, `Option<Tensor>` or `Vec<Tensor>`",
    note = "`#[freeze(param)]` is for `Tensor`, `Option<Tensor>` and `Vec<Tensor>`",
    note = "a `Var` field: hold its `Tensor` instead, `var.as_tensor().clone()`; it stays a variable"
)]
pub trait TensorParam: Sized {
    /// One leaf, or none where the value has no tensor.
    const LAYOUT: Layout;

    /// As [`Freezable::map_params`].
    ///
    /// # Errors
    ///
    /// Those of the mapper's function.
    fn map_param(&self, mapper: &mut Mapper<'_>) -> Result<Self>;
}

const TENSOR: Layout = Layout::leaf("Tensor");

impl TensorParam for Tensor {
    const LAYOUT: Layout = TENSOR;

    fn map_param(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
        mapper.leaf("Tensor", |mapper| mapper.weight("", self))
    }
}

impl TensorParam for Option<Tensor> {
    const LAYOUT: Layout = Layout::open("Option", || TENSOR);

    fn map_param(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
        self.as_ref().map(|tensor| tensor.map_param(mapper)).transpose()
    }
}

/// All tensors together are one leaf; an empty list is none.
impl TensorParam for Vec<Tensor> {
    const LAYOUT: Layout = Layout::open("Vec", || TENSOR);

    fn map_param(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        mapper.leaf("Tensor", |mapper| {
            let tensors = self.iter().enumerate();
            tensors.map(|(i, tensor)| mapper.weight(&i.to_string(), tensor)).collect()
        })
    }
}
