//! The HTML report: what it shows is what happened, and it is whole at all times.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::{DType, Device};
use candle_nn::{Linear, VarBuilder, linear};
use freeze_core::checkpoint::Manager;
use freeze_core::{
    Elapsed, Error, Freezable, FreezePlan, HtmlReport, LayerFreezing, LeafState, MetricSink,
    PlanNow, Reason, Result,
};

use crate::rig::*;
use crate::sinks::cut_and_resumed;

const EVIL: &str = "<script>alert(1)<!-- </script>";

/// The page at `path`, all of whose elements end.
fn page(path: &Path) -> String {
    whole(&fs::read_to_string(path).expect("a page"))
}

/// A page, all of whose elements end.
pub(crate) fn whole(text: &str) -> String {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text.strip_prefix("<!DOCTYPE html>").expect("HTML");
    while let Some((_, tag)) = rest.split_once('<') {
        let (tag, after) = tag.split_once('>').expect("the end of a tag");
        rest = after;
        let name = tag.split([' ', '/']).find(|part| !part.is_empty()).expect("a name");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
        } else if name == "script" || name == "style" {
            rest = rest.split_once(&format!("</{name}>")).expect("its end").1;
        } else if name != "meta" {
            open.push(name);
        }
    }
    assert!(open.is_empty() && rest.is_empty(), "{open:?} {rest}");
    text.to_string()
}

/// The record that the file goes on from; of times only when they were measured.
fn data(path: &Path) -> Vec<String> {
    let page = page(path);
    let mut data: serde_json::Value =
        serde_json::from_str(between(&page, "id=\"freeze-report\">", "</script>")).expect("JSON");
    let without_values = |series: &mut serde_json::Value| {
        let points = series["points"].as_array_mut().expect("points");
        points.iter_mut().for_each(|point| point["value"] = 0.into());
    };
    without_values(&mut data["seconds"]);
    for series in data["series"].as_array_mut().expect("metrics") {
        if series["name"].as_str().expect("a name").starts_with("seconds/") {
            without_values(series);
        }
    }
    vec![data.to_string()]
}

/// What is between two texts.
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    text.split_once(before).and_then(|(_, rest)| rest.split_once(after)).expect(before).0
}

/// The class of each leaf's rectangle at a share of the run; none where it has not come yet.
fn classes(page: &str, share: f64) -> Vec<(String, Option<String>)> {
    let rows = page.split("<span class=\"name\">").skip(1);
    let row = |row: &str| {
        let (name, rest) = row.split_once("</span>").expect("a name");
        let svg = rest.split_once("</svg>").expect("a picture").0;
        let hit = svg.split("<rect ").skip(1).find(|rect| {
            let number = |name: &str| -> f64 {
                between(rect, &format!("{name}=\""), "\"").parse().expect("a number")
            };
            (number(" x")..number(" x") + number("width")).contains(&(1000.0 * share))
        });
        let class = hit.map(|rect| between(rect, "class=\"", "\"").to_string());
        (name.to_string(), class)
    };
    rows.map(row).collect()
}

