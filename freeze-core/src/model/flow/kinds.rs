//! The types that can flow: tensors, and tuples, arrays, lists and options of them.

use candle_core::Tensor;

use super::{Flat, Flow};
use crate::error::{Error, Result};

impl Flow for Tensor {
    fn flatten(&self, into: &mut Flat) {
        into.tensor(self);
    }

    fn unflatten(from: &mut Flat) -> Result<Self> {
        from.take_tensor()
    }
}

impl<F: Flow> Flow for Option<F> {
    fn flatten(&self, into: &mut Flat) {
        into.count(usize::from(self.is_some()));
        if let Some(inside) = self {
            inside.flatten(into);
        }
    }

    fn unflatten(from: &mut Flat) -> Result<Self> {
        match from.take_count()? {
            0 => Ok(None),
            _ => F::unflatten(from).map(Some),
        }
    }
}

/// Batches whose samples are mixed must have lists of the same length.
impl<F: Flow> Flow for Vec<F> {
    fn flatten(&self, into: &mut Flat) {
        into.count(self.len());
        items(self, into);
    }

    fn unflatten(from: &mut Flat) -> Result<Self> {
        (0..from.take_count()?).map(|_| F::unflatten(from)).collect()
    }
}

impl<F: Flow, const N: usize> Flow for [F; N] {
    fn flatten(&self, into: &mut Flat) {
        items(self, into);
    }

    fn unflatten(from: &mut Flat) -> Result<Self> {
        let items: Vec<F> = (0..N).map(|_| F::unflatten(from)).collect::<Result<_>>()?;
        let why = "an array changed its length".to_string();
        items.try_into().map_err(|_| Error::Flow { part: String::new(), why })
    }
}

fn items<F: Flow>(items: &[F], into: &mut Flat) {
    for (i, item) in items.iter().enumerate() {
        into.at(&i.to_string(), |into| item.flatten(into));
    }
}

macro_rules! tuple {
    ($($type:ident $index:tt),+) => {
        #[diagnostic::do_not_recommend]
        impl<$($type: Flow),+> Flow for ($($type,)+) {
            fn flatten(&self, into: &mut Flat) {
                $(into.at(stringify!($index), |into| self.$index.flatten(into));)+
            }

            fn unflatten(from: &mut Flat) -> Result<Self> {
                Ok(($($type::unflatten(from)?,)+))
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
