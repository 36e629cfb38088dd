//! The example `study` where something around it ends: who reads what it prints, or itself.

use std::process::{Command, Stdio};

use crate::programs::built;
use crate::study::Folder;

const ROWS: &str = r#"
[[task]]
name = "tiny"
model = "residual"
train = 32
valid = 16
epochs = 1
rate = 3e-3
seeds = [1, 2]
row = [{}]
"#;

fn study(folder: &Folder) -> Command {
    let mut study = Command::new(built("study"));
    let results = format!("--results={}", folder.path("results.csv").display());
    study.arg("run").arg(folder.path("rows.toml")).arg(results);
    study
}

#[test]
fn a_study_goes_on_when_nobody_reads_what_it_prints() {
    let folder = Folder::new(ROWS);
    let mut command = study(&folder);
    let mut running = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(running.stdout.take());
    let output = running.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(folder.csv().lines().count(), 1 + 2, "{}", folder.csv());
}

/// The processes that train a row of the study in this folder.
#[cfg(target_os = "linux")]
fn rows(folder: &Folder) -> usize {
    let place = folder.path("results").display().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().map(|process| process.unwrap().path());
    let commands = processes.filter_map(|process| std::fs::read(process.join("cmdline")).ok());
    let is_row = |command: &Vec<u8>| {
        let command = String::from_utf8_lossy(command);
        command.split('\0').nth(1) == Some("row") && command.contains(&place)
    };
    commands.filter(is_row).count()
}

#[cfg(target_os = "linux")]
#[test]
fn a_study_that_is_killed_leaves_no_row_running() {
    use std::time::{Duration, Instant};
    let folder = Folder::new(&ROWS.replace("epochs = 1", "epochs = 10000"));
    let wait_for = |count: usize| {
        let began = Instant::now();
        while rows(&folder) != count {
            assert!(began.elapsed() < Duration::from_secs(30), "not {count} rows after 30 s");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let mut command = study(&folder);
    let mut running = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for(1);
    running.kill().unwrap();
    running.wait().unwrap();
    wait_for(0);
}