#[test]
fn the_picture_shows_the_plans_that_there_were() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run.html");
    let policy = LayerFreezing::new(0.0, 1.0)?;
    let mut run = plain()?.policy(policy).metrics(HtmlReport::create(&path)?.title("a run"));
    let mut plans: Vec<FreezePlan> = Vec::new();
    while let Some(epoch) = run.next_epoch()? {
        plans.push(run.freezer().plan().clone());
        drive_epoch(&mut run, &epoch)?;
        run.epoch_end([("valid/loss", valid(&run)?)])?;
        let page = page(&path);
        for at in 0..EPOCHS {
            let plan = plans.get(at);
            let class = |state: &LeafState| if state.is_frozen() { "frozen" } else { "t4" };
            let found = classes(&page, (at as f64 + 0.5) / EPOCHS as f64);
            assert_eq!(found.len(), 5);
            for (leaf, (name, found)) in found.iter().enumerate() {
                let expected = plan.map(|plan| class(&plan.states()[leaf]));
                assert_eq!(found.as_deref(), expected, "`{name}` in epoch {at} of {}", epoch.index);
            }
        }
        let goes_on = epoch.index + 1 < EPOCHS;
        assert_eq!(page.contains("http-equiv=\"refresh\""), goes_on);
        assert!(page.contains(&format!("epoch {} of {EPOCHS}", epoch.index + 1)));
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1, "nothing beside");
    }
    let frozen: Vec<usize> = plans.iter().map(FreezePlan::frozen_leaves).collect();
    assert!(frozen.is_sorted() && frozen[0] < frozen[EPOCHS - 1], "{frozen:?}");
    let page = page(&path);
    assert!(page.contains("<figcaption>loss</figcaption>") && page.contains("<h1>a run</h1>"));
    let described = between(&page, "<th>policy</th><td>", "</td>");
    assert!(described.contains("linear"), "{described}");
    assert!(page.contains("<td><code>stem</code></td><td>froze: "), "a reason");
    Ok(())
}

#[test]
fn a_report_has_no_doubles() -> Result<()> {
    cut_and_resumed(&|path| Box::new(HtmlReport::create(path).expect("a report")), &data)
}

/// Rates, the cache, and leaves that a plan by hand changes within an epoch.
#[test]
fn shares_of_the_rate_and_the_cache_have_their_colours() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run.html");
    let mut report = HtmlReport::create(&path)?;
    let mut plan = FreezePlan::all_trained(&Net::new(1)?)?;
    let at = |step| Elapsed::new(0, 1).at_step(step, 10);
    report.plan(&PlanNow::of(&plan), at(0))?;
    plan.train("head", 0.5)?.freeze("stem")?.freeze("norm")?;
    report.plan(&PlanNow::of(&plan), at(4))?;
    // The same point again, when the cache has moved.
    report.plan(&PlanNow::of(&plan).cached(5), at(4))?;
    report.flush()?;
    report.record("loss", 0.5, at(8))?;
    report.flush()?;
    let shown = |share| -> Vec<Option<String>> {
        classes(&page(&path), share).into_iter().map(|(_, class)| class).collect()
    };
    let same = |classes: [&str; 5]| classes.map(|class| Some(class.to_string()));
    assert_eq!(shown(0.2), same(["t4"; 5]));
    assert_eq!(shown(0.6), same(["cached", "cached", "t4", "t4", "t2"]));
    assert_eq!(shown(0.9), [const { None }; 5]);
    Ok(())
}

#[derive(Freezable)]
struct Named {
    parts: BTreeMap<String, Linear>,
}

#[test]
fn names_are_text() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run.html");
    let vb = VarBuilder::zeros(DType::F32, &Device::Cpu);
    let parts = BTreeMap::from([(EVIL.to_string(), linear(2, 2, vb).expect("a layer"))]);
    let plan = FreezePlan::all_trained(&Named { parts })?;
    let at = Elapsed::new(1, 2).at_step(1, 2);
    let mut report = HtmlReport::create(&path)?.title(EVIL).setting(EVIL, EVIL);
    for value in [f64::NAN, 1.0, f64::INFINITY, f64::MAX, -f64::MAX] {
        report.record(EVIL, value, at)?;
    }
    report.record("\"><b onload=x", -0.0, at)?;
    report.reason(&Reason { leaf: EVIL.to_string(), text: EVIL.to_string() }, at)?;
    report.plan(&PlanNow::of(&plan).policy(EVIL), at)?;
    report.finish()?;
    let check = |times: usize| {
        let page = page(&path);
        assert_eq!(page.matches("<script").count(), 1, "the data");
        assert_eq!(page.matches("</script").count(), 1, "its end");
        assert!(!page.contains("<b onload") && !page.contains("src=") && !page.contains("href="));
        let escaped = page.matches("&lt;script&gt;alert(1)&lt;!-- &lt;/script&gt;").count();
        assert!(escaped >= times, "{escaped}");
    };
    check(10);
    // All of it is read back.
    let before = data(&path);
    drop(report);
    let mut again = HtmlReport::create(&path)?.title(EVIL).setting(EVIL, EVIL);
    again.resume(at)?;
    again.finish()?;
    assert_eq!(data(&path), before);
    Ok(())
}

