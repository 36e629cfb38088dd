//! Rows that later runs find again.

use std::fs;
use std::path::{Path, PathBuf};

use super::{right, rows, store};
use crate::cache::store::{Identity, Records, Store, clear, list};

pub(super) const WIDTH: usize = 8;

pub(super) fn identity() -> Identity {
    Identity {
        model: "Net".into(),
        stage: "head".into(),
        front: "0123".into(),
        layout: serde_json::from_value(serde_json::json!([])).expect("a layout"),
        precision: "exact".into(),
        data: "mnist 1".into(),
    }
}

pub(super) fn open(dir: &Path) -> Records {
    store(0, Some((dir, 1 << 20))).kept(WIDTH, &identity()).expect("records")
}

pub(super) fn write(records: &mut Records, keys: &[u64]) {
    assert_eq!(records.write(keys, &rows(keys, WIDTH)), keys.len());
}

/// Every file of rows below a folder.
pub(super) fn files(dir: &Path) -> Vec<PathBuf> {
    let below =
        |path: PathBuf| fs::read_dir(path).expect("a folder").map(|e| e.expect("an entry").path());
    let mut files: Vec<PathBuf> = below(dir.to_path_buf()).flat_map(below).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "rows"));
    files.sort();
    files
}

#[test]
fn later_runs_find_what_earlier_ones_wrote() {
    let dir = tempfile::tempdir().expect("a folder");
    let keys: Vec<u64> = (0..10).collect();
    for (run, there) in [0, 4, 7, 10, 10].into_iter().enumerate() {
        let mut records = open(dir.path());
        assert_eq!(records.len(), there, "{run}");
        records.read_ahead(&keys, None);
        assert_eq!(right(&mut records, &keys, WIDTH), (0..there).collect::<Vec<_>>(), "{run}");
        let next = [4, 7, 10, 10, 10][run];
        write(&mut records, &keys[there..next]);
        assert_eq!(right(&mut records, &keys, WIDTH), (0..next).collect::<Vec<_>>(), "{run}");
    }
    // A run that has nothing to add makes no file.
    assert_eq!(files(dir.path()).len(), 3);
}

/// In one file and across files.
#[test]
fn the_latest_row_of_a_key_is_found() {
    let dir = tempfile::tempdir().expect("a folder");
    for time in 1..4 {
        let mut records = open(dir.path());
        records.write(&[1, 2], &[super::row(1, time, WIDTH), super::row(2, 0, WIDTH)].concat());
        if time == 3 {
            write(&mut records, &[1]);
        }
    }
    assert_eq!(right(&mut open(dir.path()), &[1, 2, 3], WIDTH), [0, 1]);
}

#[test]
fn another_front_finds_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    write(&mut open(dir.path()), &[1]);
    let other = |change: &dyn Fn(&mut Identity)| {
        let mut identity = identity();
        change(&mut identity);
        store(0, Some((dir.path(), 1 << 20))).kept(WIDTH, &identity).expect("records").len()
    };
    assert_eq!(other(&|_| {}), 1);
    let differing: [&dyn Fn(&mut Identity); 5] = [
        &|identity| identity.model += "2",
        &|identity| identity.stage += "2",
        &|identity| identity.front += "2",
        &|identity| identity.precision = "f16".into(),
        &|identity| identity.data += "2",
    ];
    for change in differing {
        assert_eq!(other(change), 0);
    }
    let narrow = store(0, Some((dir.path(), 1 << 20))).kept(WIDTH - 1, &identity());
    assert_eq!(narrow.expect("records").len(), 0);
}

/// Two writers at once: each its own file, and a third sees both as far as they got.
#[test]
fn several_share_a_folder() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut first, mut second) = (open(dir.path()), open(dir.path()));
    for i in 0..5 {
        write(&mut first, &[i]);
        write(&mut second, &[100 + i, 200 + i]);
        let mut third = open(dir.path());
        assert_eq!(third.len() as u64, 3 * (i + 1));
        assert_eq!(right(&mut third, &[i, 100 + i, 300 + i, 200 + i], WIDTH), [0, 1, 3]);
    }
    assert_eq!(files(dir.path()).len(), 2);
}

