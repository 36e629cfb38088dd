//! Files that metrics go to: whole after a cut, and without doubles after the run has resumed.

use std::fs;
use std::path::{Path, PathBuf};

use freeze_core::checkpoint::Manager;
use freeze_core::{Csv, Elapsed, JsonLines, LayerFreezing, MetricSink, Result, TensorBoard};
use prost::Message;

use crate::rig::*;

/// The lines of a file.
fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).expect("a text").lines().map(str::to_string).collect()
}

/// A run that is cut at one of several places, resumed, and has its files compared with those of a whole one.
pub(crate) fn cut_and_resumed(
    sink: &dyn Fn(&Path) -> Box<dyn MetricSink>,
    read: &dyn Fn(&Path) -> Vec<String>,
) -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let run = |name: &str| -> Result<_> {
        let manager = Manager::new(dir.path().join(format!("{name}-kept")))?;
        let policy = LayerFreezing::new(0.0, 1.0)?;
        let run = plain()?.policy(policy).metrics(sink(&dir.path().join(name)));
        Ok(run.checkpoints(manager.save_every_steps(2)?))
    };
    let mut whole = run("whole")?;
    drive(&mut whole)?;
    let expected = read(&dir.path().join("whole"));
    for (epochs, killed) in (1..EPOCHS).flat_map(|epochs| [(epochs, false), (epochs, true)]) {
        let name = format!("cut{epochs}-{killed}");
        let mut cut = run(&name)?;
        for _ in 0..epochs {
            let epoch = cut.next_epoch()?.expect("an epoch");
            drive_epoch(&mut cut, &epoch)?;
            cut.epoch_end([])?;
        }
        if killed {
            // Within the next epoch, behind a checkpoint, and nothing is written any more.
            let epoch = cut.next_epoch()?.expect("an epoch");
            for which in epoch.shuffled(SAMPLES, SIZE).take(3) {
                cut.step(&loss(&cut, &which)?)?;
            }
            std::mem::forget(cut);
        } else {
            drop(cut);
        }
        let mut again = run(&name)?;
        again.resume()?.expect("a checkpoint");
        drive(&mut again)?;
        assert_eq!(read(&dir.path().join(&name)), expected, "{epochs} epochs, killed: {killed}");
    }
    Ok(())
}

#[test]
fn json_lines_and_tables_have_no_doubles() -> Result<()> {
    cut_and_resumed(&|path| Box::new(JsonLines::create(path).expect("a file")), &lines)?;
    cut_and_resumed(&|path| Box::new(Csv::create(path).expect("a file")), &lines)
}

/// Resumed twice, with the files gone in between, and after a run of nothing.
#[test]
fn files_that_are_gone_or_empty_are_begun_again() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let paths = ["run.jsonl", "run.csv"].map(|name| dir.path().join(name));
    let run = || -> Result<_> {
        let manager = Manager::new(dir.path().join("kept"))?.save_every_epochs(1)?;
        let run = plain()?.metrics(JsonLines::create(&paths[0])?).metrics(Csv::create(&paths[1])?);
        Ok(run.checkpoints(manager))
    };
    drop(run()?);
    let mut first = run()?;
    assert!(first.resume()?.is_none());
    let epoch = first.next_epoch()?.expect("an epoch");
    drive_epoch(&mut first, &epoch)?;
    first.epoch_end([])?;
    drop(first);
    let before = paths.each_ref().map(|path| lines(path));
    let mut again = run()?;
    again.resume()?.expect("a checkpoint");
    again.resume()?.expect("the same");
    assert_eq!(paths.each_ref().map(|path| lines(path)), before, "nothing comes again");
    for path in &paths {
        fs::remove_file(path).expect("removed");
    }
    let mut last = run()?;
    last.resume()?.expect("a checkpoint");
    drive(&mut last)?;
    let [json, csv] = paths.each_ref().map(|path| lines(path).len());
    assert_eq!((json, csv), (EPOCHS - 1, EPOCHS), "the losses of the epochs that were left");
    Ok(())
}

