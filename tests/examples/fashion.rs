//! The example `fashion` where runs go on, and where a policy ends them.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use crate::programs::{example, lines};

/// The table of the epochs: depth, parameters, bytes and both accuracies, which end in the row's last percent sign.
fn rows(output: &Output) -> Vec<String> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let rows = text.lines().filter(|line| line.contains(" of 5 ") && !line.contains(", epoch "));
    rows.map(|row| row.rsplit_once('%').unwrap().0.to_string()).collect()
}

#[test]
fn fashion_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let keep = format!("--checkpoint-dir={}", folder.path().display());
    let args = ["--epochs=3", "--limit=64", "--freeze-start=0", "--seeds=1", &keep];
    let whole = example("fashion", &args);
    let epochs = |output: &Output| lines(output, ", epoch ");
    assert_eq!(epochs(&whole).len(), 9);

    let again = example("fashion", &args);
    let stderr = String::from_utf8(again.stderr).unwrap();
    assert_eq!((again.status.code(), stderr.lines().count()), (Some(1), 1), "{stderr}");
    assert!(stderr.contains("--resume"), "{stderr}");

    // As if both runs had been stopped after their second epoch.
    for run in ["all-layers-trained-seed-42", "progressive-freezing-seed-42"] {
        let kept = fs::read_dir(folder.path().join(run)).unwrap().map(|file| file.unwrap().path());
        let of_epochs = |path: &PathBuf| path.to_string_lossy().contains("epoch-");
        let last = kept.filter(of_epochs).max().unwrap();
        assert!(last.to_string_lossy().contains("epoch-000003"), "{}", last.display());
        fs::remove_file(last).unwrap();
    }
    let resumed = example("fashion", &[&args[..], &["--resume"]].concat());
    let (whole_lines, resumed_lines) = (epochs(&whole), epochs(&resumed));
    assert_eq!(resumed_lines, [whole_lines[2].clone(), whole_lines[5].clone()]);
    // The table tells of all epochs, those before the stop included.
    assert_eq!(rows(&whole).len(), 3);
    assert_eq!(rows(&resumed), rows(&whole));
}

#[test]
fn fashion_counts_the_epoch_in_which_its_policy_ends_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let keep = format!("--checkpoint-dir={}", folder.path().display());
    // All is calm by the second of eight steps.
    let policy = "--policy=grad-es:tau=1000,alpha=0,patience=1,max-frozen=0.5";
    let args = ["--epochs=2", "--limit=64", "--batch-size=8", "--seeds=1", policy, &keep];
    let output = example("fashion", &args);
    assert_eq!(lines(&output, "progressive freezing, epoch ").len(), 1);
    assert_eq!(rows(&output).len(), 1, "the first of two epochs");
    let resumed = example("fashion", &[&args[..], &["--resume"]].concat());
    assert_eq!(lines(&resumed, ", epoch "), Vec::<String>::new());
    assert_eq!(rows(&resumed), rows(&output));

    // Killed behind the checkpoint of the step that ended it, before it wrote what the epoch came to.
    let ended = folder.path().join("progressive-freezing-seed-42/ended.json");
    std::fs::remove_file(&ended).expect("it was written");
    let resumed = example("fashion", &[&args[..], &["--resume"]].concat());
    assert!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));
    let accuracy = |output| rows(output)[0].split_whitespace().last().map(str::to_string);
    assert_eq!(accuracy(&resumed), accuracy(&output));
    assert!(ended.exists());
}

#[test]
fn fashion_does_not_go_on_with_other_settings() {
    let folder = tempfile::tempdir().unwrap();
    let keep = format!("--checkpoint-dir={}", folder.path().display());
    let run = |args: &[&str]| example("fashion", &[&["--seeds=1", &*keep], args].concat());
    let begun = run(&["--epochs=2", "--limit=64"]);
    assert!(begun.status.success(), "{}", String::from_utf8_lossy(&begun.stderr));
    for (args, expected) in [
        (["--epochs=2", "--limit=64", "--lr=0.01"], "seed-42: lr was 0.004 and is 0.01; go on"),
        (["--epochs=2", "--limit=64", "--batch-size=16"], ": batch size was 32 and is 16; go on"),
        (["--epochs=3", "--limit=64", "--no-cache"], ": epochs was 2 and is 3; go on"),
        (["--epochs=2", "--limit=96", "--no-cache"], "training images was 64 and is 96"),
        (["--epochs=2", "--limit=64", "--policy=linear"], ": policy was "),
    ] {
        let output = run(&[&args[..], &["--resume"]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{args:?}: {said}");
        assert!(said.contains(expected), "{args:?}: {said}");
    }
    // A cache changes nothing.
    let on = run(&["--epochs=2", "--limit=64", "--no-cache", "--resume"]);
    assert_eq!(rows(&on), rows(&begun));
}
