//! The ranks come together.

use super::led::Led;
use crate::checkpoint::Manager;
use crate::error::{Error, Result};
use crate::model::Freezable;
use crate::policy::Boxed;
use crate::train::Training;
use crate::train::hook::BoxedHook;

impl<M: Freezable> Training<M> {
    /// Before anything is done together: compares the ranks' settings, and lets rank 0 decide, write and save for
    /// all. `ready` is an error if this rank cannot run.
    pub(in crate::train) fn join(&mut self, ready: Result<()>) -> Result<()> {
        let Some(group) = self.group().cloned() else { return ready };
        let version = env!("CARGO_PKG_VERSION");
        let words = ready.and_then(|()| self.check_first_ranks());
        let words = words.and_then(|()| self.share_state());
        let words = words.and_then(|()| self.setup_in_words(version));
        let by_steps = self.manager.as_ref().is_some_and(Manager::counts_steps);
        let what = "the beginning of an epoch, or of a resumed run";
        let told = group.compare(what, words, [u64::from(by_steps), 0])?;
        if let Some(ranks) = &mut self.ranks {
            ranks.saves_by_steps = told[0][0] != 0;
            ranks.sent = ranks.group.traffic();
        }
        if !group.leads() {
            self.sinks.clear();
            (self.watch, self.manager) = (None, None);
            self.policy = self.policy.take().map(|hook| hook.silent(&self.lost));
        }
        if self.ranks.as_ref().is_some_and(|ranks| !ranks.led) {
            self.ranks.iter_mut().for_each(|ranks| ranks.led = true);
            self.policy = self.policy.take().map(|policy| self.led(policy));
        }
        Ok(())
    }

    /// The policy, and who owns what, are of the ranks that met first.
    fn check_first_ranks(&self) -> Result<()> {
        match &self.ranks {
            Some(ranks) if ranks.come_late => Err(Error::training(
                "`parallel` was called again after the ranks had met; save the run, and resume it in one that \
                 is built with the other ranks",
            )),
            _ => Ok(()),
        }
    }

    /// A policy of which rank 0 is asked for all, once the ranks have come together.
    pub(in crate::train) fn led(&self, policy: BoxedHook) -> BoxedHook {
        match &self.ranks {
            Some(ranks) if ranks.led => {
                policy.within(|policy| -> Boxed { Box::new(Led::new(policy, &ranks.group)) })
            }
            _ => policy,
        }
    }

    /// Before the first step: all ranks take the state of rank 0, unless they have resumed it together.
    pub(in crate::train) fn begin_together(&mut self) -> Result<()> {
        match &self.ranks {
            Some(ranks) if !ranks.begun => self.take_state_of_first().map(|_| ()),
            _ => Ok(()),
        }
    }

    /// Whether checkpoints may be due between steps.
    pub(in crate::train) fn saves_by_steps(&self) -> bool {
        match &self.ranks {
            Some(ranks) => ranks.saves_by_steps,
            None => self.manager.as_ref().is_some_and(Manager::counts_steps),
        }
    }
}
