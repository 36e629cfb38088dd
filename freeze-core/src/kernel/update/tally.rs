//! What is added up over the elements of one update.

/// The absolute values and the squares of some numbers, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sums {
    pub(crate) l1: f64,
    pub(crate) squares: f64,
}

/// The sums of one update. The one to begin with has a 0 for what is wanted; what is `None` stays so.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    /// Of the gradient that the update used.
    pub(crate) gradient: Option<Sums>,
    /// Of the parameter after the update minus before it.
    pub(crate) update: Option<Sums>,
    /// Of the parameter after the update.
    pub(crate) weight: Option<Sums>,
    /// Of the update's share of the parameter, 0 where that was 0.
    pub(crate) relative: Option<f64>,
}

impl Tally {
    /// Whether the parameter before the update is needed.
    pub(super) fn compares(&self) -> bool {
        self.update.is_some() || self.relative.is_some()
    }

    /// Sets what is wanted to the sums that a kernel for CUDA has found.
    #[cfg(feature = "cuda")]
    pub(crate) fn set(&mut self, [g1, g2, u1, u2, w1, w2, relative]: &[f64; 7]) {
        let sums = |l1: &f64, squares: &f64| Sums { l1: *l1, squares: *squares };
        self.gradient = self.gradient.map(|_| sums(g1, g2));
        self.update = self.update.map(|_| sums(u1, u2));
        self.weight = self.weight.map(|_| sums(w1, w2));
        self.relative = self.relative.map(|_| *relative);
    }

    /// Adds the sums of further elements.
    pub(super) fn add(&mut self, further: &Self) {
        let sums = [
            (&mut self.gradient, further.gradient),
            (&mut self.update, further.update),
            (&mut self.weight, further.weight),
        ];
        for (sums, further) in sums {
            if let (Some(sums), Some(further)) = (sums, further) {
                sums.add(further);
            }
        }
        if let (Some(sum), Some(further)) = (&mut self.relative, further.relative) {
            *sum += further;
        }
    }
}

impl Sums {
    pub(super) fn add(&mut self, further: Self) {
        self.l1 += further.l1;
        self.squares += further.squares;
    }
}
