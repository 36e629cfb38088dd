//! The example of several ranks as a program: over threads, and with the feature `mpi` over processes, as others are then.

#[cfg(feature = "mpi")]
#[path = "../parallel/mpirun.rs"]
mod mpirun;

use std::path::Path;
use std::process::Output;

use candle_core::{Device, safetensors::load};

use crate::programs::built;

/// What so many ranks of an example print; `None` where there is no MPI to start them.
#[cfg(feature = "mpi")]
fn ranks(example: &str, size: usize, args: &[&str]) -> Option<Output> {
    let words = mpirun::launcher(size)?;
    let _turn = mpirun::turn();
    let mut command = std::process::Command::new(&words[0]);
    command.args(&words[1..]).arg(built(example)).args(args);
    Some(command.output().expect("mpirun"))
}

#[cfg(not(feature = "mpi"))]
fn ranks(example: &str, size: usize, args: &[&str]) -> Option<Output> {
    let output = std::process::Command::new(built(example))
        .arg(format!("--threads={size}"))
        .args(args)
        .output();
    Some(output.expect("the program"))
}

#[test]
fn two_ranks_train_what_one_trains_and_go_on_where_they_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |size: usize| {
        let name = |what: &str| folder.path().join(format!("{what}-{size}"));
        let weights = format!("--weights={}", name("weights").display());
        let saved = format!("--checkpoints={}", name("saved").display());
        let args = ["--epochs=3", "--limit=192", "--save-every=2", &weights, &saved];
        let run = || ranks("parallel", size, &args);
        Some((run()?, run()?, name("weights")))
    };
    let (Some((one, _, alone)), Some((two, again, together))) = (run(1), run(2)) else { return };
    // Layers freeze, whose gradients do not travel.
    let sent = bytes_of_steps(&two);
    assert!(sent.len() == 3 && sent[0] > sent[2], "bytes of a step, by epoch: {sent:?}");
    assert_eq!(sent, bytes_of_steps(&one));
    assert!(distance(&alone, &together) < 1e-4, "{}", distance(&alone, &together));
    let said = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said(&two).starts_with("2 ranks, from step 0\n"), "{}", said(&two));
    assert_eq!(said(&again), "2 ranks, from step 9\n", "nothing is left to train");
}

#[cfg(feature = "mpi")]
#[test]
fn the_other_examples_train_what_one_process_trains_and_print_it_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = format!("--out={}", folder.path().join("out").display());
    let rows: [(&str, &[&str], &str); 2] = [
        ("fashion", &["--epochs=2", "--limit=64", "--seeds=1"], "64 training images"),
        ("finetune", &["--tiny", "--lr=3e-3", "--epochs=2", &out], "the best weights are in"),
    ];
    for (example, args, once) in rows {
        let both = [1, 2].map(|size| ranks(example, size, args));
        let [Some(one), Some(two)] = both else { return };
        let [one, two] = [one, two].map(|output| {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        });
        assert_eq!(two.matches(once).count(), 1, "{two}");
        // Dropouts of finetune's model draw by rank.
        if example == "fashion" {
            let (one, two) = (losses(&one), losses(&two));
            assert!(one.len() >= 4 && one.len() == two.len(), "{one:?} {two:?}");
            let apart = one.iter().zip(&two).map(|(one, two)| (one - two).abs());
            assert!(apart.fold(0.0, f64::max) < 1e-3, "{one:?} {two:?}");
        }
    }
}

/// The losses of the epochs.
#[cfg(feature = "mpi")]
fn losses(text: &str) -> Vec<f64> {
    let loss = |line: &str| line.split_once(", loss ")?.1.split_once(',')?.0.parse().ok();
    text.lines().filter_map(loss).collect()
}

/// The bytes of a step in each epoch.
fn bytes_of_steps(output: &Output) -> Vec<u64> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let of = |line: &str| line.strip_suffix(" bytes a step")?.rsplit_once(' ')?.1.parse().ok();
    text.lines().filter_map(of).collect()
}

/// The largest difference between the weights in two files.
fn distance(left: &Path, right: &Path) -> f64 {
    let [left, right] = [left, right].map(|file| load(file, &Device::Cpu).expect("weights"));
    assert!(left.keys().all(|name| right.contains_key(name)) && left.len() == right.len());
    let apart = |(name, tensor): (&String, &candle_core::Tensor)| {
        let apart = (tensor - &right[name]).and_then(|apart| apart.abs()?.flatten_all()?.max(0));
        apart.and_then(|apart| apart.to_scalar::<f32>()).map(f64::from).expect("the same shape")
    };
    left.iter().map(apart).fold(0.0, f64::max)
}
