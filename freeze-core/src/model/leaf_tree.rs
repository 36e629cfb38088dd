//! The ordered tree of a model's leaf layers, as far as the type determines it at compile time.

mod render;
#[cfg(test)]
mod tests;

use crate::plan::Declared;

/// The ordered tree of a type's parameterised leaf layers, known at compile time.
///
/// `#[derive(Freezable)]` writes it in field declaration order. What depends on the value (a `Vec`,
/// an `Option`, an enum) has no length here: [`LeafTree::len`] is then `None`, and
/// [`Freezable::leaf_before`](crate::Freezable::leaf_before) answers at run time.
///
/// ```
/// use candle_nn::{Activation, Linear};
/// use freeze_core::Freezable;
///
/// #[derive(Freezable)]
/// struct Net {
///     stem: Linear,
///     body: [Linear; 2],
///     act: Activation,
///     head: Linear,
/// }
///
/// const _: () = assert!(matches!(Net::LEAVES.len(), Some(4)));
/// const BODY: usize = Net::LEAVES.before("head"); // a wrong name fails to compile
/// assert_eq!(BODY, 3);
/// ```
#[derive(Clone, Copy)]
pub struct LeafTree {
    node: Node,
    declared: Declared,
}

/// A named part of a group.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// The path segment, or several joined by dots. No part's name begins with all segments of another's.
    pub name: &'static str,
    /// What is below it.
    pub layout: &'static LeafTree,
}

