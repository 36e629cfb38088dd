//! Enums: the variant adds nothing to a path; what a value holds decides its leaves.

use candle_core::Tensor;
use candle_nn::{Activation, Linear};
use freeze_core::Freezable;

use super::common::{assert_model, kinds, linear, var};

#[derive(Freezable)]
enum Head {
    Absent,
    One(Linear),
    Two(Linear, Linear),
    Named { query: Linear, act: Activation, value: Linear },
    Bare(#[freeze(param)] Tensor),
    Whole(#[freeze(unit)] Vec<Linear>),
    Ignored(#[freeze(skip)] Linear),
    Second(#[freeze(skip)] u8, Linear),
    Empty {},
}

#[derive(Freezable)]
struct Net {
    stem: Linear,
    head: Head,
    tail: Linear,
}

fn around(head: Head) -> Net {
    Net { stem: linear(1), head, tail: linear(2) }
}

#[test]
fn leaves_follow_the_value() {
    let act = Activation::Relu;
    for (head, expected) in [
        (Head::Absent, &["stem", "tail"] as &[&str]),
        (Head::One(linear(3)), &["stem", "head", "tail"]),
        (Head::Two(linear(3), linear(4)), &["stem", "head.0", "head.1", "tail"]),
        (
            Head::Named { query: linear(3), act, value: linear(4) },
            &["stem", "head.query", "head.value", "tail"],
        ),
        (Head::Bare(var(&[1f32])), &["stem", "head", "tail"]),
        (Head::Whole(vec![linear(3), linear(4)]), &["stem", "head", "tail"]),
        (Head::Ignored(linear(3)), &["stem", "tail"]),
        (Head::Second(9, linear(3)), &["stem", "head.1", "tail"]),
        (Head::Empty {}, &["stem", "tail"]),
    ] {
        assert_model(&around(head), expected);
    }
}

#[test]
fn a_view_stays_in_its_variant_and_keeps_what_is_skipped() {
    let Head::Second(kept, _) = Head::Second(9, linear(3)).freeze_upto(1).unwrap().into_inner()
    else {
        panic!("another variant");
    };
    assert_eq!(kept, 9);
    assert!(matches!(*Head::Absent.freeze_upto(0).unwrap(), Head::Absent));
    let Head::Ignored(skipped) = Head::Ignored(linear(1)).freeze_upto(0).unwrap().into_inner()
    else {
        panic!("another variant");
    };
    assert!(skipped.weight().is_variable(), "a skipped layer was frozen");
}

#[test]
fn a_variable_part_leaves_the_length_open() {
    assert_eq!(Head::LEAVES.len(), None);
    assert_eq!(Net::LEAVES.len(), None);
    const HEAD: usize = Net::LEAVES.before("head");
    assert_eq!(HEAD, 1);
    assert_eq!(around(Head::Two(linear(3), linear(4))).leaf_before("tail").unwrap(), 3);
}

#[test]
fn the_layout_shows_every_variant_that_has_leaves() {
    let text = Head::LEAVES.to_string();
    for part in ["One: Linear", "Two: Two", "0: Linear", "query: Linear", "Bare: Tensor"] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
    for none in ["Absent", "Empty", "Ignored", "act"] {
        assert!(!text.contains(none), "{none} is there:\n{text}");
    }
}

#[derive(Freezable)]
#[freeze(unit)]
enum Mixer {
    Attention { query: Linear, key: Linear },
    Plain(Linear),
    Nothing,
}

#[test]
fn a_unit_enum_is_one_leaf_whatever_it_holds() {
    const { assert!(matches!(Mixer::LEAVES.len(), Some(1))) };
    for mixer in [
        Mixer::Attention { query: linear(1), key: linear(2) },
        Mixer::Plain(linear(3)),
        Mixer::Nothing,
    ] {
        assert_eq!(kinds(&mixer), ["Mixer"]);
        assert_model(&mixer, &[""]);
    }
}

#[derive(Freezable)]
#[allow(non_camel_case_types, clippy::upper_case_acronyms)]
enum Odd {
    r#Self_(Linear),
    r#type { r#fn: Linear },
    LEAVES(Linear),
    Result(Linear),
    Ok(Linear),
}

#[test]
fn variants_may_have_any_name() {
    for (odd, path) in [
        (Odd::Self_(linear(1)), ""),
        (Odd::r#type { r#fn: linear(1) }, "fn"),
        (Odd::LEAVES(linear(1)), ""),
        (Odd::Result(linear(1)), ""),
        (Odd::Ok(linear(1)), ""),
    ] {
        assert_model(&odd, &[path]);
    }
}
