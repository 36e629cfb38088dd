//! Loading into a model that is there: names, parts, types, refusals, and that values arrive in place.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device::Cpu, Tensor};
use candle_nn::{BatchNorm, Linear, Module, ModuleT, VarBuilder, linear, linear_no_bias};
use freeze_core::checkpoint::{Checkpoint, save_weights};
use freeze_core::init::Seeded;
use freeze_core::load::{Load, Loaded, load_into};
use freeze_core::{Freezable, Freezer, Result, Training};

use crate::support::{bits, randn};

#[derive(Freezable)]
struct Net {
    front: Linear,
    norm: BatchNorm,
    head: Linear,
}

/// In the order of the leaves.
const NAMES: [&str; 8] = [
    "front.weight",
    "front.bias",
    "norm.running_mean",
    "norm.running_var",
    "norm.weight",
    "norm.bias",
    "head.weight",
    "head.bias",
];

fn net(seed: u64, dtype: DType) -> Net {
    let vb = Seeded::builder(seed, dtype, &Cpu);
    let build = || -> candle_core::Result<Net> {
        let norm = candle_nn::batch_norm(3, 1e-5, vb.pp("norm"))?;
        Ok(Net { front: linear(2, 3, vb.pp("front"))?, norm, head: linear(3, 2, vb.pp("head"))? })
    };
    build().expect("a model")
}

fn tensors(net: &impl Freezable) -> Vec<(String, Vec<u64>)> {
    let tensors = net.named_tensors().expect("tensors");
    tensors.into_iter().map(|(name, tensor)| (name, bits(&tensor))).collect()
}

/// What lies in the file: small numbers that every type holds, another for each name.
fn values(rename: &dyn Fn(&str) -> String) -> HashMap<String, Tensor> {
    let shapes = [&[3, 2][..], &[3], &[3], &[3], &[3], &[3], &[2, 3], &[2]];
    let value = |(i, (name, shape)): (usize, (&&str, &&[usize]))| {
        let ones = Tensor::ones(*shape, DType::F32, &Cpu).expect("ones");
        (rename(name), (ones * (i as f64 + 1.0)).expect("a number"))
    };
    NAMES.iter().zip(&shapes).enumerate().map(value).collect()
}

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn write(&self, name: &str, tensors: &HashMap<String, Tensor>) -> PathBuf {
        let path = self.0.path().join(name);
        candle_core::safetensors::save(tensors, &path).expect("a file");
        path
    }
}

/// Whether every tensor of `net` has the file's value.
fn arrived(net: &Net) -> bool {
    let mut all = net.named_tensors().expect("tensors").into_iter().enumerate();
    all.all(|(i, (name, tensor))| {
        let wide = tensor.to_dtype(DType::F64).and_then(|t| t.flatten_all()).expect("numbers");
        let at = NAMES.iter().position(|known| *known == name).expect("a name");
        assert_eq!(tensors(net)[i].0, name);
        wide.to_vec1::<f64>().expect("numbers").iter().all(|value| *value == at as f64 + 1.0)
    })
}

#[test]
fn every_name_finds_its_place() {
    let files = Files::new();
    let write = |name: &str, rename: &dyn Fn(&str) -> String| files.write(name, &values(rename));
    let plain = write("plain", &|name| name.to_string());
    let below = write("below", &|name| format!("bert.{name}"));
    let other = write("other", &|name| name.replace("head.", "classifier.out."));
    let gamma = write("gamma", &|name| name.replace("norm.weight", "norm.gamma"));
    let bare = write("bare", &|name| name.replace("front.", ""));
    let mut more = values(&|name| name.to_string());
    more.insert("optimizer.step".into(), randn(3));
    let more = files.write("more", &more);
    let part = |name: &str, front: bool| {
        let mut tensors = values(&|name| name.to_string());
        tensors.retain(|name, _| name.starts_with("front.") == front);
        files.write(name, &tensors)
    };
    let halves = [part("one", true), part("two", false)];
    let saved = files.0.path().join("saved");
    let donor = net(9, DType::F32);
    assert!(load_into(&donor, &plain).expect("loaded").is_complete());
    save_weights(&saved, &donor).expect("saved");
    let run = files.0.path().join("run");
    Checkpoint::of(&mut Freezer::new(donor).expect("a freezer")).save(&run).expect("saved");
    let rows = [
        ("plain", Load::new(&plain)),
        ("strip", Load::new(&below).strip("bert.")),
        ("rename", Load::new(&other).rename("classifier.out.", "head.")),
        ("by hand", Load::new(&gamma).rename_with(|name| name.replace("gamma", "weight"))),
        ("before all", Load::new(&below).strip("bert.").rename("", "x.").strip("x.")),
        (
            "by rule after rule",
            Load::new(&bare).rename("weight", "front.weight").rename("bias", "front.bias"),
        ),
        ("skip", Load::new(&more).skip("optimizer.")),
        ("two files", Load::new(&halves[0]).and(&halves[1])),
        ("saved weights", Load::new(&saved)),
        ("a checkpoint", Load::new(&run)),
    ];
    for (what, load) in rows {
        for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
            let net = net(1, dtype);
            let loaded = load.into_model(&net).expect(what);
            assert!(loaded.is_complete() && loaded.loaded == NAMES, "{what}: {loaded}");
            assert!(arrived(&net), "{what} {dtype:?}");
            assert_eq!(loaded.to_string(), "loaded 8 of 8 tensors");
        }
        let strict = load.strict().into_model(&net(1, DType::F32)).expect(what);
        assert!(strict.is_complete(), "{what}");
    }
}

