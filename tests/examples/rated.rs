//! The rated sentences: what is read, and what a wrong file is told.

use std::fs;

use crate::common::rated::{Rated, Set, parse};

#[test]
fn lines_become_sentences() {
    let read = parse("FILE", "1_2\t-0.9\t no picture . \r\n12\t4\té :)\r\n").unwrap();
    let rated = |id: &str, rating, text: &str| Rated { id: id.into(), rating, text: text.into() };
    assert_eq!(read, [rated("1_2", -0.9, "no picture ."), rated("12", 4.0, "é :)")]);
    assert_eq!(read.iter().map(Rated::review).collect::<Vec<_>>(), ["1", "12"]);
}

#[test]
fn a_wrong_line_is_named() {
    let rows = [
        ("", "FILE: holds no line"),
        ("1\t2\tfine\n2\t3", "FILE: line 2 has 2 columns"),
        ("1\t2\tone\tmore", "FILE: line 1 has 4 columns"),
        ("\n", "FILE: line 1 has 1 columns"),
        ("1\tgood\ttext", "FILE: line 1 has the rating `good`"),
        ("1\tNaN\ttext", "FILE: line 1 has the rating `NaN`"),
        ("1\t4.5\ttext", "FILE: line 1 has the rating `4.5`"),
    ];
    for (lines, expected) in rows {
        let fault = parse("FILE", lines).expect_err(lines).to_string();
        assert!(fault.starts_with(expected) && fault.contains("; "), "{lines:?}: {fault}");
    }
}

#[test]
fn without_the_download_it_says_what_to_run() {
    let folder = tempfile::tempdir().unwrap();
    let fault = || Set::Tweets.read(folder.path()).unwrap_err().to_string();
    assert!(fault().contains("tweets_GroundTruth.txt"), "{}", fault());
    assert!(fault().contains("`bash examples/finetune/fetch.sh`"), "{}", fault());

    fs::create_dir(folder.path().join("texts")).unwrap();
    let file = folder.path().join("texts/tweets_GroundTruth.txt");
    fs::write(&file, b"1\t2\tna\xefve").unwrap();
    assert!(fault().contains("invalid utf-8") && fault().contains("; save it"), "{}", fault());
    fs::write(&file, "1\t2\tfine").unwrap();
    assert_eq!(Set::Tweets.read(folder.path()).unwrap().len(), 1);
}
