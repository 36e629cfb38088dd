//! A run through random turns, against a slow plain model of what should happen: weights,
//! statistics, plans, optimizer state and what a schedule remembers.

mod plain;

use candle_core::{DType, Device, ModuleT, Tensor};
use candle_nn::{Module, Optimizer, ParamsAdamW, VarBuilder, VarMap};
use freeze_core::optim::AdamW;
use freeze_core::{
    BatchNormPolicy, Elapsed, Freezable, FreezePlan, Freezer, LeafState, PlanOptimizer, Result, nn,
};
use proptest::prelude::*;

use plain::Plain;

use crate::support::OneMore;

#[derive(Freezable)]
struct Net {
    stem: nn::Linear,
    norm: nn::BatchNorm,
    body: nn::Linear,
    head: nn::Linear,
}

const EPSILON: f64 = 1e-4;

const LEAVES: [&str; 4] = ["stem", "norm", "body", "head"];

impl Net {
    fn new() -> Result<Self> {
        let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F64, &Device::Cpu);
        Ok(Self {
            stem: nn::linear(3, 4, vb.pp("stem"))?,
            norm: nn::batch_norm(4, 1e-5, vb.pp("norm"))?,
            body: nn::linear(4, 4, vb.pp("body"))?,
            head: nn::linear(4, 2, vb.pp("head"))?,
        })
    }

    fn loss(&self, xs: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        let xs = self.norm.forward_t(&self.stem.forward(xs)?, train)?;
        self.head.forward(&self.body.forward(&xs)?)?.sqr()?.mean_all()
    }
}

/// An epsilon that the noise of gradients which should be nothing, such as that of a bias before a
/// batch norm, stays far below.
fn params() -> ParamsAdamW {
    ParamsAdamW { eps: EPSILON, ..ParamsAdamW::default() }
}

/// Inputs that drift with the seed.
fn batch(seed: u64) -> Tensor {
    let number = |i: u64| ((seed * 31 + i * 17) % 23) as f64 / 7.0 - 1.0 + seed as f64 / 50.0;
    Tensor::from_iter((0..18).map(number), &Device::Cpu)
        .and_then(|xs| xs.reshape((6, 3)))
        .expect("a batch")
}

#[derive(Clone, Debug)]
enum Turn {
    Step(u64),
    ByHand([LeafState; 4]),
    /// By hand, with the optimizer left out: refused if it changes anything.
    LeftOut([LeafState; 4]),
    Upto(usize),
    Scheduled,
    /// By a schedule, with an optimizer that owns nothing.
    ScheduledInVain,
    OfAnotherModel,
    Policy(bool),
    /// A new optimizer under the plan in force.
    Renewed,
    /// Through a frozen view, in training or not.
    Frozen(u64, bool),
    /// Through a view with one leaf frozen beside the plan, with a backward.
    Part(usize, u64),
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let state = || {
        prop_oneof![
            Just(LeafState::Frozen),
            Just(LeafState::TRAINED),
            Just(LeafState::Trained { lr_scale: 0.5 })
        ]
    };
    let states = move || [state(), state(), state(), state()];
    let turn = prop_oneof![
        6 => (0..90u64).prop_map(Turn::Step),
        2 => states().prop_map(Turn::ByHand),
        1 => states().prop_map(Turn::LeftOut),
        1 => (0..6usize).prop_map(Turn::Upto),
        2 => Just(Turn::Scheduled),
        1 => Just(Turn::ScheduledInVain),
        1 => Just(Turn::OfAnotherModel),
        1 => any::<bool>().prop_map(Turn::Policy),
        1 => Just(Turn::Renewed),
        1 => (0..90u64, any::<bool>()).prop_map(|(seed, train)| Turn::Frozen(seed, train)),
        1 => (0..4usize, 0..90u64).prop_map(|(leaf, seed)| Turn::Part(leaf, seed)),
    ];
    prop::collection::vec(turn, 1..24)
}

struct Run {
    net: Freezer<Net>,
    opt: AdamW,
    schedule: OneMore,
    plain: Plain,
}

impl Run {
    fn new() -> Result<Self> {
        let mut net = Freezer::new(Net::new()?)?;
        let mut opt = AdamW::with_names(net.planned_vars(), params())?;
        net.thaw(&mut [&mut opt])?;
        let plain = Plain::of(&net.named_tensors()?)?;
        Ok(Self { net, opt, schedule: OneMore::up_to(LEAVES.len() - 1), plain })
    }

    fn plan(&self, states: [LeafState; 4]) -> Result<FreezePlan> {
        let mut plan = self.net.plan().clone();
        for (leaf, state) in states.into_iter().enumerate() {
            plan.set(leaf, state)?;
        }
        Ok(plan)
    }

