//! What the example `study` makes of a CSV: tables and a picture.

use std::fs;
use std::path::Path;

use crate::programs::example;

const HEADER: &str = "task,name,model,policy,cache,schedule,epochs,rate,batch,train,valid,test,\
    recompute,release,seed,valid_accuracy,test_accuracy,seconds,processor_seconds,peak_bytes,state_bytes,\
    leaf_steps,threads,curve\n";

/// A run as a test has it; the rest is the same in all.
#[derive(Clone, Copy)]
struct Run {
    model: &'static str,
    policy: &'static str,
    cache: &'static str,
    epochs: usize,
    rate: f64,
    train: usize,
    recompute: usize,
    release: bool,
    seed: u64,
    valid: f64,
    seconds: f64,
    megabytes: u64,
}

const ALL: Run = Run {
    model: "vision",
    policy: "none",
    cache: "off",
    epochs: 3,
    rate: 0.25,
    train: 9,
    recompute: 0,
    release: false,
    seed: 1,
    valid: 0.8,
    seconds: 10.0,
    megabytes: 100,
};

impl Run {
    fn line(&self) -> String {
        let Self { model, policy, cache, epochs, rate, recompute, release, seed, .. } = self;
        let Self { train, valid, seconds, .. } = self;
        let (test, bytes) = (valid - 0.01, self.megabytes * 1_000_000);
        format!(
            "task,{policy},{model},{policy},{cache},cosine,{epochs},{rate},32,{train},9,9,\
             {recompute},{release},{seed},{valid},{test},{seconds},1,{bytes},0,1,2,{seconds}:{valid}\n"
        )
    }
}

/// What is printed, and the picture.
fn shown(runs: &[Run]) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let csv: String = runs.iter().map(Run::line).collect();
    fs::write(path("results.csv"), HEADER.to_string() + &csv).unwrap();
    let option = |path: &Path| path.display().to_string();
    let picture = format!("--picture={}", option(&path("picture.svg")));
    let output =
        example("study", &["show", &option(&path("results.csv")), &picture, "--task=task"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let picture = fs::read_to_string(path("picture.svg")).unwrap();
    (String::from_utf8(output.stdout).unwrap(), picture)
}

/// The rows of the table whose first column has this name.
fn table<'a>(text: &'a str, first: &str) -> Vec<&'a str> {
    let begins = format!("| {first} |");
    let rows = text.lines().skip_while(|line| !line.starts_with(&begins)).skip(2);
    rows.take_while(|line| line.starts_with('|')).collect()
}

#[test]
fn a_sweep_counts_all_runs_and_the_one_that_fills_the_cache() {
    let run = |policy, cache, rate, seed, seconds, valid| Run {
        policy,
        cache,
        rate,
        seed,
        seconds,
        valid,
        ..ALL
    };
    let mut runs = vec![
        run("none", "off", 0.25, 1, 10.0, 0.8),
        run("linear", "kept", 0.25, 1, 4.0, 0.7),
        run("linear", "kept", 0.5, 1, 1.0, 0.75),
        run("none", "off", 0.25, 2, 12.0, 0.82),
        run("linear", "kept", 0.25, 2, 1.5, 0.7),
        run("linear", "kept", 0.5, 2, 1.5, 0.77),
    ];
    let all = "| none | off | 2 | 1 | 22.0 | 1.00 | 12.0 | 0.25 | 81.0 ± 1.0 % | 80.0 ± 1.0 % |";
    let kept = "| linear | kept | 4 | 2 | 8.0 | – | 4.0 | 0.5 | 76.0 ± 1.0 % | 75.0 ± 1.0 % |";
    let first = "all runs of the sweep";
    assert_eq!(table(&shown(&runs).0, first), [all, kept], "not as many runs: no share");

    runs.extend([run("none", "off", 0.5, 1, 9.0, 0.7), run("none", "off", 0.5, 2, 9.0, 0.7)]);
    let all = "| none | off | 4 | 2 | 40.0 | 1.00 | 12.0 | 0.25 | 81.0 ± 1.0 % | 80.0 ± 1.0 % |";
    let kept = kept.replace("–", "0.20");
    assert_eq!(table(&shown(&runs).0, first), [all, &kept]);

    for run in &mut runs {
        run.cache = if run.cache == "kept" { "on" } else { "off" };
    }
    let text = shown(&runs).0;
    assert!(!text.contains(first), "nothing is kept between runs: {text}");
}

#[test]
fn a_policy_is_compared_with_all_layers_on_the_same_samples_and_seeds() {
    let run = |policy, epochs, seconds, valid| Run { policy, epochs, seconds, valid, ..ALL };
    let beside = |runs: &[Run], name: &str| -> String {
        let (text, begins) = (shown(runs).0, format!("| {name} |"));
        let rows = table(&text, "trained by");
        let row = rows.iter().find(|row| row.starts_with(&begins)).unwrap();
        row.trim_end_matches(" |").rsplit_once("| ").unwrap().1.to_string()
    };
    let mut runs =
        vec![run("none", 1, 4.0, 0.7), run("none", 3, 12.0, 0.8), run("linear", 3, 4.0, 0.75)];
    assert_eq!(beside(&runs, "linear"), "+5.0, one seed");

    let other = run("none", 2, 4.0, 0.9);
    runs.push(Run { train: 99, ..other });
    runs.push(Run { recompute: 2, ..other });
    runs.push(Run { release: true, ..other });
    runs.push(Run { recompute: 2, ..run("lisa", 2, 4.0, 0.95) });
    assert_eq!(beside(&runs, "linear"), "+5.0, one seed");
    assert_eq!(beside(&runs, "lisa"), "+5.0, one seed", "with what runs as many stages again");

    let second = |run: Run| Run { seed: 2, ..run };
    runs.push(second(run("none", 1, 4.0, 0.7)));
    runs.push(second(run("linear", 3, 12.0, 0.85)));
    assert_eq!(beside(&runs, "linear"), "+5.0, one seed", "one schedule lacks the second");
    runs.push(second(run("none", 3, 12.0, 0.8)));
    assert_eq!(beside(&runs, "linear"), "+5.0 ± 0.0, **wins**");
}