#[derive(Clone, Copy)]
enum Node {
    Empty,
    Leaf { kind: &'static str },
    Group { kind: &'static str, parts: &'static [Part] },
    Array { item: &'static LeafTree, len: usize },
    // A function, not a reference, because a recursive type would otherwise contain itself.
    Open { kind: &'static str, inside: fn() -> LeafTree },
}

impl LeafTree {
    /// The tree of a type without parameters: it has no leaf and needs no attribute.
    pub const EMPTY: Self = Self::of(Node::Empty);

    /// One leaf; `kind` is the layer's type name.
    pub const fn leaf(kind: &'static str) -> Self {
        Self::of(Node::Leaf { kind })
    }

    /// A struct: its parts in order, each below its name.
    pub const fn group(kind: &'static str, parts: &'static [Part]) -> Self {
        Self::of(Node::Group { kind, parts })
    }

    /// `len` times the same layout, below the path segments `0`, `1`, ..
    pub const fn array(item: &'static LeafTree, len: usize) -> Self {
        Self::of(Node::Array { item, len })
    }

    /// A part whose number of leaves depends on the value: `Vec`, `Option`, an enum.
    pub const fn open(kind: &'static str, inside: fn() -> LeafTree) -> Self {
        Self::of(Node::Open { kind, inside })
    }

    const fn of(node: Node) -> Self {
        Self { node, declared: Declared::NOTHING }
    }

    /// The same tree with `declared` applied to all of it from outside.
    pub const fn declare(self, declared: Declared) -> Self {
        Self { declared: declared.around(self.declared), ..self }
    }

    /// The number of leaves, if the type determines it.
    #[allow(clippy::len_without_is_empty, reason = "an unknown length is neither")]
    pub const fn len(&self) -> Option<usize> {
        match self.node {
            Node::Empty => Some(0),
            Node::Leaf { .. } => Some(1),
            Node::Open { .. } => None,
            Node::Array { len: 0, .. } => Some(0),
            Node::Array { item, len } => match item.len() {
                Some(n) => Some(n * len),
                None => None,
            },
            Node::Group { parts, .. } => {
                let (mut sum, mut i) = (0, 0);
                while i < parts.len() {
                    match parts[i].layout.len() {
                        Some(n) => sum += n,
                        None => return None,
                    }
                    i += 1;
                }
                Some(sum)
            }
        }
    }

    /// The number of leaves in front of `path` (field names and array indices joined by dots).
    ///
    /// # Panics
    ///
    /// There is no part of that name, or a part of unknown length is in front of it. In const
    /// context a panic is a compile error. At run time call
    /// [`Freezable::leaf_before`](crate::Freezable::leaf_before), which returns an error instead.
    #[track_caller]
    pub const fn before(&self, path: &str) -> usize {
        known(self.find(path.as_bytes(), 0).0)
    }

    /// The number of leaves in front of `path` and in it: `freeze_front(through(p))` freezes `p` too.
    ///
    /// # Panics
    ///
    /// As [`LeafTree::before`].
    #[track_caller]
    pub const fn through(&self, path: &str) -> usize {
        let (before, at) = self.find(path.as_bytes(), 0);
        match at.len() {
            Some(n) => known(before) + n,
            None => panic!("this part's number of leaves depends on the value: use `leaf_before`"),
        }
    }

    /// The attributes that apply to the part at `path`, including those of the types around it.
    /// Those further in, and those below a part of unknown length, are in
    /// [`Leaf::declared`](crate::Leaf::declared).
    ///
    /// # Panics
    ///
    /// There is no part of that name, or it is below a part of unknown length. In const context a
    /// panic is a compile error.
    #[track_caller]
    pub const fn declared(&self, path: &str) -> Declared {
        self.find(path.as_bytes(), 0).1.declared
    }

    /// The index of the field of a struct that `path` begins with, and the rest of the path.
    pub(crate) fn position<'a>(&self, path: &'a str) -> Option<(usize, Option<&'a str>)> {
        let Node::Group { parts, .. } = self.node else { return None };
        let mut below = parts.iter().map(|part| path.strip_prefix(part.name)).enumerate();
        below.find_map(|(index, rest)| match rest? {
            "" => Some((index, None)),
            rest => Some((index, Some(rest.strip_prefix('.')?))),
        })
    }

    /// The number of leaves before the part at `path[from..]`, or `UNKNOWN`, and that part with the
    /// attributes that apply to it.
    #[track_caller]
    const fn find(&self, path: &[u8], from: usize) -> (usize, LeafTree) {
        let mut end = from;
        while end < path.len() && path[end] != b'.' {
            end += 1;
        }
        let (before, next) = match self.node {
            Node::Group { parts, .. } => {
                let (mut sum, mut i) = (0, 0);
                loop {
                    if i == parts.len() {
                        panic!("no part of that name in this layout");
                    }
                    if leads(parts[i].name.as_bytes(), path, from) {
                        end = from + parts[i].name.len();
                        break (sum, parts[i].layout);
                    }
                    i += 1;
                    // Added only now, because a part of unknown length matters only to what is
                    // behind it.
                    sum = match (sum, parts[i - 1].layout.len()) {
                        (UNKNOWN, _) | (_, None) => UNKNOWN,
                        (sum, Some(n)) => sum + n,
                    };
                }
            }
            Node::Array { item, len } => {
                let index = number(path, from, end);
                if index >= len {
                    panic!("no part of that name in this layout");
                }
                match (index, item.len()) {
                    (0, _) => (0, item),
                    (_, Some(n)) => (n * index, item),
                    (_, None) => (UNKNOWN, item),
                }
            }
            Node::Open { .. } => {
                panic!(
                    "below this part the number of leaves depends on the value: use `leaf_before`"
                )
            }
            Node::Empty | Node::Leaf { .. } => panic!("no part of that name in this layout"),
        };
        let next = next.declare(self.declared);
        if end == path.len() {
            return (before, next);
        }
        match (before, next.find(path, end + 1)) {
            (UNKNOWN, (_, at)) | (_, (UNKNOWN, at)) => (UNKNOWN, at),
            (before, (inner, at)) => (before + inner, at),
        }
    }
}

/// The kind of tuples, which have no type name.
pub(crate) const TUPLE: &str = "tuple";

const UNKNOWN: usize = usize::MAX;

#[track_caller]
const fn known(before: usize) -> usize {
    if before == UNKNOWN {
        panic!(
            "a part of unknown length (a `Vec`, `Option` or enum) lies in front of that name: \
             use `leaf_before`"
        );
    }
    before
}

/// Whether `path[from..]` begins with all segments of `name`.
const fn leads(name: &[u8], path: &[u8], from: usize) -> bool {
    let end = from + name.len();
    if end > path.len() || (end < path.len() && path[end] != b'.') {
        return false;
    }
    let mut i = 0;
    while i < name.len() {
        if name[i] != path[from + i] {
            return false;
        }
        i += 1;
    }
    true
}

const fn number(path: &[u8], from: usize, end: usize) -> usize {
    if from == end {
        return UNKNOWN;
    }
    let (mut value, mut i) = (0usize, from);
    while i < end {
        if !path[i].is_ascii_digit() {
            return UNKNOWN;
        }
        value = value.saturating_mul(10).saturating_add((path[i] - b'0') as usize);
        i += 1;
    }
    value
}
