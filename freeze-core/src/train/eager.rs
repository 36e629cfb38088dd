//! Updates with each gradient during the backward, as soon as it is complete.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use candle_core::backprop::GradStore;
use candle_core::{Tensor, TensorId, Var, bail};

use super::clipping::Clipping;
use super::driven::Driven;
use crate::error::{Error, Result};
use crate::kernel::bytes_of;
use crate::nn::Buffers;

/// Bytes of gradients that are used together, so that small ones are not used one by one; fewer if
/// the largest parameter is smaller.
const TOGETHER: usize = 1 << 20;

/// The optimizers and gradients during such a backward.
pub(super) struct Eager {
    optimizers: Vec<Driven>,
    clipping: Clipping,
    /// Where gradients may lie.
    buffers: Option<Buffers>,
    /// The trained variables, with their full names.
    trained: HashMap<TensorId, (Arc<str>, Var)>,
    frozen: Vec<Var>,
    /// Complete gradients that wait for others, and their bytes.
    waiting: (GradStore, usize),
    /// The largest number of bytes that wait.
    room: usize,
    /// The variables that were updated.
    pub(super) updated: HashSet<TensorId>,
    /// The time of the updates.
    pub(super) took: Duration,
    /// The error that stopped the backward.
    error: Option<Error>,
}

impl Eager {
    /// Takes a complete gradient, whose variable no further operation will read.
    pub(super) fn receive(&mut self, id: TensorId, gradient: Tensor) -> candle_core::Result<()> {
        let (grads, bytes) = &mut self.waiting;
        *bytes += bytes_of(&gradient);
        grads.insert_id(id, gradient);
        if *bytes < self.room {
            return Ok(());
        }
        match self.use_waiting() {
            Ok(()) => Ok(()),
            Err(error) => {
                let message = error.to_string();
                self.error = Some(error);
                bail!("{message}")
            }
        }
    }

    /// Uses the remaining gradients after the backward.
    pub(super) fn finish(&mut self, rest: candle_core::Result<GradStore>) -> Result<()> {
        match (self.error.take(), rest) {
            (Some(error), _) => Err(error),
            (None, rest) => {
                let rest = rest?;
                self.use_waiting()?;
                self.update(rest)
            }
        }
    }

    fn use_waiting(&mut self) -> Result<()> {
        let (grads, _) = std::mem::take(&mut self.waiting);
        self.update(grads)
    }

    fn update(&mut self, mut grads: GradStore) -> Result<()> {
        let start = Instant::now();
        self.frozen.iter().for_each(|var| drop(grads.remove(var)));
        let reached = grads.get_ids().filter_map(|id| self.trained.get(id));
        let (names, vars): (Vec<Arc<str>>, Vec<Var>) = reached.cloned().unzip();
        let look = self.clipping.clip(&names, &vars, &mut grads)?;
        if let Err(names) = look {
            return Err(match self.updated.is_empty() {
                true => Error::NonFinite { names },
                false => Error::training(format!("the gradients of {names} are infinite or NaN")),
            });
        }
        for driven in &mut self.optimizers {
            self.updated.extend(driven.update_reached(&vars, &grads)?);
        }
        if let Some(buffers) = &self.buffers {
            let used = vars.iter().filter_map(|var| grads.get(var));
            used.for_each(|gradient| buffers.give_back(gradient));
        }
        self.took += start.elapsed();
        Ok(())
    }
}

/// A run's optimizers, returned to it when this is dropped, also after a panic.
pub(super) struct Lent<'a> {
    home: &'a mut Vec<Driven>,
    pub(super) eager: Rc<RefCell<Eager>>,
}

impl<'a> Lent<'a> {
    pub(super) fn new(
        home: &'a mut Vec<Driven>,
        clipping: Clipping,
        trained: &[(Arc<str>, Var)],
        frozen: &[Var],
        buffers: Option<Buffers>,
    ) -> Self {
        let largest = trained.iter().map(|(_, var)| bytes_of(var)).max().unwrap_or(0);
        let trained = trained.iter().map(|(name, var)| (var.id(), (name.clone(), var.clone())));
        let eager = Eager {
            optimizers: std::mem::take(home),
            clipping,
            buffers,
            trained: trained.collect(),
            frozen: frozen.to_vec(),
            waiting: Default::default(),
            room: largest.min(TOGETHER),
            updated: HashSet::new(),
            took: Duration::ZERO,
            error: None,
        };
        Self { home, eager: Rc::new(RefCell::new(eager)) }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Ok(mut eager) = self.eager.try_borrow_mut() {
            std::mem::swap(self.home, &mut eager.optimizers);
        }
    }
}
