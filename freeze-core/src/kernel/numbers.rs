//! Stored elements as numbers of the type that arithmetic runs in: loops are compiled for that type alone, and
//! halves are converted block by block.

use std::ops::Range;

/// Elements to read.
#[derive(Clone, Copy, Debug)]
pub enum Numbers<'a, R> {
    Here(&'a [R]),
    /// Halves, and what converts them into a slice of the same length.
    Halves(&'a [u16], fn(&[u16], &mut [R])),
}

/// Elements to write.
#[derive(Debug)]
pub enum NumbersMut<'a, R> {
    Here(&'a mut [R]),
    /// Halves, and what rounds numbers from a slice of the same length.
    Halves(&'a mut [u16], fn(&mut [u16], &[R])),
}

impl<'a, R: Copy + Default> Numbers<'a, R> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Here(numbers) => numbers.len(),
            Self::Halves(bits, _) => bits.len(),
        }
    }

    /// All numbers; `room` takes those of halves.
    pub(crate) fn all<'r>(self, room: &'r mut Vec<R>) -> &'r [R]
    where
        'a: 'r,
    {
        self.read(0..self.len(), room)
    }

    /// The numbers in `range`; `room` takes those of halves.
    ///
    /// # Panics
    ///
    /// There are fewer.
    #[inline]
    pub(crate) fn read<'r>(self, range: Range<usize>, room: &'r mut Vec<R>) -> &'r [R]
    where
        'a: 'r,
    {
        match self {
            Self::Here(numbers) => &numbers[range],
            Self::Halves(bits, load) => {
                room.resize(range.len(), R::default());
                load(&bits[range], room);
                room
            }
        }
    }
}

impl<'a, R: Copy + Default> NumbersMut<'a, R> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Here(numbers) => numbers.len(),
            Self::Halves(bits, _) => bits.len(),
        }
    }

    /// The first `middle` and the others.
    ///
    /// # Panics
    ///
    /// There are fewer.
    pub(crate) fn split_at(self, middle: usize) -> (Self, Self) {
        match self {
            Self::Here(numbers) => {
                let (front, back) = numbers.split_at_mut(middle);
                (Self::Here(front), Self::Here(back))
            }
            Self::Halves(bits, store) => {
                let (front, back) = bits.split_at_mut(middle);
                (Self::Halves(front, store), Self::Halves(back, store))
            }
        }
    }

    /// Pieces of `len` elements; the last may be shorter.
    pub(crate) fn chunks(self, len: usize) -> Vec<Self> {
        match self {
            Self::Here(numbers) => numbers.chunks_mut(len.max(1)).map(Self::Here).collect(),
            Self::Halves(bits, store) => {
                bits.chunks_mut(len.max(1)).map(|bits| Self::Halves(bits, store)).collect()
            }
        }
    }

    /// Has `write` overwrite the numbers. It finds zeros or what is there.
    #[inline]
    pub(crate) fn write<A>(self, write: impl FnOnce(&mut [R]) -> A) -> A {
        let mut room = Vec::new();
        let (to, halves) = match self {
            Self::Here(numbers) => (numbers, None),
            Self::Halves(bits, store) => {
                room.resize(bits.len(), R::default());
                (&mut room[..], Some((bits, store)))
            }
        };
        let result = write(to);
        if let Some((bits, store)) = halves {
            store(bits, to);
        }
        result
    }
}

/// The numbers of all operands in `range`.
///
/// # Panics
///
/// One has fewer.
pub(crate) fn read_all<'r, R: Copy + Default, const N: usize>(
    operands: [Numbers<'r, R>; N],
    range: impl Fn(usize) -> Range<usize>,
    rooms: &'r mut [Vec<R>; N],
) -> [&'r [R]; N] {
    let mut found = [&[][..]; N];
    for (place, room) in rooms.iter_mut().enumerate() {
        found[place] = operands[place].read(range(place), room);
    }
    found
}
