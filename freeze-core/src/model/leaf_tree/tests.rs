//! What the constant functions find and refuse.

use super::*;

const LEAF: LeafTree = LeafTree::leaf("Linear");
const OPEN: LeafTree = LeafTree::open("Vec", || LEAF);
const INNER: LeafTree = LeafTree::group(
    "Inner",
    &[Part { name: "a", layout: &LEAF }, Part { name: "ab", layout: &LEAF }],
);
const NET: LeafTree = LeafTree::group(
    "Net",
    &[
        Part { name: "stem", layout: &LEAF },
        Part { name: "pair", layout: &LeafTree::array(&INNER, 3) },
        Part { name: "act", layout: &LeafTree::EMPTY },
        Part { name: "blocks", layout: &OPEN },
        Part { name: "head", layout: &LEAF },
    ],
);

#[test]
fn counts_leaves_in_front_of_a_path() {
    for (path, before, through) in [
        ("stem", 0, 1),
        ("pair", 1, 7),
        ("pair.0", 1, 3),
        ("pair.2", 5, 7),
        ("pair.1.a", 3, 4),
        ("pair.1.ab", 4, 5),
        ("act", 7, 7),
    ] {
        assert_eq!((NET.before(path), NET.through(path)), (before, through), "{path}");
    }
    assert_eq!(NET.before("blocks"), 7);
    assert_eq!(NET.len(), None);
    assert_eq!(INNER.len(), Some(2));
}

#[test]
fn what_is_said_around_a_part_is_said_about_it() {
    const OUTER: LeafTree = LeafTree::group(
        "Outer",
        &[
            Part { name: "open", layout: &OPEN },
            Part { name: "net", layout: &NET.declare(Declared::NOTHING.lr(0.5)) },
        ],
    )
    .declare(Declared::NOTHING.lr(0.25).no_decay());
    let said = Declared::NOTHING.lr(0.125).no_decay();
    // Also behind a part of unknown length.
    for (path, declared) in [
        ("open", Declared::NOTHING.lr(0.25).no_decay()),
        ("net", said),
        ("net.pair.1.ab", said),
        ("net.head", said),
    ] {
        assert_eq!(OUTER.declared(path), declared, "{path}");
    }
    assert_eq!(NET.declared("stem"), Declared::NOTHING);
    assert!(std::panic::catch_unwind(|| OUTER.declared("net.blocks.0")).is_err());
    assert!(std::panic::catch_unwind(|| OUTER.before("net")).is_err());
}

#[test]
fn refuses_what_it_cannot_know() {
    for path in
        ["", "stm", "pair.3", "pair.x", "pair.", "stem.weight", "head", "blocks.0", "pair.1.abc"]
    {
        let caught = std::panic::catch_unwind(|| NET.before(path));
        assert!(caught.is_err(), "{path} was found");
    }
    assert!(std::panic::catch_unwind(|| NET.through("blocks")).is_err());
}
