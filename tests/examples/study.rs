//! The example `study` as a program, on a few images: it runs what is missing, and shows what a CSV holds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::programs::{built, example};

const TINY: &str = r#"
[[task]]
name = "tiny"
model = "residual"
train = 96
valid = 64
test = 64
epochs = 3
rate = 3e-3
seeds = [1, 2]
row = [
    {},
    { epochs = 1 },
    { policy = "freeze-at:milestones=[{\"at\":{\"share\":0.3},\"freeze\":{\"up-to\":\"blocks.3.**\"}}]", name = "front | <early>" },
    { policy = "freeze-at:milestones=[{\"at\":{\"share\":0.3},\"freeze\":{\"up-to\":\"blocks.3.**\"}}]", name = "front | <early>", cache = "on" },
    { policy = "plasticity:window=2", seeds = [1] },
]
"#;

/// Files of a study in a folder.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new(rows: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("rows.toml"), rows).unwrap();
        Self(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, more: &[&str]) -> Output {
        let (rows, results) = (self.path("rows.toml"), self.path("results.csv"));
        let results = format!("--results={}", results.display());
        example("study", &[&["run", rows.to_str().unwrap(), &results], more].concat())
    }

    fn show(&self, more: &[&str]) -> Output {
        let results = self.path("results.csv");
        example("study", &[&["show", results.to_str().unwrap()], more].concat())
    }

    pub(crate) fn csv(&self) -> String {
        fs::read_to_string(self.path("results.csv")).unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The settings and results of each line without what was measured in seconds and bytes.
fn exact(csv: &str) -> Vec<Vec<String>> {
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let header = reader.headers().unwrap().clone();
    let measured = ["seconds", "processor_seconds", "peak_bytes"];
    let line = |record: csv::StringRecord| -> Vec<String> {
        let cell = |(name, cell): (&str, &str)| match name {
            // Accuracies without the seconds in front of them.
            "curve" => cell.split(' ').map(|point| point.split_once(':').unwrap().1).collect(),
            name if measured.contains(&name) => String::new(),
            _ => cell.to_string(),
        };
        header.iter().zip(record.iter()).map(cell).collect()
    };
    reader.records().map(|record| line(record.unwrap())).collect()
}

/// Ends a process that is in the middle of a row.
fn kill_after_lines(folder: &Folder, lines: usize) {
    let results = folder.path("results.csv");
    let mut study = Command::new(built("study"))
        .args(["run", folder.path("rows.toml").to_str().unwrap()])
        .arg(format!("--results={}", results.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let done = |path: &Path| fs::read_to_string(path).map_or(0, |csv| csv.lines().count());
    while done(&results) < 1 + lines && study.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    study.kill().unwrap();
    study.wait().unwrap();
    assert!(done(&results) < 10, "it ended before it was killed");
}

#[test]
fn a_study_that_is_killed_goes_on_to_the_same_results() {
    let (whole, killed) = (Folder::new(TINY), Folder::new(TINY));
    let output = whole.run(&[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(exact(&whole.csv()).len(), 9, "two seeds of four rows, one of the last");

    kill_after_lines(&killed, 2);
    // As if it had been killed while it wrote a line.
    let part = killed.csv() + "tiny,half a li";
    fs::write(killed.path("results.csv"), part).unwrap();
    assert!(killed.run(&[]).status.success());
    assert_eq!(exact(&killed.csv()), exact(&whole.csv()));

    // Once more there is nothing to do, also where the last line lacks its end.
    let before = whole.csv();
    for csv in [&*before, before.trim_end()] {
        fs::write(whole.path("results.csv"), csv).unwrap();
        let again = whole.run(&[]);
        assert!(again.status.success() && again.stdout.is_empty(), "{}", text(&again.stdout));
        assert_eq!(whole.csv(), before);
    }

    // A cache changes no accuracy.
    let cached = |on: &str| -> Vec<String> {
        let lines = exact(&before).into_iter();
        lines.filter(|l| l[1].starts_with("front") && l[4] == on).map(|l| l[14].clone()).collect()
    };
    assert_eq!((cached("on"), cached("on").len()), (cached("off"), 2));

    // Tables and picture come from the CSV alone, and names are text.
    let (table, picture) = (whole.path("results.md"), whole.path("picture.svg"));
    let markdown = format!("--markdown={}", table.display());
    let svg = format!("--picture={}", picture.display());
    let shown = whole.show(&[&markdown, &svg, "--task=tiny"]);
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    let (table, picture) =
        (fs::read_to_string(table).unwrap(), fs::read_to_string(picture).unwrap());
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).collect();
    assert_eq!(rows.len(), 2 + 5, "{table}");
    assert!(rows.iter().all(|row| row.replace("\\|", "").matches('|').count() == 16), "{table}");
    assert!(rows[4].starts_with(r"| front \| \<early> | off | 3 | 0.003 | 2 |"), "{}", rows[4]);
    assert!(table.contains("The target is a validation accuracy of "));
    assert!(picture.contains("front | &lt;early>") && !picture.contains("<early"), "{picture}");

    // What stands around the tables stays.
    let around = format!("mine\n{}\ntoo\n", table.split_once("# Results\n\n").unwrap().1);
    fs::write(whole.path("results.md"), &around).unwrap();
    assert!(whole.show(&[&markdown]).status.success());
    assert_eq!(fs::read_to_string(whole.path("results.md")).unwrap(), around);
}

#[test]
fn wrong_rows_are_refused_by_their_numbers() {
    let with = |row: &str| TINY.replace("{ epochs = 1 }", row);
    let rows = [
        (with("{ polcy = \"linear\" }"), "row 2 of task `tiny`: unknown field `polcy`"),
        (with("{ policy = \"liner\" }"), "row 2 of task `tiny`: "),
        (with("{ policy = \"liner\" }"), "near names: `linear`"),
        (with("{ epochs = 0 }"), "row 2 of task `tiny`: `epochs` is 0"),
        (with("{ rate = -1.0 }"), "row 2 of task `tiny`: `rate` is -1"),
        (with("{ seeds = [] }"), "row 2 of task `tiny`: `seeds` is empty"),
        (with("{ cache = \"on\" }"), "row 2 of task `tiny`: nothing freezes"),
        (with("{ cache = \"yes\" }"), "row 2 of task `tiny`: unknown variant `yes`"),
        (TINY.replace("\"residual\"", "\"resnet\""), "`resnet` is no model; expected `residual`"),
        (with("{ model = \"vision-0\" }"), "row 2 of task `tiny`: `vision-0` is no model"),
        (with("{ model = \"vision-x\" }"), "row 2 of task `tiny`: `vision-x` is no model"),
        ("task = 1".to_string(), "invalid type"),
    ];
    for (rows, expected) in rows {
        let folder = Folder::new(&rows);
        let output = folder.run(&[]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(expected) && said.lines().count() == 1, "{said}");
        assert!(!folder.path("results.csv").exists(), "nothing begins: {said}");
    }
}

#[test]
fn a_row_that_fails_is_told_of_and_the_others_go_on() {
    let row = "{ policy = \"freeze-at:milestones=[{\\\"at\\\":{\\\"share\\\":0.0},\\\"freeze\\\":{\\\"up-to\\\":\\\"body.*\\\"}}]\" }";
    let folder = Folder::new(&TINY.replace("{ epochs = 1 }", row));
    let output = folder.run(&[]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("row 2 of task `tiny`: ") && said.contains("body.*"), "{said}");
    assert!(said.ends_with("2 rows failed, see above; the others are done\n"), "{said}");
    assert_eq!(exact(&folder.csv()).len(), 7);
}

#[test]
#[cfg(target_os = "linux")]
fn a_page_that_cannot_be_written_is_told_of() {
    let (task, _) = TINY.split_once("row = [").unwrap();
    let task = task.replace("epochs = 3", "epochs = 1").replace("[1, 2]", "[1]");
    let folder = Folder::new(&format!("{task}row = [{{}}]\n"));
    // No file can be created there.
    let output = folder.run(&["--pages=/proc/self"]);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("a sink could not record").count(), 1, "{said}");
    assert_eq!(exact(&folder.csv()).len(), 1);
}

/// Rows that differ in any setting have pages of their own, and a name of any length has one.
#[test]
fn every_row_has_a_page_of_its_own() {
    let (task, _) = TINY.split_once("row = [").unwrap();
    let task = task.replace("epochs = 3", "epochs = 1").replace("[1, 2]", "[1]");
    let long = "all ".repeat(80);
    let rows = format!(r#"{{}}, {{ schedule = "constant" }}, {{ name = "{long}" }}"#);
    let folder = Folder::new(&format!("{task}row = [{rows}]\n"));
    let output = folder.run(&[&format!("--pages={}", folder.path("pages").display())]);
    let said = text(&output.stderr);
    assert!(output.status.success() && !said.contains("could not record"), "{said}");
    assert_eq!(fs::read_dir(folder.path("pages")).unwrap().count(), 3);
}

#[test]
fn one_process_at_a_time_appends_to_a_csv() {
    let folder = Folder::new(TINY);
    let csv = fs::File::create(folder.path("results.csv")).unwrap();
    csv.try_lock().unwrap();
    let output = folder.run(&[]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("results.csv: another `study run` appends to it; "), "{said}");
    assert_eq!(folder.csv(), "");
}

#[test]
fn another_table_is_no_csv_of_a_study() {
    let folder = Folder::new(TINY);
    for other in ["epoch,name\n1,loss\n", "epoch,name\n1,loss", "a note"] {
        fs::write(folder.path("results.csv"), other).unwrap();
        for output in [folder.run(&[]), folder.show(&[])] {
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains("it has other columns; name a CSV"), "{said}");
        }
        assert_eq!(folder.csv(), other);
    }
}
