//! Policies: what decides which leaves train, with reasons and metrics.

mod all;
mod blocks;
mod budget;
mod combine;
mod data;
mod decision;
mod defaults;
mod elapsed;
mod follow;
mod function;
mod moment;
mod needs;
mod observation;
mod observer;
mod pointer;
mod progress;
mod reason;
mod rotate;
mod seen;
mod settings;
mod signal;
mod text;
mod time;
mod unique;

use crate::error::Result;
use crate::plan::FreezePlan;

pub use all::all;
pub use blocks::{Blocks, By};
pub use budget::{Budget, BudgetSettings, backward_share, relative_importance, select_within};
pub use combine::{
    AllTrained, AllTrainedSettings, AtLeast, AtMost, EndsWhenFrozen, Every, Monotone, Only, Pair,
    PerRound, PolicyExt, Ruled, Then, UnfreezeOn, all_trained,
};
pub use data::{from_json, from_toml, from_value};
pub use decision::Decision;
pub use defaults::defaults_toml;
pub use elapsed::Elapsed;
pub(crate) use follow::Floor;
pub use function::{FromFn, from_fn};
pub use moment::{Acts, Moment};
pub use needs::Needs;
pub use observation::{Observation, Output, Shown};
pub(crate) use observer::{Held, Look, Observer};
pub(crate) use progress::Progress;
pub use reason::Reason;
pub use rotate::{
    BAdam, BAdamOrder, BAdamSettings, HiFt, HiFtOrder, HiFtSettings, Lisa, LisaSettings, Sampling,
    Score, TurnState, Weighted, WeightedSettings, draw_chances, largest_scores,
};
pub use seen::Seen;
pub use settings::{Boxed, Family, Listed, Settings};
pub use signal::{
    AutoFreeze, AutoFreezeSettings, GradEs, GradEsSettings, Ils, IlsSettings, Plasticity,
    PlasticitySettings, QuietFront, Rgn, RgnSettings, SingularScore, Snr, SnrSettings, Spectrum,
    SpectrumSettings, best_scores, gradient_signal_to_noise, least_changed, module_type,
    plasticity, relative_gradient, relative_rates, relative_update, similarities, slope,
};
pub use text::from_text;
pub use time::{
    FreezeAt, FreezeAtSettings, FreezeOut, FreezeOutSettings, Front, Geometric, GeometricSettings,
    GradualUnfreezing, GradualUnfreezingSettings, Linear, LinearSettings, Milestone, Phase, Phases,
    PhasesSettings, Spacing, Triangle, When, slanted_triangle,
};

/// What decides which leaves train. A schedule is a policy that looks at time alone; [`from_fn`] makes
/// one from a function. A `Box` of a policy, `dyn` or not, is a policy.
///
/// ```
/// use freeze_core::{Decision, Elapsed, FreezePlan, LayerFreezing, Policy, Result};
///
/// /// Trains the embedding at a falling share of the learning rate, and then not at all.
/// struct Cool;
///
/// impl Policy for Cool {
///     fn decide(&mut self, at: Elapsed, base: &FreezePlan) -> Result<Decision> {
///         let (mut plan, left) = (base.clone(), 1.0 - 2.0 * at.fraction()?);
///         if left > 0.0 {
///             plan.train("embed", left)?;
///             return Ok(Decision::new(plan).metric("cool/share", left));
///         }
///         plan.freeze("embed")?;
///         Ok(Decision::new(plan).because("embed", "froze: half of the run is over"))
///     }
///
///     fn describe(&self) -> String {
///         "cool".into()
///     }
/// }
///
/// let freezing = LayerFreezing::with_policy(Cool);
/// ```
///
/// A policy that looks at training says what it [needs](Self::needs) of each step, gets it by
/// [`observe`](Self::observe), and decides when it is [due](Self::is_due).
///
/// A policy with state of its own implements [`state`](Self::state) and
/// [`load_state`](Self::load_state). They restore the policy when its plan is refused, and when a
/// run is resumed.
///
/// Three rules hold whatever a policy decides: leaves that the user froze stay frozen, leaves that are
/// declared `always` train, and one leaf trains at least, the last one that can, unless
/// [`LayerFreezing::may_freeze_all`](crate::LayerFreezing::may_freeze_all) says otherwise.
pub trait Policy {
    /// Whether it wants to decide at this point; at the ends of epochs by default. It may be asked at
    /// other points too, and then answers as at the last one that was due.
    fn is_due(&self, at: Elapsed, moment: Moment) -> bool {
        let _ = at;
        moment == Moment::Epoch
    }

    /// What it wants to observe in the step that follows `at`, or, at the start of a run, before the
    /// first step. Nothing by default.
    fn needs(&self, at: Elapsed) -> Needs {
        let _ = at;
        Needs::NONE
    }

    /// Takes what a step showed, if anything was needed.
    ///
    /// # Errors
    ///
    /// A number is infinite or NaN. The policy has not changed then.
    fn observe(&mut self, seen: &Observation) -> Result<()> {
        let _ = seen;
        Ok(())
    }

    /// The plan at `at`. `base` is the plan with what the user froze or scaled by hand. A policy
    /// refines it, so that leaves frozen there stay frozen, and shares of the learning rate multiply.
    ///
    /// # Errors
    ///
    /// The progress is invalid, such as an epoch beyond the last, or does not fit the settings.
    fn decide(&mut self, at: Elapsed, base: &FreezePlan) -> Result<Decision>;

    /// The policy's name and settings, for messages and checkpoints.
    fn describe(&self) -> String;

    /// The policy's state, so that a resumed run continues exactly; none by default.
    fn state(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Loads what [`state`](Self::state) returned.
    ///
    /// # Errors
    ///
    /// The state does not belong to this policy; nothing has changed then.
    fn load_state(&mut self, state: &serde_json::Value) -> Result<()> {
        if state.is_null() {
            return Ok(());
        }
        Err(crate::error::Error::PolicyState {
            policy: self.describe(),
            why: "it keeps no state".into(),
        })
    }
}
