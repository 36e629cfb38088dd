//! The loop of `scripts/launch.sh` around commands that fail in one way or another.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Runs the loop around a command of the shell, which finds the number of its start in `$start` and the folder of the
/// checkpoints in `$folder`.
fn launch(folder: &Path, options: &[&str], command: &str) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/launch.sh");
    let count = r#"echo . >> "$folder.starts"; start=$(wc -l < "$folder.starts"); "#;
    Command::new("sh")
        .arg(script)
        .arg("--checkpoints")
        .arg(folder)
        .args(options)
        .args(["sh", "-c", &format!("{count}{command}")])
        .env("folder", folder)
        .output()
        .expect("sh")
}

#[test]
fn it_starts_again_as_long_as_that_helps() {
    // Options, command, exit code, starts, the end of the last line.
    let saves = r#"touch "$folder/epoch-1-step-$(printf %04d $start).safetensors"; "#;
    let within = r#"mkdir -p "$folder/run"; touch "$folder/run/$start.safetensors"; "#;
    let rows: [(&[&str], String, i32, usize, &str); 8] = [
        // A program with several runs has a folder for each.
        (&[], format!("{within}[ $start = 5 ]"), 0, 5, "restart 4 of 10 from run/4.safetensors"),
        (&[], "exit 0".into(), 0, 1, ""),
        (
            &[],
            format!("{saves}[ $start = 4 ]"),
            0,
            4,
            "restart 3 of 10 from epoch-1-step-0003.safetensors",
        ),
        (&[], format!("{saves}exit 7"), 7, 11, "ended with code 7 after 10 restarts; giving up"),
        (&["--restarts", "2"], format!("{saves}exit 7"), 7, 3, "after 2 restarts; giving up"),
        (&["--restarts", "0"], format!("{saves}kill -9 $$"), 137, 1, "after 0 restarts; giving up"),
        // Nothing is saved: what is not a checkpoint does not count, and one start without is forgiven.
        (&[], "touch $folder/$start.partial; exit 3".into(), 3, 2, "giving up"),
        (
            &[],
            format!("[ $start = 2 ] || {{ {saves} }}; [ $start = 5 ]"),
            0,
            5,
            "from epoch-1-step-0004.safetensors",
        ),
    ];
    for (options, command, code, starts, last) in rows {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("checkpoints");
        fs::create_dir(&folder).expect("a new folder");
        let output = launch(&folder, options, &command);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{command}: {text}");
        let begun = fs::read_to_string(folder.with_extension("starts")).expect("starts");
        assert_eq!(begun.lines().count(), starts, "{command}: {text}");
        let line = text.lines().last().unwrap_or_default();
        assert!(line.contains(last), "{command}: {text}");
    }
}

#[test]
fn a_wrong_use_is_said_and_starts_nothing() {
    let rows: [(&[&str], &str); 5] = [
        (&[], "--checkpoints is missing"),
        (&["--checkpoints"], "--checkpoints needs a folder"),
        (&["--checkpoints", "x"], "the command is missing"),
        (&["--checkpoints", "x", "--restarts", "many", "true"], "--restarts is 'many'"),
        (&["--retries", "3", "true"], "no option --retries"),
    ];
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/launch.sh");
    for (options, expected) in rows {
        let output = Command::new("sh").arg(&script).args(options).output().expect("sh");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{options:?}: {text}");
        assert!(text.contains(expected), "{options:?}: {text}");
    }
}