fn used(dir: &Path) -> u64 {
    files(dir).iter().map(|path| fs::metadata(path).expect("a file").len()).sum()
}

/// The budget is that of all fronts together; then memory takes what it can.
#[test]
fn the_folder_has_a_budget() {
    let dir = tempfile::tempdir().expect("a folder");
    write(&mut open(dir.path()), &[0]);
    let keys: Vec<u64> = (0..100).collect();
    let before = used(dir.path());
    for (budget, memory, kept) in
        [(0, 0, 0), (before, 0, 0), (before, 16, 2), (before + 1000, 16, 99)]
    {
        let store = store(memory, Some((dir.path(), budget)));
        let other = Identity { data: format!("{budget} {memory}"), ..identity() };
        let mut records = store.kept(WIDTH, &other).expect("records");
        let written =
            keys.chunks(7).map(|keys| records.write(keys, &rows(keys, WIDTH))).sum::<usize>();
        assert!(written <= kept && written + 80 >= kept, "{written} of {budget}");
        assert_eq!(right(&mut records, &keys, WIDTH).len(), written);
        assert!(store.usage().full);
        assert!(used(dir.path()) <= budget.max(before));
        assert_eq!(store.usage().disk, used(dir.path()));
    }
}

#[test]
fn without_a_folder_nothing_is_kept() {
    let mut records = Store::kept(&store(80, None), WIDTH, &identity()).expect("records");
    write(&mut records, &[1, 2]);
    assert_eq!(right(&mut records, &[2, 1], WIDTH), [0, 1]);
}

#[test]
fn fronts_are_listed_and_cleared() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::create_dir(dir.path().join("the user's")).expect("a folder");
    assert_eq!(
        (list(dir.path()).expect("a list"), clear(dir.path(), |_| true).expect("none")),
        (vec![], 0)
    );
    let other = Identity { data: "mnist 2".into(), ..identity() };
    let store = store(0, Some((dir.path(), 1 << 20)));
    write(&mut open(dir.path()), &[1, 2]);
    let mut writing = store.kept(WIDTH, &other).expect("records");
    write(&mut writing, &[1, 2]);

    let fronts = list(dir.path()).expect("a list");
    let mut data: Vec<&str> = fronts.iter().map(|front| front.data.as_str()).collect();
    data.sort();
    assert_eq!(data, ["mnist 1", "mnist 2"]);
    for front in &fronts {
        assert_eq!((&*front.model, &*front.stage, &*front.precision), ("Net", "head", "exact"));
        assert!(front.used.elapsed().expect("the past").as_secs() < 100);
        let path = dir.path().join(&front.name);
        assert_eq!(front.bytes, fs::metadata(&files_of(&path)[0]).expect("a file").len());
    }
    // One is chosen, the other is being written.
    let bytes = fronts[0].bytes;
    assert_eq!(clear(dir.path(), |front| front.data == "mnist 1").expect("freed"), bytes);
    assert_eq!(clear(dir.path(), |_| true).expect("freed"), 0);
    assert_eq!(list(dir.path()).expect("a list").len(), 1);
    assert_eq!(right(&mut writing, &[1, 2], WIDTH), [0, 1]);
    drop((writing, store));
    assert_eq!(clear(dir.path(), |_| true).expect("freed"), bytes);
    assert_eq!(fs::read_dir(dir.path()).expect("the folder").count(), 1);
    assert!(list(dir.path().join("none")).is_err());
}

fn files_of(front: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(front).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.filter(|path| path.extension().is_some_and(|ending| ending == "rows")).collect()
}

/// A front that is cleared between opening and the first row.
#[test]
fn a_front_may_be_cleared_while_it_is_read() {
    let dir = tempfile::tempdir().expect("a folder");
    write(&mut open(dir.path()), &[1]);
    let mut records = open(dir.path());
    clear(dir.path(), |_| true).expect("freed");
    write(&mut records, &[2]);
    // The file that is open is there until it is closed; nobody else finds it.
    assert_eq!(right(&mut records, &[1, 2], WIDTH), [0, 1]);
    assert_eq!(right(&mut open(dir.path()), &[1, 2], WIDTH), [1]);
}