/// It may be of other runs, and is not known to be this one's.
#[test]
fn what_is_in_a_file_stays_where_there_is_no_checkpoint_to_resume() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run.jsonl");
    for kept in ["one", "other"] {
        let manager = Manager::new(dir.path().join(kept))?;
        let mut run = plain()?.metrics(JsonLines::create(&path)?).checkpoints(manager);
        assert!(run.resume()?.is_none());
        drive(&mut run)?;
    }
    assert_eq!(lines(&path).len(), 2 * EPOCHS);
    Ok(())
}

/// As TensorBoard reads a folder: what a session begins with drops what came from its step on.
fn board(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").path());
    let mut files: Vec<PathBuf> = files.collect();
    files.sort();
    let mut shown: Vec<(i64, String)> = Vec::new();
    for file in files {
        let mut events = frames(&fs::read(file).expect("a file")).into_iter();
        assert_eq!(events.next().map(|event| event.version), Some("brain.Event:2".to_string()));
        for Event { step, summary, session, .. } in events {
            if session.is_some() {
                shown.retain(|(at, _)| *at < step);
            }
            for Value { tag, value, text } in summary.into_iter().flat_map(|summary| summary.values)
            {
                let text = text.map(|text| String::from_utf8(text.of.concat()).expect("a text"));
                shown.push((step, format!("{step} {tag} {value:?} {text:?}")));
            }
        }
    }
    shown.into_iter().map(|(_, line)| line).collect()
}

/// The messages of an event file, whose checksums are right.
fn frames(mut bytes: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let (head, rest) = bytes.split_at(12);
        let length = u64::from_le_bytes(head[..8].try_into().expect("eight bytes")) as usize;
        let (body, rest) = rest.split_at(length);
        for (part, sum) in [(&head[..8], &head[8..]), (body, &rest[..4])] {
            let masked = crc32c::crc32c(part).rotate_right(15).wrapping_add(0xa282_ead8);
            assert_eq!(masked.to_le_bytes(), sum);
        }
        events.push(Event::decode(body).expect("an event"));
        bytes = &rest[4..];
    }
    events
}

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, tag = "3")]
    version: String,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session: Option<Session>,
}

#[derive(Clone, PartialEq, Message)]
struct Session {}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    value: Option<f32>,
    #[prost(message, optional, tag = "8")]
    text: Option<Text>,
}

#[derive(Clone, PartialEq, Message)]
struct Text {
    #[prost(bytes = "vec", repeated, tag = "8")]
    of: Vec<Vec<u8>>,
}

#[test]
fn a_board_forgets_what_is_recorded_again() -> Result<()> {
    cut_and_resumed(&|path| Box::new(TensorBoard::create(path).expect("a folder")), &board)
}

#[test]
fn a_table_holds_any_name_and_keeps_what_it_did_not_write() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run.csv");
    let at = |step| Elapsed::new(0, 2).at_step(step, 8);
    let mut table = Csv::create(&path)?;
    for (step, name, value) in [(1, "a,\"b\"\n<c>", 0.1 + 0.2), (2, "x", f64::NAN), (3, "y", -0.0)]
    {
        table.record(name, value, at(step))?;
    }
    let expected = "epoch,epochs,step,steps,kind,name,value\n\
        0,2,1,8,metric,\"a,\"\"b\"\"\n<c>\",0.30000000000000004\n0,2,2,8,metric,x,NaN\n0,2,3,8,metric,y,-0\n";
    assert_eq!(fs::read_to_string(&path).expect("a text"), expected);
    // Killed while it wrote a row.
    fs::write(&path, format!("{expected}# a remark\n0,2,4")).expect("written");
    let mut table = Csv::create(&path)?;
    table.record("z", 1.0, at(4))?;
    table.resume(at(2))?;
    let kept = "\n0,2,2,8,metric,x,NaN\n# a remark\n";
    let text = fs::read_to_string(&path).expect("a text");
    assert!(
        text.contains(kept) && !text.contains("metric,y") && !text.contains("metric,z"),
        "{text}"
    );
    table.record("y", 5.0, at(3))?;
    table.finish()?;
    assert!(fs::read_to_string(&path).expect("a text").ends_with("0,2,3,8,metric,y,5\n"));
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1, "nothing beside");
    Ok(())
}