/// Also by a program that is started again and sets the plan before it resumes.
#[test]
fn a_plan_by_hand_is_told_of_once() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run.html");
    for epochs in 1..=2 {
        let manager = Manager::new(dir.path().join("kept"))?;
        let mut run = plain()?.metrics(HtmlReport::create(&path)?).checkpoints(manager);
        run.freeze_front(2)?;
        assert_eq!(run.resume()?.is_some(), epochs == 2);
        let epoch = run.next_epoch()?.expect("an epoch");
        drive_epoch(&mut run, &epoch)?;
        run.epoch_end([])?;
        let page = page(&path);
        assert!(page.contains(&format!("epoch {epochs} of {EPOCHS}, step {}", epochs * BATCHES)));
        assert_eq!(page.matches("<td>set by hand</td>").count(), 2, "the stem and the norm");
        assert!(page.contains("<th rowspan=\"2\">step 0, epoch 0</th><td><code>stem</code>"));
    }
    Ok(())
}

#[test]
fn the_last_decisions_are_kept_and_the_others_are_counted() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run.html");
    let mut report = HtmlReport::create(&path)?;
    for step in 1..=1500 {
        let reason = Reason { leaf: "stem".to_string(), text: format!("froze at {step}") };
        report.reason(&reason, Elapsed::new(0, 1).at_step(step, 1500))?;
    }
    report.finish()?;
    drop(report);
    let check = || {
        let page = page(&path);
        assert!(page.contains("<p>1000 earlier ones are not shown.</p>"));
        assert_eq!(page.matches("<td>froze at ").count(), 500);
        assert_eq!(page.matches("\"froze at ").count(), 1024, "in the data");
        assert!(page.contains("\"froze at 477\"") && !page.contains("\"froze at 476\""));
    };
    check();
    let mut again = HtmlReport::create(&path)?;
    again.resume(Elapsed::new(0, 1).at_step(1500, 1500))?;
    again.finish()?;
    check();
    Ok(())
}

#[test]
fn reports_of_nothing_and_of_other_runs() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run.html");
    drop(HtmlReport::create(&path)?);
    assert!(!path.exists(), "nothing to say");
    HtmlReport::create(&path)?.finish()?;
    assert!(page(&path).contains("Nothing has been recorded."));
    // Dropped within its first epoch, where another run stands.
    let at = Elapsed::new(0, 1);
    HtmlReport::create(&path)?.record("of none", 1.0, at)?;
    assert!(!page(&path).contains("of none"));
    // And where nothing stands.
    fs::remove_file(&path).expect("removed");
    HtmlReport::create(&path)?.record("of the one", 1.0, at)?;
    assert!(page(&path).contains("of the one"));
    // Another run that does not resume.
    let mut second = HtmlReport::create(&path)?;
    second.record("of the other", 1.0, at)?;
    second.flush()?;
    assert!(page(&path).contains("of the other") && !page(&path).contains("of the one"));
    // In folders that are not there, and where there can be none.
    let deep = dir.path().join("runs/today/run.html");
    drop(HtmlReport::create(&deep)?);
    HtmlReport::create(&deep)?.finish()?;
    assert!(deep.exists());
    HtmlReport::create(path.join("run.html")).expect_err("a file is no folder");
    // Not ours.
    let other = dir.path().join("other.html");
    fs::write(&other, "<p>mine</p>").expect("written");
    match HtmlReport::create(&other) {
        Err(Error::File { path, .. }) => assert!(path.ends_with("other.html")),
        found => panic!("{found:?}"),
    }
    assert_eq!(fs::read_to_string(&other).expect("a text"), "<p>mine</p>");
    Ok(())
}
