//! Turns of equal length, counted in optimizer steps over the whole run.

use serde_json::{Value, json};

use crate::error::{Error, Result, at_least_1};
use crate::policy::{Elapsed, Moment};

/// When turns begin, and when the present one was first asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turns {
    every: usize,
    /// The steps that were completed then; `None` before the first question.
    begun: Option<usize>,
}

/// The turn at one point of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// Turns before it.
    pub(super) index: usize,
    /// Steps before its first, and before the first of the next turn.
    pub(super) steps: (usize, usize),
    /// Turns that begin in the whole run.
    pub(super) all: usize,
    /// Whether it begins at this point. Where it should have begun nobody asked otherwise.
    pub(super) begins: bool,
    begun: usize,
}

impl Turns {
    /// Turns of `every` steps; `name` is that of the setting.
    ///
    /// # Errors
    ///
    /// `every` is 0.
    pub(super) fn new(name: &'static str, every: usize) -> Result<Self> {
        Ok(Self { every: at_least_1(name, every)?, begun: None })
    }

    /// Whether a turn begins. Where steps are not counted, the policy is asked and says so.
    pub(super) fn is_due(&self, at: Elapsed, moment: Moment) -> bool {
        match moment {
            Moment::Start => true,
            Moment::Step => at.step.is_multiple_of(self.every),
            Moment::Epoch => at.steps == 0 || at.step.is_multiple_of(self.every),
        }
    }

    /// The turn of the step that follows `at`.
    ///
    /// # Errors
    ///
    /// Steps are not counted, or more are completed than there are.
    pub(super) fn at(&self, at: Elapsed) -> Result<Turn> {
        at.check_steps()?;
        at.fraction()?;
        let index = at.step / self.every;
        let begun = self.begun.filter(|begun| begun / self.every == index).unwrap_or(at.step);
        Ok(Turn {
            index,
            steps: (index * self.every, (index * self.every).saturating_add(self.every)),
            all: at.steps.div_ceil(self.every),
            begins: begun == at.step,
            begun,
        })
    }

    /// Remembers the turn, once everything about it is decided.
    pub(super) fn remember(&mut self, turn: Turn) {
        self.begun = Some(turn.begun);
    }

    /// Whether `turn` is the one that is remembered.
    pub(super) fn remembers(&self, turn: Turn) -> bool {
        self.begun == Some(turn.begun)
    }

    /// What has to be saved: `begun`, a number of steps, or null.
    pub(super) fn state(&self) -> Value {
        json!({ "begun": self.begun })
    }

    /// Loads what [`state`](Self::state) returned; an error that names the policy if it is something
    /// else.
    pub(super) fn load(&mut self, state: &Value, policy: impl FnOnce() -> String) -> Result<()> {
        let begun = state.as_object().filter(|state| state.len() == 1);
        let begun =
            begun.and_then(|state| serde_json::from_value(state.get("begun")?.clone()).ok());
        match begun {
            Some(begun) => {
                self.begun = begun;
                Ok(())
            }
            None => {
                let why = "it is no object of `begun`, a number of steps".into();
                Err(Error::PolicyState { policy: policy(), why })
            }
        }
    }
}
