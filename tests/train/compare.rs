//! Several runs on one page, and how a browser takes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use freeze_core::checkpoint::Goal;
use freeze_core::train::Spent;
use freeze_core::{Comparison, Elapsed, Error, HtmlReport, LayerFreezing, MetricSink, Result};

use crate::report::whole;
use crate::rig::*;

const EVIL: &str = "<img src=x> & \"quoted\"";

/// Reports of a run that freezes and of one that does not.
fn reports(dir: &Path) -> Result<[PathBuf; 2]> {
    let paths = ["all.html", "freezing.html"].map(|name| dir.join(name));
    for (path, freezes) in paths.iter().zip([false, true]) {
        let title = if freezes { EVIL } else { "" };
        let mut run = plain()?.metrics(HtmlReport::create(path)?.title(title));
        if freezes {
            run = run.policy(LayerFreezing::new(0.0, 1.0)?);
        }
        while let Some(epoch) = run.next_epoch()? {
            drive_epoch(&mut run, &epoch)?;
            run.epoch_end([("valid/loss", valid(&run)?)])?;
        }
    }
    Ok(paths)
}

fn cells(page: &str) -> Vec<Vec<String>> {
    let table =
        page.split_once("<tbody>").expect("a table").1.split_once("</tbody>").expect("its end").0;
    let row = |row: &str| {
        row.split("<td ")
            .skip(1)
            .map(|cell| {
                let cell = cell.split_once('>').expect("its start").1;
                cell.split("</td>").next().unwrap_or("").to_string()
            })
            .collect()
    };
    table.split("<tr>").skip(1).map(row).collect()
}

#[test]
fn runs_stand_side_by_side() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let [all, freezing] = reports(dir.path())?;
    let comparison = Comparison::of("valid/loss").report(&all)?.report(&freezing)?;
    let page = whole(&comparison.clone().target(Goal::Lowest, -1.0).page());
    assert!(page.contains("2 runs by valid/loss") && !page.contains("<img"), "names are text");
    assert_eq!(page.matches("&lt;img src=x&gt; &amp; ").count(), 3, "key, table, leaves");
    assert_eq!(page.matches("class=\"line ").count(), 2);
    // The file is the name of a run without a title, and a row of leaves is drawn for each of five.
    assert!(page.contains("<th>all</th>") && page.matches("<span class=\"name\">").count() == 10);
    let rows = cells(&page);
    assert!(rows.iter().all(|row| row.len() == 4 && row[1].ends_with(" s")), "{rows:?}");
    assert_eq!(rows.iter().map(|row| &*row[2]).collect::<Vec<_>>(), ["never"; 2]);
    assert_eq!(rows[0][3], "100 %");
    let share: f64 =
        rows[1][3].strip_suffix(" %").and_then(|share| share.parse().ok()).expect("a share");
    assert!((10.0..90.0).contains(&share), "{share}");

    let path = dir.path().join("page.html");
    comparison.write(&path)?;
    assert_eq!(fs::read_to_string(&path).expect("a page"), comparison.page());
    Ok(())
}

#[test]
fn the_time_to_a_target_is_that_of_the_first_point_there() {
    let points = [(1.0, 0.5), (2.5, 0.8), (4.0, 0.7)];
    let rows = [
        (Goal::Highest, 0.5, "1 s"),
        (Goal::Highest, 0.75, "2.5 s"),
        (Goal::Highest, 0.81, "never"),
        (Goal::Lowest, 0.5, "1 s"),
        (Goal::Lowest, 0.4, "never"),
    ];
    for (goal, value, expected) in rows {
        let page = Comparison::of("m").curve("a", points).target(goal, value).page();
        assert_eq!(cells(&page), [["0.7", "4 s", expected, "–"]], "{goal:?} {value}");
    }
    // None, a run without points, and numbers that are none.
    let odd = [(f64::NAN, 1.0), (1.0, f64::INFINITY)];
    for page in [Comparison::of("m"), Comparison::of("m").curve("a", []).curve("b", odd)] {
        assert!(!whole(&page.page()).contains("NaN "));
    }
}

