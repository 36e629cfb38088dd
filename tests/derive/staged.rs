//! The forward in parts: leaving at any stage and entering there again is the whole forward, bit for
//! bit, on the model and on every view of it.

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{Linear, Module};
use freeze_core::{Flow, Freezable, FreezePlan, Freezer, LeafState, Staged, Stages};
use proptest::prelude::*;

#[derive(Freezable)]
#[freeze(stages)]
struct Net {
    stem: Linear,
    groups: Vec<Vec<Linear>>,
    neck: Option<Linear>,
    head: Linear,
}

/// The states, their sum over the stages passed, and the states of each group's end.
#[derive(Clone, Flow)]
struct Hidden {
    states: Tensor,
    sum: Option<Tensor>,
    ends: Vec<Tensor>,
}

impl Staged for Net {
    type Flow = Hidden;
    type Context = [f64];

    fn run(&self, stage: NetStage, mut xs: Hidden, scale: &[f64]) -> Result<Hidden> {
        let layer = match stage {
            NetStage::Stem => &self.stem,
            NetStage::Groups(i, j) => &self.groups[i][j],
            NetStage::Neck => self.neck.as_ref().expect("a stage of the model"),
            NetStage::Head => &self.head,
        };
        xs.states = (layer.forward(&xs.states)?.tanh()? * scale[0])?;
        xs.sum = Some(match xs.sum {
            Some(sum) => (sum + &xs.states)?,
            None => xs.states.clone(),
        });
        if let NetStage::Groups(i, j) = stage
            && j + 1 == self.groups[i].len()
        {
            xs.ends.push(xs.states.clone());
        }
        if stage == NetStage::Head {
            xs.states = xs.ends.iter().try_fold(xs.states, |sum, end| sum + end)?;
        }
        Ok(xs)
    }
}

fn linear(seed: f32) -> Linear {
    let values: Vec<f32> = (0..16).map(|i| ((i as f32 + seed) * 1.7).sin()).collect();
    let weight = Tensor::from_vec(values, (4, 4), &Device::Cpu).expect("a tensor");
    let bias = Tensor::new(&[0.1f32, -seed, 0.3, 0.2], &Device::Cpu).expect("a tensor");
    let var = |tensor: &Tensor| Var::from_tensor(tensor).expect("a variable").into_inner();
    Linear::new(var(&weight), Some(var(&bias)))
}

fn net(groups: &[usize], has_neck: bool) -> Net {
    let layer = |i: usize, j: usize| linear((i * 7 + j) as f32);
    let group = |(i, len): (usize, &usize)| (0..*len).map(|j| layer(i, j)).collect();
    Net {
        stem: linear(0.5),
        groups: groups.iter().enumerate().map(group).collect(),
        neck: has_neck.then(|| linear(0.25)),
        head: linear(0.75),
    }
}

fn input(batch: usize) -> Hidden {
    let values: Vec<f32> = (0..batch * 4).map(|i| (i as f32 * 0.37).cos()).collect();
    let states = Tensor::from_vec(values, (batch, 4), &Device::Cpu).expect("a tensor");
    Hidden { states, sum: None, ends: Vec::new() }
}

fn bits(flow: &Hidden) -> Vec<Vec<u8>> {
    let rows = flow.to_rows().expect("rows");
    rows.iter().map(<[u8]>::to_vec).collect()
}

/// A tensor that cannot be told from `tensor` by what it holds, and that records no graph.
fn through_bytes(flow: &Hidden) -> Hidden {
    let rows = flow.to_rows().expect("rows");
    Hidden::from_rows(rows.layout(), rows.iter(), &Device::Cpu).expect("a flow")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_forward_can_be_cut_anywhere(
        groups in prop::collection::vec(0..4usize, 0..4),
        has_neck: bool,
        batch in 1..4usize,
        depth: prop::sample::Index,
    ) {
        let model = net(&groups, has_neck);
        let leaves = model.leaves().expect("leaves").len();
        let view = model.freeze_upto(depth.index(leaves + 1)).expect("a view");
        let context = &[0.5][..];
        let whole = bits(&model.forward(input(batch), context).expect("a forward"));
        prop_assert_eq!(&whole, &bits(&view.forward(input(batch), context).expect("a forward")));
        for stage in model.stages() {
            let before = view.forward_to(stage, input(batch), context).expect("a forward");
            let stored = through_bytes(&before);
            prop_assert_eq!(bits(&before), bits(&stored));
            for entering in [before, stored] {
                let after = view.forward_from(stage, entering, context).expect("a forward");
                prop_assert_eq!(&whole, &bits(&after), "cut at {}", stage);
            }
            // On to every stage behind, as a cache does whose boundary moves.
            for later in model.stages().into_iter().filter(|later| *later >= stage) {
                let before = view.forward_to(stage, input(batch), context).expect("a forward");
                let between = view.forward_between(stage, later, before, context);
                let direct = view.forward_to(later, input(batch), context).expect("a forward");
                prop_assert_eq!(bits(&between.expect("a forward")), bits(&direct));
            }
        }
    }
}

