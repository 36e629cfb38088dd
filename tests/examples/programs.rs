//! The examples as programs: what they print, and how they fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use freeze_core::policy::{Family, all};

/// The program of an example: `cargo test` builds them into the folder above the tests' own.
pub(crate) fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let built = test.parent().and_then(Path::parent).unwrap();
    let path = built.join("examples").join(name).with_extension(std::env::consts::EXE_EXTENSION);
    assert!(path.exists(), "{} is not built: run `cargo build --examples`", path.display());
    path
}

pub(crate) fn example(name: &str, args: &[&str]) -> Output {
    // candle adds a backtrace to an error's text where it is set.
    Command::new(built(name)).args(args).env_remove("RUST_BACKTRACE").output().unwrap()
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data")
}

/// The output without what differs from run to run: everything measured in seconds.
pub(crate) fn lines(output: &Output, with: &str) -> Vec<String> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let lines = text.lines().filter(|line| line.contains(with));
    lines.map(|line| line.rsplit_once(", ").map_or(line, |(front, _)| front).to_string()).collect()
}

#[test]
fn a_wrong_input_is_one_line_and_exit_code_1() {
    let folder = tempfile::tempdir().unwrap();
    let broken = |name: &str, bytes: &[u8]| {
        let copy = folder.path().join(name);
        fs::create_dir(&copy).unwrap();
        for file in fs::read_dir(data()).unwrap().map(Result::unwrap) {
            fs::copy(file.path(), copy.join(file.file_name())).unwrap();
        }
        fs::write(copy.join("t10k-labels-idx1-ubyte.gz"), bytes).unwrap();
        copy.display().to_string()
    };
    let whole = fs::read(data().join("t10k-labels-idx1-ubyte.gz")).unwrap();
    let images = fs::read(data().join("t10k-images-idx3-ubyte.gz")).unwrap();
    let empty = folder.path().display().to_string();
    let (cut, wrong) = (broken("cut", &whole[..whole.len() / 2]), broken("wrong", &images));
    let rows: [(&[&str], &str); 9] = [
        (&["--data", "/nowhere/at/all"], "/nowhere/at/all: no train-images-idx3-ubyte"),
        (&["--data", &empty], "no train-images-idx3-ubyte"),
        (&["--data", &cut], "t10k-labels-idx1-ubyte.gz: the gzip data ends too soon"),
        (&["--data", &wrong], "t10k-labels-idx1-ubyte.gz: holds images"),
        (&["--freeze-start", "1"], "1"),
        (&["--freeze-start", "NaN"], "NaN"),
        (&["--freeze-level", "-0.5"], "-0.5"),
        (&["--policy", "liner"], "near names: `linear`"),
        (&["--policy", "nowhere.toml"], "nowhere.toml: "),
    ];
    for (args, expected) in rows {
        let mut programs = vec!["fashion"];
        programs.extend((args[0] == "--data").then_some("transfer"));
        programs.extend((args[0] == "--policy").then_some("policies"));
        for name in programs {
            let args: Vec<String> = args.chunks(2).map(|pair| pair.join("=")).collect();
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let output = example(name, &args);
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{name} {args:?}: {stderr}");
            assert_eq!(stderr.lines().count(), 1, "{name} {args:?}: {stderr}");
            assert!(stderr.starts_with("error: "), "{name} {args:?}: {stderr}");
            assert!(stderr.contains(expected), "{name} {args:?}: {stderr}");
            assert!(output.stdout.is_empty(), "{name} {args:?} begins nothing");
        }
    }
}

#[test]
fn fashion_compares_two_runs_from_the_same_weights() {
    let tiny = ["--epochs=3", "--limit=64", "--freeze-start=0", "--seeds=1"];
    let first = example("fashion", &tiny);
    let all = lines(&first, "all layers trained, epoch");
    let freezing = lines(&first, "progressive freezing, epoch");
    let frozen = |lines: &[String]| -> Vec<String> {
        lines.iter().map(|l| l.split([':', ',']).nth(3).unwrap().trim().to_string()).collect()
    };
    assert_eq!(frozen(&all), ["0 of 5 layers frozen"; 3]);
    // 1/3 and 2/3 of the four leaves that may freeze, rounded down.
    let expected = ["0 of 5 layers frozen", "1 of 5 layers frozen", "2 of 5 layers frozen"];
    assert_eq!(frozen(&freezing), expected);
    // As long as nothing is frozen the runs are one and the same, to the last digit.
    let rest = |line: &String| line.rsplit_once(": ").unwrap().1.to_string();
    assert_eq!(rest(&all[0]), rest(&freezing[0]));
    assert_ne!(rest(&all[1]), rest(&freezing[1]));

    // The same seed gives the same losses and accuracies, from published files as from embedded ones.
    let folder = format!("--data={}", data().display());
    let again = example("fashion", &[&tiny[..], &[&folder]].concat());
    assert_eq!(lines(&again, " epoch "), lines(&first, " epoch "));
    let other = example("fashion", &[&tiny[..], &["--seed=7"]].concat());
    assert_ne!(lines(&other, " epoch "), lines(&first, " epoch "));

    // The parameters of the leaves that train, and 8 bytes of moments for each.
    for (epoch, row) in [
        (1, "0 of 5       30 826     246 608"),
        (2, "1 of 5       30 746     245 968"),
        (3, "2 of 5       29 578     236 624"),
    ] {
        assert_eq!(lines(&first, &format!(" {epoch}       {row}")).len(), 1, "epoch {epoch}");
    }
    for row in ["test accuracy  ", "training time ", "  forward ", "  backward ", "  optimizer  "] {
        assert!(lines(&first, row).iter().any(|line| line.starts_with(' ')), "no row `{row}`");
    }
}