    /// Makes the turn, and says whether it was refused.
    fn turn(&mut self, turn: &Turn) -> Result<bool> {
        let opts: &mut [&mut dyn PlanOptimizer] = &mut [&mut self.opt];
        match *turn {
            Turn::Step(seed) => {
                let grads = self.net.loss(&batch(seed), true)?.backward()?;
                self.opt.step(&grads)?;
                self.plain.step(&batch(seed))?;
            }
            Turn::ByHand(states) => {
                let plan = self.plan(states)?;
                self.net.apply(&plan, &mut [&mut self.opt])?;
                self.plain.by_hand(states);
            }
            Turn::LeftOut(states) => {
                let plan = self.plan(states)?;
                match self.net.apply(&plan, &mut []) {
                    Ok(_) => self.plain.by_hand(states),
                    Err(_) => return Ok(true),
                }
            }
            Turn::Upto(depth) => match self.net.freeze_front(depth, opts) {
                Ok(_) => {
                    let state = |leaf| match leaf < depth {
                        true => LeafState::Frozen,
                        false => LeafState::TRAINED,
                    };
                    self.plain.by_hand([0, 1, 2, 3].map(state));
                }
                Err(_) => return Ok(true),
            },
            Turn::Scheduled => {
                self.net.follow(&mut self.schedule, Elapsed::new(1, 2), opts)?;
                self.plain.scheduled();
            }
            Turn::ScheduledInVain => {
                let mut nothing = AdamW::new(Vec::new(), params())?;
                let refused: &mut [&mut dyn PlanOptimizer] = &mut [&mut nothing];
                let at = Elapsed::new(1, 2);
                match self.net.follow(&mut self.schedule, at, refused) {
                    Ok(_) => self.plain.scheduled(),
                    Err(_) => return Ok(true),
                }
            }
            Turn::OfAnotherModel => {
                let plan = FreezePlan::all_trained(&self.net.whole().stem)?;
                return Ok(self.net.apply(&plan, opts).is_err());
            }
            Turn::Policy(inference) => {
                let policy = match inference {
                    true => BatchNormPolicy::Inference,
                    false => BatchNormPolicy::AsCaller,
                };
                self.net.set_batch_norm(policy)?;
                self.plain.inference = inference;
            }
            Turn::Renewed => {
                let vars = self.net.planned_vars();
                self.opt = AdamW::with_names(vars, params())?;
                self.plain.forget();
            }
            Turn::Frozen(seed, train) => {
                let loss = self.net.frozen_view()?.loss(&batch(seed), train)?;
                assert!(!loss.track_op(), "a frozen view recorded a graph");
                let expected = self.plain.evaluate(&batch(seed), train)?;
                assert!((loss.to_scalar::<f64>()? - expected).abs() < 1e-8, "a frozen view's loss");
            }
            Turn::Part(leaf, seed) => {
                let view = self.net.frozen_view_of(LEAVES[leaf])?;
                let loss = view.loss(&batch(seed), false)?;
                if loss.track_op() {
                    let grads = loss.backward()?;
                    let named = self.net.named_vars();
                    let own = named.iter().filter(|(name, _)| name.starts_with(LEAVES[leaf]));
                    assert!(own.into_iter().all(|(_, var)| grads.get(var).is_none()));
                }
            }
        }
        Ok(false)
    }

    /// Everything that can be seen is what the plain model says.
    fn check(&self, at: &str) -> Result<()> {
        assert_eq!(self.net.plan().states(), self.plain.states, "{at}: the plan");
        assert_eq!(self.net.base().states(), self.plain.base, "{at}: the base");
        assert_eq!(self.schedule.asked, self.plain.scheduled, "{at}: the schedule");
        assert_eq!(self.opt.state_bytes(), self.plain.state_bytes(), "{at}: optimizer state");
        for (name, tensor) in self.net.named_tensors()? {
            let found: Vec<f64> = tensor.flatten_all()?.to_vec1()?;
            let expected = self.plain.values(&name)?;
            let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(off < 1e-9, "{at}: {name} is {off:e} off");
        }
        // What validates through the view is what the whole model has.
        let xs = batch(7);
        let losses = [self.net.loss(&xs, false)?, self.net.whole().loss(&xs, false)?];
        let [view, whole] = losses.map(|loss| loss.to_scalar::<f64>());
        let expected = self.plain.clone_for_evaluation()?.evaluate(&xs, false)?;
        let (view, whole) = (view?, whole?);
        assert!(
            view == whole && (view - expected).abs() < 1e-8,
            "{at}: {view}, {whole}, {expected}"
        );
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_run_is_what_the_plain_model_says(turns in turns()) {
        let mut run = Run::new().expect("a run");
        for (i, turn) in turns.iter().enumerate() {
            let at = format!("turn {i}, {turn:?}");
            // What was refused has changed nothing, which the comparison shows.
            let refused = run.turn(turn).unwrap_or_else(|error| panic!("{at}: {error}"));
            let always = matches!(turn, Turn::OfAnotherModel | Turn::Upto(5..));
            prop_assert!(refused || !always, "{} was accepted", at);
            run.check(&at).unwrap_or_else(|error| panic!("{at}: {error}"));
        }
    }
}