#[test]
fn the_gradients_behind_a_cut_are_those_of_the_whole() {
    let mut net = Freezer::new(net(&[2, 2], true)).expect("a freezer");
    let front = net.first_leaf(NetStage::Groups(1, 0)).expect("a stage");
    net.freeze_front(front, &mut []).expect("frozen");
    let boundary = net.frozen_boundary(net.plan()).expect("a plan").expect("a stage that trains");
    assert_eq!(boundary, NetStage::Groups(1, 0));
    let context = &[1.0][..];
    let before = net.forward_to(boundary, input(3), context).expect("a forward");
    let is_cut = before.tensors().iter().all(|tensor| !tensor.track_op());
    assert!(is_cut, "the frozen front recorded a graph");
    let loss = |out: Hidden| out.states.sqr().and_then(|x| x.mean_all()).expect("a loss");
    let whole = loss(net.forward(input(3), context).expect("a forward"));
    let cut = loss(net.forward_from(boundary, through_bytes(&before), context).expect("a forward"));
    let (whole, cut) = (whole.backward().expect("gradients"), cut.backward().expect("gradients"));
    let vars = net.trained_vars();
    assert_eq!(vars.len(), 8);
    for var in vars {
        let values = |gradients: &candle_core::backprop::GradStore| {
            let gradient = gradients.get(&var).expect("a gradient");
            gradient.to_vec2::<f32>().or_else(|_| Ok(vec![gradient.to_vec1()?]))
        };
        let (whole, cut): (Result<Vec<Vec<f32>>>, _) = (values(&whole), values(&cut));
        assert_eq!(whole.expect("numbers"), cut.expect("numbers"));
    }
}

#[test]
fn a_stage_that_is_not_there_is_refused() {
    let model = net(&[1], false);
    let context = &[1.0][..];
    let text = |result: Result<Hidden>| match result {
        Ok(_) => panic!("it went through"),
        Err(error) => error.to_string(),
    };
    let error = text(model.forward_from(NetStage::Neck, input(1), context));
    assert!(
        error.contains("`neck`: the model has the stages `stem`, `groups.0.0`, `head`"),
        "{error}"
    );
    let error = text(model.forward_to(NetStage::Groups(0, 1), input(1), context));
    assert!(error.contains("stage `groups.0.1`"), "{error}");
    let error = text(model.forward_between(NetStage::Head, NetStage::Stem, input(1), context));
    assert!(error.contains("stage `stem`: it lies in front of `head`"), "{error}");
}

#[test]
fn a_plan_by_stages_trains_what_lies_behind() {
    let model = net(&[1, 1], false);
    let mut plan = FreezePlan::all_trained(&model).expect("a plan");
    for leaf in model.stage_leaves(NetStage::Stem).expect("a stage") {
        plan.set(leaf, LeafState::Frozen).expect("a leaf");
    }
    assert_eq!(model.frozen_boundary(&plan).expect("a plan"), Some(NetStage::Groups(0, 0)));
    assert_eq!(input(2).states.dtype(), DType::F32);
}

#[test]
fn the_summary_of_stages_says_where_the_frozen_front_ends() {
    let none = "4 stages: the first moves, no frozen front";
    let two = "4 stages, of which the first 2 are the frozen front; `groups.0.1` moves";
    for (patterns, front, states, last) in [
        (&[][..], 0, ["trained"; 4], none),
        (&["stem", "groups.0.0"], 2, ["frozen", "frozen", "trained", "trained"], two),
        (&["head"], 0, ["trained", "trained", "trained", "frozen"], none),
        (&["**"], 4, ["frozen"; 4], "4 stages: nothing moves"),
    ] {
        let mut net = Freezer::new(net(&[2], false)).expect("a freezer");
        let mut plan = net.plan().clone();
        for pattern in patterns {
            plan.freeze(pattern).expect("a plan");
        }
        net.apply(&plan, &mut []).expect("applied");
        let summary = net.stage_summary().expect("a summary");
        assert_eq!(summary.frozen_front(), front, "{patterns:?}");
        let text = summary.to_string();
        assert_eq!(text.lines().last(), Some(last), "{patterns:?}");
        for (path, state) in ["stem", "groups.0.0", "groups.0.1", "head"].iter().zip(states) {
            let row = text.lines().find(|line| line.trim_start().starts_with(path));
            let cells: Vec<&str> = row.expect("a row").split_whitespace().collect();
            let [_, leaves, parameters, trained, shown] = cells[..] else { panic!("{cells:?}") };
            assert_eq!((leaves, shown), ("1", state), "{patterns:?}");
            let trains = if state == "trained" { parameters } else { "0" };
            assert_eq!(trained, trains, "{patterns:?}");
        }
    }
}
