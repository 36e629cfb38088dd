//! Parameter groups: learning rates and weight decays by name.

use std::sync::Arc;

use super::share::Share;
use super::slot::Slot;
use crate::error::{Result, check_number};
use crate::plan::{PlannedVar, all_names, matching_params};

/// Learning-rate scales and weight decays for parts of a model, by pattern.
///
/// A pattern is matched against the full name of a parameter and against the path of the leaf that
/// holds it, such as `head`, `head.weight`, `blocks.*.norm` or `blocks.**`; the syntax is that of
/// [`FreezePlan::set_matching`](crate::FreezePlan::set_matching). A tied parameter has several names, of which
/// one that matches is enough. If several patterns match, the
/// last one that sets the value wins. Scales multiply with the plan's. A parameter declared
/// `#[freeze(no_decay)]` decays only if a pattern gives it a decay. An optimizer built from
/// [`planned_vars`](crate::Freezer::planned_vars) knows names, leaves and types at once.
///
/// ```
/// # use candle_core::{DType, Device, Var};
/// # use candle_nn::ParamsAdamW;
/// use freeze_core::optim::{AdamW, ParamGroups};
///
/// # let var = |shape: &[usize]| Var::ones(shape, DType::F32, &Device::Cpu);
/// # let vars = vec![("stem.weight", var(&[2, 3])?), ("head.weight", var(&[3, 1])?)];
/// let mut opt = AdamW::with_names(vars, ParamsAdamW::default())?;
/// let groups = ParamGroups::new().lr_scale("head", 10.0)?.no_decay_on_biases_and_norms();
/// opt.set_groups(groups)?;
/// assert!(opt.set_groups(ParamGroups::new().lr_scale("haed", 10.0)?).is_err());
/// # Ok::<(), freeze_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParamGroups {
    rules: Vec<(String, What)>,
    plain: Plain,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    LrScale(f64),
    WeightDecay(f64),
}

/// Whether biases and norms have weight decay like all other parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Plain {
    #[default]
    Decay,
    Spared,
}

/// The names of a parameter, as far as they are known when groups are applied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    pub(super) name: &'a str,
    /// The path of the leaf that holds the parameter.
    pub(super) leaf: &'a str,
    /// The other names of a tied parameter.
    ties: &'a [(Arc<str>, Arc<str>)],
    /// The leaf as the name alone says it.
    guessed: Option<&'a str>,
    pub(super) kind: &'a str,
    pub(super) rank: usize,
}

impl ParamGroups {
    /// No groups: the optimizer's configuration applies to every parameter.
    pub fn new() -> Self {
        Self::default()
    }

    /// Parameters that `pattern` matches train at `scale` times the learning rate.
    ///
    /// # Errors
    ///
    /// `scale` is negative or not finite.
    pub fn lr_scale(mut self, pattern: &str, scale: f64) -> Result<Self> {
        check_number("lr_scale", scale, 0.0.., "a finite number of at least 0")?;
        self.rules.push((pattern.to_string(), What::LrScale(scale)));
        Ok(self)
    }

    /// Parameters that `pattern` matches have the weight decay `decay`.
    ///
    /// # Errors
    ///
    /// `decay` is negative or not finite.
    pub fn weight_decay(mut self, pattern: &str, decay: f64) -> Result<Self> {
        check_number("weight_decay", decay, 0.0.., "a finite number of at least 0")?;
        self.rules.push((pattern.to_string(), What::WeightDecay(decay)));
        Ok(self)
    }

    /// No weight decay on biases and norms, unless a pattern says otherwise: on parameters named
    /// `bias`, on every parameter of a leaf whose type name ends with `Norm`, and on every tensor
    /// of at most one dimension; the last is the whole rule of timm (`param_groups_weight_decay`)
    /// and of nanoGPT (`configure_optimizers`). Type names are known once a plan has been applied.
    pub fn no_decay_on_biases_and_norms(mut self) -> Self {
        self.plain = Plain::Spared;
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What the groups set for each of `params`.
    pub(super) fn shares(&self, params: &[Named<'_>]) -> Result<Vec<Share>> {
        let spared = |param: &Named<'_>| self.plain == Plain::Spared && param.is_plain();
        let share = |param: &Named<'_>| Share {
            weight_decay: spared(param).then_some(0.0),
            ..Share::default()
        };
        let mut shares: Vec<Share> = params.iter().map(share).collect();
        for (pattern, what) in &self.rules {
            for hit in matching_params(pattern, params.iter().map(Named::names))? {
                let Some(share) = shares.get_mut(hit) else { continue };
                match *what {
                    What::LrScale(scale) => share.lr_scale = scale,
                    What::WeightDecay(decay) => share.weight_decay = Some(decay),
                }
            }
        }
        Ok(shares)
    }
}

impl<'a> Named<'a> {
    /// The names of a slot, if it has any.
    pub(super) fn of(slot: &'a Slot) -> Option<Self> {
        let name = slot.name.as_deref()?;
        let (leaf, ties, guessed) = (&slot.leaf, &slot.ties, slot.guessed.as_deref());
        Some(Self { name, leaf, ties, guessed, kind: slot.kind, rank: slot.var.rank() })
    }

    /// The names of a slot after it has taken over those of a plan.
    pub(super) fn after(slot: &'a Slot, planned: &'a PlannedVar) -> Self {
        let PlannedVar { name, leaf, ties, kind, .. } = planned;
        let (name, leaf, ties) = match &slot.name {
            Some(known) if known != name => (known, &slot.leaf, &slot.ties),
            _ => (name, leaf, ties),
        };
        let guessed = slot.guessed.as_deref();
        Self { name, leaf, ties, guessed, kind, rank: slot.var.rank() }
    }

    fn names(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let guessed = self.guessed.map(|leaf| (self.name, leaf));
        all_names((self.name, self.leaf), self.ties).chain(guessed)
    }

    fn is_plain(&self) -> bool {
        let last = self.name.rsplit('.').next().unwrap_or("");
        last == "bias" || self.kind.ends_with("Norm") || self.rank <= 1
    }
}
