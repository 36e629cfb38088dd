//! Schedules behind pointers, such as one that is chosen at run time.

use crate::error::Result;
use crate::plan::FreezePlan;
use crate::policy::{Decision, Elapsed, Schedule};

macro_rules! forward {
    ($($pointer:ty),+) => {$(
        impl<S: Schedule + ?Sized> Schedule for $pointer {
            fn plan(&mut self, elapsed: Elapsed, base: &FreezePlan) -> Result<Decision> {
                (**self).plan(elapsed, base)
            }

            fn describe(&self) -> String {
                (**self).describe()
            }

            fn state(&self) -> serde_json::Value {
                (**self).state()
            }

            fn load_state(&mut self, state: &serde_json::Value) -> Result<()> {
                (**self).load_state(state)
            }
        }
    )+};
}

forward!(Box<S>, &mut S);