#[test]
fn a_share_is_of_the_time_of_the_same_seeds() {
    let run = |policy, seed, seconds| Run { policy, seed, seconds, ..ALL };
    let runs = [run("none", 1, 10.0), run("none", 2, 20.0), run("linear", 2, 10.0)];
    let text = shown(&runs).0;
    let rows = table(&text, "trained by");
    let cells =
        |row: &str| row.split(" | ").skip(7).take(2).map(str::to_string).collect::<Vec<_>>();
    assert_eq!([cells(rows[0]), cells(rows[1])], [["15.0", "1.00"], ["10.0", "0.50"]], "{text}");
}

#[test]
fn of_models_of_several_sizes_the_bytes_count() {
    let run =
        |policy, model, recompute, megabytes| Run { policy, model, recompute, megabytes, ..ALL };
    let runs = [
        run("none", "vision-12", 0, 150),
        run("none", "vision-100", 0, 900),
        run("none", "vision-12", 2, 120),
        run("none", "vision-100", 2, 151),
        run("linear", "vision-12", 0, 140),
        run("linear", "vision-24", 0, 150),
        run("lisa", "vision-100", 0, 700),
        Run { release: true, ..run("none", "vision-12", 0, 130) },
        Run { release: true, ..run("none", "vision-24", 0, 149) },
    ];
    let text = shown(&runs).0;
    let header = "| trained by | stages run again | gradients | cache | vision-12, peak MB \
                  | vision-24, peak MB | vision-100, peak MB | within 150.0 MB |";
    assert_eq!(text.lines().nth(2), Some(header), "{text}");
    let rows = [
        "| none | none | of all at once | off | 150.0 | – | 900.0 | vision-12 |",
        "| none | every 2 | of all at once | off | 120.0 | – | 151.0 | vision-12 |",
        "| linear | none | of all at once | off | 140.0 | 150.0 | – | vision-24 |",
        "| lisa | none | of all at once | off | – | – | 700.0 | none |",
        "| none | none | freed as used | off | 130.0 | 149.0 | – | vision-24 |",
    ];
    assert_eq!(table(&text, "trained by"), rows);
    assert!(!shown(&[ALL, Run { policy: "linear", ..ALL }]).0.contains("within"), "one model");
}

#[test]
fn what_lies_below_the_picture_is_told_and_not_drawn() {
    let run = |policy, epochs, valid| Run { policy, epochs, valid, ..ALL };
    let runs =
        [run("none", 1, 0.7), run("none", 3, 0.8), run("linear", 3, 0.75), run("lisa", 3, 0.4)];
    let (_, picture) = shown(&runs);
    // In the picture and in its key.
    assert_eq!(picture.matches("<circle").count(), 2 + 1, "{picture}");
    assert_eq!(picture.matches(">linear<").count(), 1, "{picture}");
    assert_eq!(picture.matches(">lisa: 39.0 %, below<").count(), 1, "{picture}");
    let heights = picture.split("cy=\"").skip(1).map(|rest| rest.split_once('"').unwrap().0);
    let drawn = heights.filter(|y| y.parse::<f64>().unwrap() < 36.0 + 320.0).count();
    assert_eq!(drawn, 1, "above the axis: {picture}");
}

#[test]
fn a_markdown_file_that_cannot_be_read_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let [csv, markdown] = ["results.csv", "page.md"].map(|name| folder.path().join(name));
    fs::write(&csv, HEADER.to_string() + &ALL.line()).unwrap();
    fs::write(&markdown, b"caf\xe9").unwrap();
    let onto = format!("--markdown={}", markdown.display());
    let output = example("study", &["show", &csv.display().to_string(), &onto]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("page.md: "), "{said}");
    assert_eq!(fs::read(&markdown).unwrap(), b"caf\xe9");
}

#[test]
fn a_task_that_is_not_there_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let [csv, markdown, picture] =
        ["results.csv", "page.md", "picture.svg"].map(|name| folder.path().join(name));
    fs::write(&csv, HEADER.to_string() + &ALL.line()).unwrap();
    let [of, onto, drawn] = [
        csv.display().to_string(),
        format!("--markdown={}", markdown.display()),
        format!("--picture={}", picture.display()),
    ];
    let output = example("study", &["show", &of, &onto, &drawn, "--task=other"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no task `other`; there are task"), "{said}");
    assert!(!output.status.success() && output.stdout.is_empty());
    assert!(!markdown.exists() && !picture.exists());
}