#[test]
fn fashion_with_a_cache_computes_what_it_computes_without() {
    let args = ["--epochs=3", "--limit=64", "--freeze-start=0", "--seeds=1"];
    let cached = example("fashion", &args);
    let without = example("fashion", &[&args[..], &["--no-cache"]].concat());
    let of = |output: &Output| lines(output, "progressive freezing, epoch");
    assert_eq!(of(&cached), of(&without));
    assert_eq!(of(&cached).len(), 3);
}

#[test]
fn fashion_says_who_wins_over_several_seeds() {
    let args = ["--epochs=3", "--limit=64", "--freeze-start=0", "--seeds=2"];
    let output = example("fashion", &args);
    let of = |run: &str| lines(&output, run).len();
    // Schedules of one and two of the three epochs, for each of the seeds.
    assert_eq!(
        [of("all layers, schedule of 1"), of("all layers, schedule of 2"), of("seed 43: ")],
        [2, 4, 9]
    );
    let rows = lines(&output, " ± ");
    let rows: Vec<&String> = rows.iter().filter(|row| row.starts_with(' ')).collect();
    let epochs = |row: &&String| {
        let numbers: Vec<&str> = row.split("  ").filter(|part| !part.is_empty()).collect();
        numbers[1].trim().to_string()
    };
    assert_eq!(rows.iter().map(epochs).collect::<Vec<_>>(), ["1", "2", "3", "3"], "{rows:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("In the same time as all layers on a shorter schedule"), "{text}");
    let marks = ['●', '○', '□'].map(|mark| text.matches(mark).count());
    // Runs as short as these take times so alike that in the picture one mark may hide another; the legend has each.
    assert!(marks.iter().all(|count| *count > 0), "{marks:?}: {text}");
    assert!(marks.iter().sum::<usize>() > marks.len(), "no mark in the picture: {text}");
}

#[test]
fn fashion_takes_any_policy() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("two.json");
    fs::write(&file, r#"{"policy": "with-floor", "share": 0.4, "of": "linear"}"#).unwrap();
    let policy = format!("--policy={}", file.display());
    let output = example("fashion", &["--epochs=2", "--limit=64", "--seeds=1", &policy]);
    let frozen = lines(&output, "progressive freezing, epoch 2");
    assert!(frozen[0].contains("2 of 5 layers frozen"), "{frozen:?}");
}

#[test]
fn policies_shows_who_trained_when() {
    let tiny = ["--limit=64", "--epochs=4", "--policy=linear:start=0"];
    let output = example("policies", &tiny);
    let text = |output: &Output| String::from_utf8(output.stdout.clone()).unwrap();
    let rows = |output: &Output| -> Vec<String> {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = text(output);
        let rows = text.lines().filter(|line| line.ends_with(" %"));
        rows.map(|row| row.split_once("  ").unwrap().1.trim().to_string()).collect()
    };
    // Two steps in an epoch; a quarter, a half and three quarters of 13 leaves after each.
    let row = |trained: usize| {
        let share = 100 * trained / 8;
        format!("{}{}  {share:3} %", "█".repeat(trained), "·".repeat(8 - trained))
    };
    let expected = [[2; 3], [4; 3], [6; 3]].concat().into_iter().chain([8; 5]).map(row);
    assert_eq!(rows(&output), expected.collect::<Vec<_>>());
    let reason = "after step    2: `stem` froze: 2 of 8 steps are over, 3 of 14 leaves are due";
    assert!(text(&output).contains(reason), "{}", text(&output));

    let listed = text(&example("policies", &["--list"]));
    assert_eq!(listed, include_str!("../../docs/policies.toml"));
    for policy in all() {
        // Steps enough for each, and a budget that can be met on any machine.
        let text = match policy.family {
            Family::Budget => format!("--policy={}:time=1", policy.name),
            _ => format!("--policy={}", policy.name),
        };
        let output = example("policies", &["--limit=160", "--epochs=6", &text]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        let fine = match policy.family {
            Family::Combinator => stderr.contains("missing field"),
            _ => output.status.success(),
        };
        assert!(fine, "{}: {stderr}", policy.name);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn policies_says_that_its_report_cannot_be_written() {
    // No file can be created there.
    let args = ["--limit=64", "--epochs=2", "--report=/proc/self/run.html"];
    let output = example("policies", &args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stderr.matches("a sink could not record").count(), 1, "{stderr}");
}

#[test]
fn transfer_moves_what_the_plan_trains_and_nothing_else() {
    let output = example("transfer", &["--epochs=1", "--limit=200"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, moved) = text.split_once("how far each tensor moved").unwrap();
    let rows: Vec<Vec<&str>> = moved
        .lines()
        .map(|line| line.split_whitespace().collect())
        .filter(|row: &Vec<&str>| row.len() == 3 && row[0].contains('.'))
        .collect();
    let names: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    let layers = ["body.0", "body.1", "body.2", "body.3", "head"];
    let expected = layers.iter().flat_map(|l| [format!("{l}.weight"), format!("{l}.bias")]);
    assert_eq!(names, expected.collect::<Vec<_>>());
    for row in rows {
        let stays = [row[1] == "bit-identical", row[2] == "bit-identical"];
        let expected = match row[0].rsplit_once('.').unwrap().0 {
            "body.0" | "body.1" => [true, true],
            "body.2" | "body.3" => [true, false],
            _ => [false, false],
        };
        assert_eq!(stays, expected, "{row:?}");
    }
}
