//! What a checkpoint holds: the list in docs/RELIABILITY.md is made from a file that has everything.

use std::collections::BTreeSet;

use candle_core::{DType, Device, Tensor};
use candle_nn::{BatchNorm, Linear, Module, ModuleT, ParamsAdamW, VarBuilder, VarMap};
use candle_nn::{batch_norm, linear};
use freeze_core::checkpoint::{Checkpoint, MetricHistory};
use freeze_core::nn::Dropout;
use freeze_core::optim::{AdamW, GradAccumulator, Momentum, ParamsSgd, Sgd};
use freeze_core::{Elapsed, Freezable, Freezer, LayerFreezing, Result};

use crate::craft::Parts;
use crate::doc;

#[derive(Freezable)]
struct Net {
    body: Linear,
    norm: BatchNorm,
    dropout: Dropout,
    head: Linear,
}

/// What each part of the file is, tensors and then the keys of the header's state.
const PARTS: [(&str, &str); 29] = [
    ("`model/NAME`", "a parameter or running statistic by field path; a tied one once"),
    ("`optimizer.N/first_moment/NAME`", "Adam's and AdamW's mean of gradients"),
    ("`optimizer.N/second_moment/NAME`", "Adam's and AdamW's mean of squares"),
    ("`optimizer.N/momentum/NAME`", "SGD's momentum"),
    ("`optimizer.N/master/NAME`", "the `f32` copy of a parameter in half precision"),
    (
        "`random/NAME`",
        "a generator that was named, as MessagePack; `freeze.training`: a `Training`'s place, seed and patience, the time of its epoch, and how far each rank has drawn; `freeze.observer`: copies and sums that its policy needs",
    ),
    ("`history/value`", "every recorded value of every metric"),
    ("`history/metric`", "which metric each value is of"),
    ("`history/elapsed`", "how far training was at each"),
    ("`gathered/NAME`", "gradients summed up since the last step"),
    ("`written_by`", "library and version"),
    ("`layout`", "names, shapes and types of the model's tensors, and which are tied"),
    ("`dropouts`", "the generators of the model's dropouts, and which are shared"),
    ("`plan`", "which leaves train, at what share of the rate"),
    ("`base_plan`", "the plan made by hand, which schedules refine"),
    ("`batch_norm`", "what frozen batch norms normalise by"),
    ("`progress`", "epochs and steps"),
    ("`samples`", "samples seen"),
    ("`optimizers`", "of each its type, learning rate, and the updates of each parameter"),
    ("`policy`", "its name, settings and state"),
    ("`why`", "why leaves are in their states, as the policy said"),
    (
        "`frozen_state`",
        "what becomes of the optimizer state of frozen parameters, if the policy said",
    ),
    ("`metrics`", "the names of the metrics, with the latest value of each"),
    ("`gathered`", "what the summed gradients weigh"),
    ("`checksums`", "of every tensor in the file"),
    ("`in_base`", "of a delta: checksums of the tensors that it leaves to its base"),
    ("`base_id`", "of a delta: which checkpoint its base is"),
    ("`freeze.format`", "the number of the format"),
    ("`freeze.checksum`", "of the header"),
];

/// A file with everything, of a model in the given type.
fn everything(dtype: DType) -> Result<Parts> {
    let map = VarMap::new();
    let vb = VarBuilder::from_varmap(&map, dtype, &Device::Cpu);
    let net = Net {
        body: linear(3, 3, vb.pp("body"))?,
        norm: batch_norm(3, 1e-5, vb.pp("norm").to_dtype(DType::F32))?,
        dropout: Dropout::new(0.1, 1)?,
        head: linear(3, 2, vb.pp("head"))?,
    };
    let mut net = Freezer::new(net)?;
    let (front, back): (Vec<_>, Vec<_>) =
        net.planned_vars().into_iter().partition(|var| var.name.starts_with("body"));
    let momentum = ParamsSgd { lr: 0.1, momentum: Momentum::Heavy(0.9), ..Default::default() };
    let mut sgd = Sgd::with_names(front, momentum)?;
    let mut adamw = AdamW::with_names(back, ParamsAdamW::default())?;
    let mut sums = GradAccumulator::new(net.vars());
    let loss = |net: &Net| -> Result<Tensor> {
        let xs = Tensor::rand(0f32, 1.0, (4, 3), &Device::Cpu)?.to_dtype(dtype)?;
        let xs = net.body.forward(&xs)?.to_dtype(DType::F32)?;
        let xs = net.dropout.forward(&net.norm.forward_t(&xs, true)?, true)?.to_dtype(dtype)?;
        Ok(net.head.forward(&xs)?.sqr()?.mean_all()?)
    };
    let grads = loss(&net)?.backward()?;
    candle_nn::Optimizer::step(&mut sgd, &grads)?;
    candle_nn::Optimizer::step(&mut adamw, &grads)?;
    sums.accumulate(&loss(&net)?)?;
    let (mut history, mut hook) = (MetricHistory::default(), LayerFreezing::new(0.5, 1.0)?);
    history.record("loss", 0.5, Elapsed::new(1, 2));
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run");
    Checkpoint::of(&mut net)
        .optimizer(&mut sgd)
        .optimizer(&mut adamw)
        .policy(hook.policy_mut())
        .random("shuffle", &mut 7u64)
        .history(&mut history)
        .accumulator(&mut sums)
        .progress(Elapsed::new(1, 2))
        .samples(4)
        .save(&path)?;
    Ok(Parts::of(&std::fs::read(path).expect("the file")))
}

/// A tensor's name with the user's own names left out.
fn pattern(name: &str) -> String {
    let segments: Vec<&str> = name.split('/').collect();
    match segments.as_slice() {
        ["history", column] => format!("`history/{column}`"),
        [part, slot, _] => {
            format!("`{}.N/{slot}/NAME`", part.trim_end_matches(|c| ".0123".contains(c)))
        }
        [part, _] => format!("`{part}/NAME`"),
        _ => format!("`{name}`"),
    }
}

#[test]
fn the_page_lists_all_that_a_checkpoint_holds() -> Result<()> {
    let mut found = BTreeSet::new();
    for dtype in [DType::F32, DType::BF16] {
        let parts = everything(dtype)?;
        found
            .extend(parts.header.keys().filter(|name| *name != "__metadata__").map(|n| pattern(n)));
        let state = parts.state();
        found.extend(state.as_object().expect("a state").keys().map(|key| format!("`{key}`")));
        let text = parts.header["__metadata__"].as_object().expect("free text").keys();
        found.extend(text.filter(|key| *key != "freeze.state").map(|key| format!("`{key}`")));
    }
    let known: BTreeSet<String> = PARTS.iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(found, known, "found, and described here");
    let mut table = String::from("| in the file | what it is |\n|---|---|\n");
    PARTS.iter().for_each(|(name, what)| table.push_str(&format!("| {name} | {what} |\n")));
    doc::has("what a checkpoint holds", &table);
    Ok(())
}
