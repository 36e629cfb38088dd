//! Containers of layers.

mod param;
mod plain;
mod skipped;

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::leaf_tree::TUPLE;
use crate::model::{Freezable, LeafTree, Mapper, Part};

pub use param::TensorParam;
pub use skipped::Skipped;

/// Implements `Freezable` for lists, whose items have the path segments `0`, `1`, ..
macro_rules! list {
    ($kind:literal, $list:ty) => {
        impl<T: Freezable> Freezable for $list {
            const LEAVES: LeafTree = open::<T>($kind, || T::LEAVES);
            const HAS_LEAVES: bool = T::HAS_LEAVES;

            fn each_item(
                this: &Self,
                depth: usize,
                index: &mut Vec<usize>,
                see: &mut dyn FnMut(&[usize]),
            ) {
                each_of(this.iter(), depth, index, see);
            }

            fn map_params(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
                self.iter().enumerate().map(|(i, item)| mapper.part(&i.to_string(), item)).collect()
            }

            fn visit_params(&self, mapper: &mut Mapper<'_>) -> Result<()> {
                visit(self.iter(), mapper)
            }
        }
    };
}

list!("Vec", Vec<T>);
list!("VecDeque", VecDeque<T>);
list!("slice", Box<[T]>);

/// Shows the items of a list, or the list itself at depth 0.
fn each_of<'t, T: Freezable + 't>(
    items: impl Iterator<Item = &'t T>,
    depth: usize,
    index: &mut Vec<usize>,
    see: &mut dyn FnMut(&[usize]),
) {
    let Some(depth) = depth.checked_sub(1) else { return see(index) };
    for (i, item) in items.enumerate() {
        index.push(i);
        T::each_item(item, depth, index, see);
        index.pop();
    }
}

/// Implements `Freezable` for pointers to one value, which add nothing to the path. A view holds a
/// new pointer; two pointers to one value become two, whose tensors stay tied.
macro_rules! pointer {
    ($($pointer:ident),+) => {$(
        impl<T: Freezable> Freezable for $pointer<T> {
            const LEAVES: LeafTree = T::LEAVES;
            const HAS_LEAVES: bool = T::HAS_LEAVES;

            fn each_item(
                this: &Self,
                depth: usize,
                index: &mut Vec<usize>,
                see: &mut dyn FnMut(&[usize]),
            ) {
                T::each_item(this, depth, index, see);
            }

            fn map_params(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
                Ok(Self::new(self.as_ref().map_params(mapper)?))
            }

            fn visit_params(&self, mapper: &mut Mapper<'_>) -> Result<()> {
                self.as_ref().visit_params(mapper)
            }
        }
    )+};
}

pointer!(Box, Rc, Arc);

impl<T: Freezable> Freezable for Option<T> {
    const LEAVES: LeafTree = open::<T>("Option", || T::LEAVES);
    const HAS_LEAVES: bool = T::HAS_LEAVES;

    fn each_item(this: &Self, depth: usize, index: &mut Vec<usize>, see: &mut dyn FnMut(&[usize])) {
        if let Some(item) = this {
            T::each_item(item, depth, index, see);
        }
    }

    fn map_params(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
        self.as_ref().map(|item| item.map_params(mapper)).transpose()
    }

    fn visit_params(&self, mapper: &mut Mapper<'_>) -> Result<()> {
        self.as_ref().map_or(Ok(()), |item| item.visit_params(mapper))
    }
}

/// In the order of the keys; each key is a path segment.
impl<T: Freezable> Freezable for BTreeMap<String, T> {
    const LEAVES: LeafTree = open::<T>("BTreeMap", || T::LEAVES);
    const HAS_LEAVES: bool = T::HAS_LEAVES;

    fn map_params(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
        self.iter()
            .map(|(key, item)| Ok((key.clone(), mapper.part(segment(key, mapper)?, item)?)))
            .collect()
    }

    fn visit_params(&self, mapper: &mut Mapper<'_>) -> Result<()> {
        self.iter().try_for_each(|(key, item)| mapper.visit_part(segment(key, mapper)?, item))
    }
}

/// The key, if it can be a path segment.
fn segment<'k>(key: &'k str, mapper: &Mapper<'_>) -> Result<&'k str> {
    if key.is_empty() || key.contains('.') {
        let path = format!("{}[{key:?}]", mapper.path());
        let why = "a key of a map is a segment of the path: not empty, and without dots";
        return Err(Error::Mapping { path, why });
    }
    Ok(key)
}

/// Visits items in a row.
fn visit<'i, T: Freezable + 'i>(
    items: impl Iterator<Item = &'i T>,
    mapper: &mut Mapper<'_>,
) -> Result<()> {
    items.enumerate().try_for_each(|(i, item)| mapper.visit_part(&i.to_string(), item))
}

/// The mapped items as an array. The lengths agree because one item was mapped for each of the
/// array.
fn as_array<T, const N: usize>(mapped: Vec<T>, mapper: &Mapper<'_>) -> Result<[T; N]> {
    let why = "an array changed its length";
    mapped.try_into().map_err(|_| Error::Mapping { path: mapper.path().to_string(), why })
}

impl<T: Freezable, const N: usize> Freezable for [T; N] {
    const LEAVES: LeafTree = LeafTree::array(&T::LEAVES, N);
    const HAS_LEAVES: bool = T::HAS_LEAVES;

    fn each_item(this: &Self, depth: usize, index: &mut Vec<usize>, see: &mut dyn FnMut(&[usize])) {
        each_of(this.iter(), depth, index, see);
    }

    fn map_params(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
        let mapped: Result<Vec<T>> =
            self.iter().enumerate().map(|(i, item)| mapper.part(&i.to_string(), item)).collect();
        as_array(mapped?, mapper)
    }

    fn visit_params(&self, mapper: &mut Mapper<'_>) -> Result<()> {
        visit(self.iter(), mapper)
    }
}

macro_rules! tuple {
    ($($type:ident $index:tt),+) => {
        #[diagnostic::do_not_recommend]
        impl<$($type: Freezable),+> Freezable for ($($type,)+) {
            const LEAVES: LeafTree = LeafTree::group(
                TUPLE,
                &[$(Part { name: stringify!($index), layout: &$type::LEAVES }),+],
            );
            const HAS_LEAVES: bool = $($type::HAS_LEAVES)||+;

            fn map_params(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
                Ok(($(mapper.part(stringify!($index), &self.$index)?,)+))
            }

            fn visit_params(&self, mapper: &mut Mapper<'_>) -> Result<()> {
                $(mapper.visit_part(stringify!($index), &self.$index)?;)+
                Ok(())
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
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11);

/// The layout of any number of `T`; empty if `T` can have no leaf.
const fn open<T: Freezable>(kind: &'static str, inside: fn() -> LeafTree) -> LeafTree {
    if T::HAS_LEAVES { LeafTree::open(kind, inside) } else { LeafTree::EMPTY }
}