#[test]
fn what_has_no_counterpart_is_reported_or_refused() {
    let files = Files::new();
    let mut tensors = values(&|name| name.to_string());
    tensors.remove("front.bias");
    tensors.insert("head.weight".into(), randn((5, 3)));
    tensors.insert("head.bias".into(), Tensor::ones(2, DType::I64, &Cpu).expect("ones"));
    tensors.extend((0..12).map(|i| (format!("extra.{i}"), randn(1))));
    let path = files.write("file", &tensors);

    let strict = net(1, DType::F32);
    let before = self::tensors(&strict);
    let error = Load::new(&path).strict().into_model(&strict).expect_err("strict").to_string();
    for part in [
        "does not fit, nothing was changed: missing 1: `front.bias`; unexpected 12: `extra.0`, ",
        " and 4 more; misshaped 2: `head.weight` is [5, 3] f32 in the file, [2, 3] f32 in the model",
        "`head.bias` is [2] i64 in the file, [2] f32 in the model",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(self::tensors(&strict), before);

    let net = net(1, DType::F32);
    let loaded = load_into(&net, &path).expect("loaded");
    assert_eq!(loaded.missing, ["front.bias"]);
    assert_eq!((loaded.unexpected.len(), loaded.misshaped.len(), loaded.loaded.len()), (12, 2, 5));
    assert!(loaded.to_string().starts_with("loaded 5 of 8 tensors; missing 1: "), "{loaded}");
    for ((name, after), (_, before)) in self::tensors(&net).iter().zip(&before) {
        assert_eq!(after != before, loaded.loaded.contains(name), "{name}");
    }
}

#[derive(Freezable)]
struct Tied {
    embed: Linear,
    head: Linear,
}

fn tied() -> Tied {
    let embed = linear_no_bias(2, 2, Seeded::builder(1, DType::F32, &Cpu)).expect("a layer");
    Tied { head: embed.clone(), embed }
}

#[test]
fn a_tied_parameter_needs_one_of_its_names() {
    let files = Files::new();
    let (one, two) = (randn((2, 2)), randn((2, 2)));
    type Row<'a> = (&'a str, &'a [(&'a str, &'a Tensor)], bool);
    let rows: [Row<'_>; 4] = [
        ("the first", &[("embed.weight", &one)], true),
        ("the second", &[("head.weight", &one)], true),
        ("both", &[("embed.weight", &one), ("head.weight", &one)], true),
        ("two values", &[("embed.weight", &one), ("head.weight", &two)], false),
    ];
    for (what, tensors, fits) in rows {
        let tensors = tensors.iter().map(|(name, t)| (name.to_string(), (*t).clone())).collect();
        let (path, net) = (files.write("tied", &tensors), tied());
        let before = bits(net.embed.weight());
        match (Load::new(path).strict().into_model(&net), fits) {
            (Ok(loaded), true) => {
                assert!(loaded.missing.is_empty(), "{what}");
                assert_eq!(bits(net.head.weight()), bits(&one), "{what}");
            }
            (Err(error), false) => {
                let error = error.to_string();
                assert!(error.contains("`embed.weight` and `head.weight` are one"), "{error}");
                assert_eq!(bits(net.head.weight()), before);
            }
            (loaded, _) => panic!("{what}: {loaded:?}"),
        }
    }
}

#[test]
fn what_cannot_be_right_is_refused_and_changes_nothing() {
    let files = Files::new();
    let plain = files.write("plain", &values(&|name| name.to_string()));
    let below = files.write("below", &values(&|name| format!("bert.{name}")));
    let mut large = values(&|name| name.to_string());
    large.insert("head.bias".into(), Tensor::new(&[1e5f32, f32::INFINITY], &Cpu).expect("numbers"));
    let large = files.write("large", &large);
    let other = files.write("other", &HashMap::from([("x".to_string(), randn(1))]));
    let none = files.write("none", &HashMap::new());
    let damaged = files.0.path().join("damaged");
    std::fs::write(&damaged, b"12345678901234567890").expect("written");
    let rows: [(&str, Load, &str); 10] = [
        ("other names", Load::new(&below), "try `.strip(\"bert.\")`"),
        ("of another", Load::new(&other), "it begins with `x`, the model with `front.weight`"),
        ("nothing in it", Load::new(&none), "no name in it is one of the model's"),
        ("a rule for nothing", Load::new(&below).strip("brt."), "begins with `brt.`; near names"),
        ("skips all", Load::new(&below).skip(""), "no name in it is one of the model's"),
        ("twice", Load::new(&plain).and(&plain), "would be loaded from"),
        ("to one name", Load::new(&plain).rename("head.weight", "front.weight"), "skip one"),
        ("too large", Load::new(&large), "`head.bias` holds numbers too large for `head.bias`"),
        ("damaged", Load::new(&plain).and(&damaged), "damaged"),
        ("not there", Load::new(&plain).and(files.0.path().join("no")), "cannot read"),
    ];
    for (what, load, says) in rows {
        let net = net(1, DType::F16);
        let before = tensors(&net);
        let error = load.into_model(&net).expect_err(what).to_string();
        assert!(error.contains(says), "{what}: {error}");
        assert_eq!(tensors(&net), before, "{what}");
    }
    // An infinity that is in the file is no fault.
    let wide = net(1, DType::F32);
    assert!(load_into(&wide, &large).expect("loaded").is_complete());
    assert!(
        format!("{:?}", Load::new(&plain).skip("x").rename_with(str::to_string)).contains("Skip")
    );
}

#[test]
fn plain_tensors_are_named() {
    let files = Files::new();
    let path = files.write("file", &values(&|name| name.to_string()));
    let zeros = VarBuilder::zeros(DType::F32, &Cpu);
    let mut part = net(1, DType::F32);
    part.front = linear(2, 3, zeros).expect("a layer");
    let before = tensors(&part);
    let error = load_into(&part, &path).expect_err("plain").to_string();
    assert!(error.contains("2: `front.weight`, `front.bias` are plain tensors"), "{error}");
    assert!(error.contains("into_trainable()"), "{error}");
    assert_eq!(tensors(&part), before);
    let part = part.into_trainable().expect("variables");
    assert!(load_into(&part, &path).expect("loaded").is_complete());
    assert!(arrived(&part));
    // A frozen view's frozen leaves are plain too.
    let view = part.freeze_upto(1).expect("a view");
    assert!(load_into(&*view, &path).expect_err("a view").to_string().contains("not into a view"));
}

#[test]
fn a_freezer_shows_the_new_values_through_its_view() -> Result<()> {
    let files = Files::new();
    let path: &Path = &files.write("file", &values(&|name| name.to_string()));
    let mut net = Freezer::new(net(1, DType::F32))?;
    net.freeze_front(1, &mut [])?;
    let ids = |net: &Freezer<Net>| net.vars().iter().map(|var| var.id()).collect::<Vec<_>>();
    let before = ids(&net);
    let loaded: Loaded = load_into(&net, path)?;
    assert!(loaded.is_complete());
    assert_eq!(ids(&net), before);
    assert!(arrived(net.whole()));
    let x = randn((4, 2));
    let forward = |net: &Net| -> candle_core::Result<Tensor> {
        net.head.forward(&net.norm.forward_t(&net.front.forward(&x)?, false)?)
    };
    assert_eq!(bits(&forward(&net)?), bits(&forward(net.whole())?));
    let run = Training::new(self::net(2, DType::F32))?;
    assert!(load_into(&run, path)?.is_complete() && arrived(run.freezer().whole()));
    Ok(())
}

#[test]
fn a_file_of_which_nothing_has_the_models_shape_is_refused() {
    let net = net(1, DType::F32);
    let before = tensors(&net);
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("wide.safetensors");
    let wide =
        HashMap::from([("head.weight", Tensor::zeros((9, 9), DType::F32, &Cpu).expect("0"))]);
    candle_core::safetensors::save(&wide, &path).expect("saved");
    let error = load_into(&net, &path).expect_err("nothing fits").to_string();
    assert!(error.contains("shape") && error.contains("`head.weight`"), "{error}");
    assert_eq!(tensors(&net), before);
}
