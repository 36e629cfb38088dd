//! Policies behind pointers, such as one that is chosen at run time.

use crate::error::Result;
use crate::plan::FreezePlan;
use crate::policy::{Decision, Elapsed, Moment, Needs, Observation, Policy};

macro_rules! forward {
    ($($pointer:ty),+) => {$(
        impl<P: Policy + ?Sized> Policy for $pointer {
            fn is_due(&self, at: Elapsed, moment: Moment) -> bool {
                (**self).is_due(at, moment)
            }

            fn needs(&self, at: Elapsed) -> Needs {
                (**self).needs(at)
            }

            fn observe(&mut self, seen: &Observation) -> Result<()> {
                (**self).observe(seen)
            }

            fn decide(&mut self, at: Elapsed, base: &FreezePlan) -> Result<Decision> {
                (**self).decide(at, base)
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

forward!(Box<P>, &mut P);
