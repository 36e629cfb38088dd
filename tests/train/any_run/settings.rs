//! What a run is made with.

use candle_core::{Result, Tensor};
use candle_nn::{Module, ParamsAdamW};
use freeze_core::optim::{AdamW, GradClip, Momentum, ParamsSgd, Sgd, lr};
use freeze_core::parallel::{Group, Parallel};
use freeze_core::policy::{Output, from_text};
use freeze_core::train::OnNonFinite;
use freeze_core::{ActivationCache, Recompute, Training};
use proptest::prelude::*;

use crate::cache::net::{BATCHES, Net, batch};

pub const EPOCHS: usize = 3;

/// Those whose decisions depend on no clock.
pub const POLICIES: [&str; 28] = [
    "linear:start=0.1",
    "linear:start=0.0,level=0.9,acts.steps=2",
    "freeze-out:t0=0.3,how=linear",
    "geometric:by=leaf",
    "gradual-unfreezing:by=leaf,triangle.cut-frac=0.2",
    "auto-freeze:by=leaf,windows=4",
    "grad-es:tau=0.5,patience=1,max-frozen=0.8",
    "ils:rate=0.5",
    "plasticity:window=2,refresh=1,acts.steps=2",
    "rgn:batches=2",
    "snr:batches=2,threshold=0.5",
    "spectrum:percent=50",
    "badam:by=leaf,switch-every=3",
    "hift:by=leaf,every=2",
    "lisa:by=leaf,blocks=1,every=2",
    "lisa:by=leaf,blocks=2,every=3,state=keep",
    "weighted:by=leaf,blocks=2,every=2",
    r#"freeze-at:milestones=[{"at":{"share":0.2},"freeze":{"up-to":"blocks.0"}},{"at":{"share":0.5},"freeze":{"share":0.6}}]"#,
    r#"phases:phases=[{"until":{"share":0.3},"train":["head"]},{"train":["**"],"rates":{"blocks.**":0.5}}]"#,
    "monotone:of=hift",
    "every:steps=3,of=ils",
    "with-floor:share=0.3,of=grad-es",
    "with-ceiling:share=0.4,of=linear",
    "at-most-per-round:share=0.3,of=geometric",
    "only:pattern=blocks.*,of=weighted",
    "unfreeze-on:at=[0.5],of=plasticity",
    r#"then:parts=[{"policy":"grad-es","tau":0.5,"until":0.4},{"policy":"lisa","blocks":1,"every":2}]"#,
    r#"max:of=["freeze-out",{"policy":"badam","switch-every":2}]"#,
];

/// Those that look at gradients of the whole step.
const AT_ONCE: [&str; 2] = ["auto-freeze", "snr"];

/// Those that look at steps, for which no rank may have a share of the updates.
const LOOKS: [&str; 7] = ["grad-es", "ils", "weighted", "rgn", "plasticity", "auto-freeze", "snr"];

/// What decides about the numbers of a run.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub policy: usize,
    pub sgd: bool,
    pub twice: bool,
    pub clip: bool,
    pub falls: bool,
    /// The blocks have an optimizer of their own.
    pub apart: bool,
    /// A loss that is no number is left out.
    pub skips: bool,
    /// Two ranks share the run.
    pub ranks: bool,
}

/// How they are computed.
#[derive(Clone, Debug, Default)]
pub struct Way {
    /// Bytes of memory of an activation cache.
    pub cache: Option<u64>,
    /// So many stages run again; 0 for none.
    pub recompute: usize,
    /// Updates within the backward, where nothing needs all gradients at once.
    pub within: bool,
    /// Gradients travel within the backward, if there are ranks.
    pub buckets: bool,
    /// Each rank holds the state of a share, if there are ranks and the policy looks at nothing.
    pub shards: bool,
}

pub fn settings() -> impl Strategy<Value = Settings> {
    (0..POLICIES.len(), any::<[bool; 7]>()).prop_map(
        |(policy, [sgd, twice, clip, falls, apart, skips, ranks])| Settings {
            policy,
            sgd,
            twice,
            clip,
            falls,
            apart,
            skips,
            ranks,
        },
    )
}

pub fn way() -> impl Strategy<Value = Way> {
    let bytes = prop_oneof![Just(None), Just(Some(0)), Just(Some(256)), Just(Some(1 << 20))];
    (bytes, 0usize..4, any::<[bool; 3]>()).prop_map(
        |(cache, recompute, [within, buckets, shards])| Way {
            cache,
            recompute,
            within,
            buckets,
            shards,
        },
    )
}

/// A run that has not begun.
pub fn run(
    settings: &Settings,
    way: &Way,
    group: Option<&Group>,
    seed: u64,
) -> freeze_core::Result<Training<Net>> {
    let policy = POLICIES[settings.policy];
    let mut run = Training::new(Net::new(seed)?)?.seed(3).length(EPOCHS, BATCHES)?;
    let adamw = ParamsAdamW { lr: 0.02, ..Default::default() };
    let sgd = ParamsSgd { lr: 0.05, momentum: Momentum::Heavy(0.9), ..Default::default() };
    if settings.apart {
        run = run.optimizer_for("blocks.*", |vars| AdamW::with_names(vars, adamw.clone()))?;
    }
    run = match settings.sgd {
        true => run.optimizer(|vars| Sgd::with_names(vars, sgd))?,
        false => run.optimizer(|vars| AdamW::with_names(vars, adamw))?,
    };
    if let Some(group) = group {
        let mut ranks = Parallel::new(group.clone());
        if way.buckets {
            ranks = ranks.within_backward(100)?;
        }
        if way.shards && !LOOKS.iter().any(|name| policy.contains(name)) {
            ranks = ranks.shard_optimizer_state();
        }
        run = run.parallel(ranks);
    }
    if settings.skips {
        run = run.on_non_finite(OnNonFinite::Skip);
    }
    // What several ranks have gathered cannot be saved.
    if settings.twice && !settings.ranks {
        run = run.accumulate(2)?;
    }
    if settings.clip {
        run = run.clip(GradClip::Norm(0.5))?;
    }
    if settings.falls {
        run = run.rate(lr::warmup(0.2, lr::cosine(0.1)?)?);
    }
    run = run.probe(outputs).policy(from_text(policy)?);
    if let Some(bytes) = way.cache {
        run = run.cache(ActivationCache::new().memory(bytes));
    }
    if way.recompute > 0 {
        run = run.recompute(Recompute::every(way.recompute)?);
    }
    let looks = AT_ONCE.iter().any(|name| policy.starts_with(name));
    let at_once = settings.clip || settings.twice || settings.skips || settings.ranks || looks;
    Ok(if way.within && !at_once { run.update_in_backward() } else { run })
}

/// What comes out of the stem and each block, for policies that compare outputs.
fn outputs(net: &Net) -> Result<Vec<Output>> {
    let mut x = net.stem.forward(&batch(&[0, 1, 2, 3])?.1)?.tanh()?;
    let of = |leaves, tensor: &Tensor| Output { leaves, tensor: tensor.clone() };
    let mut outputs = vec![of(1, &x)];
    for (at, block) in net.blocks.iter().enumerate() {
        x = block.forward(&x)?.tanh()?;
        outputs.push(of(at + 2, &x));
    }
    Ok(outputs)
}
