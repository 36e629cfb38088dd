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
}