#[test]
fn what_is_no_report_is_refused() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let [all, _] = reports(dir.path())?;
    let other = dir.path().join("other.html");
    fs::write(&other, "<p>mine</p>").expect("a file");
    let rows = [
        ("valid/loss", dir.path().join("nowhere.html"), "nowhere.html"),
        ("valid/loss", other, "it is no report of a run"),
        ("valid/accuracy", all, "no metric `valid/accuracy` (`"),
    ];
    for (metric, path, expected) in rows {
        let error = Comparison::of(metric).report(path).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
    Ok(())
}

#[test]
fn a_report_has_the_parts_of_the_time_and_the_bytes_of_state_gradients_and_activations()
-> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let [_, freezing] = reports(dir.path())?;
    let page = fs::read_to_string(freezing).expect("a page");
    for part in ["forward", "backward", "update", "cache", "training"] {
        assert!(page.contains(&format!("\"seconds/{part}\"")), "{part}");
    }
    let data = page.split_once("id=\"freeze-report\">").expect("data").1;
    let data: serde_json::Value =
        serde_json::from_str(data.split_once("</script>").expect("its end").0).expect("JSON");
    let series = data["series"].as_array().expect("metrics");
    for name in ["state/bytes", "gradients/bytes", "activations/bytes"] {
        let bytes = series.iter().find(|series| series["name"] == name).expect(name);
        let bytes: Vec<f64> = (bytes["points"].as_array().expect("points").iter())
            .map(|point| point["value"].as_f64().expect("a number"))
            .collect();
        let falls = bytes.is_sorted_by(|a, b| a >= b) && bytes[0] > bytes[bytes.len() - 1];
        assert!(falls, "{name}: {bytes:?}");
    }
    Ok(())
}

/// A sink of one's own writes with `?`, and is told of the time.
struct Own(PathBuf);

impl MetricSink for Own {
    fn record(&mut self, name: &str, _: f64, _: Elapsed) -> Result<()> {
        fs::write(self.0.join("absent").join(name.replace('/', "-")), "")?;
        Ok(())
    }

    fn spent(&mut self, spent: &Spent, _: Elapsed) -> Result<()> {
        assert!(spent.training >= spent.backward + spent.update + spent.forward + spent.cache);
        Ok(())
    }
}

#[test]
fn an_error_of_the_system_is_one_of_a_sink() {
    let dir = tempfile::tempdir().expect("a folder");
    let error =
        Own(dir.path().into()).record("loss", 1.0, Elapsed::new(0, 1)).expect_err("no folder");
    assert!(matches!(error, Error::Io(_)), "{error}");
}

/// Where a policy is not due, as at the end of an epoch, nothing is recorded that means something else.
#[test]
fn the_percentage_has_no_dents() -> Result<()> {
    let policy = freeze_core::policy::from_text("linear:start=0,acts.epochs=false,acts.steps=1")?;
    let mut run = plain()?.policy(policy);
    drive(&mut run)?;
    let name = freeze_core::Decision::PERCENTAGE_FROZEN;
    let records = run.history().records().iter().filter(|record| record.name == name);
    let found: Vec<f64> = records.map(|record| record.value).collect();
    assert!(found.len() >= EPOCHS && found.is_sorted(), "{found:?}");
    Ok(())
}

/// Without a browser the test says so.
#[test]
fn a_browser_shows_the_pages_without_a_complaint() -> Result<()> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let works = |name: &&&str| Command::new(name).arg("--version").output().is_ok();
    let Some(browser) = names.iter().find(works) else {
        println!("skipped: there is none of {names:?}");
        return Ok(());
    };
    let dir = tempfile::tempdir().expect("a folder");
    let [all, freezing] = reports(dir.path())?;
    let both = dir.path().join("both.html");
    Comparison::of("valid/loss").report(&all)?.report(&freezing)?.write(&both)?;
    let rows = [(&freezing, 1, "<h1>&lt;img"), (&both, 2, "<h1>valid/loss</h1>")];
    for (path, pictures, heading) in rows {
        let profile = format!("--user-data-dir={}", dir.path().join("profile").display());
        let output = Command::new(browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"])
            .args([&profile, "--dump-dom", &format!("file://{}", path.display())])
            .output()
            .expect("a browser");
        let dom = String::from_utf8_lossy(&output.stdout);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(!said.contains(":CONSOLE"), "{said}");
        assert!(dom.contains(heading), "{dom}");
        assert_eq!(dom.matches("class=\"rows\"").count(), pictures);
        assert!(dom.matches("class=\"line ").count() >= 2 && !dom.contains("<img"));
    }
    Ok(())
}
