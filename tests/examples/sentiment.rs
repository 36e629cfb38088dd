//! The parts of `examples/finetune`: labels, split, batches, scores.

#[allow(dead_code, reason = "what a run takes of a batch")]
#[path = "../../examples/finetune/batches.rs"]
mod batches;
#[path = "../../examples/finetune/score.rs"]
mod score;
#[path = "../../examples/finetune/task/mod.rs"]
pub(crate) mod task;
#[allow(dead_code, reason = "batches are made of texts that were encoded before")]
#[path = "../../examples/finetune/tokens.rs"]
mod tokens;

use std::collections::{BTreeMap, BTreeSet};

use batches::{Batch, in_order, shuffled, width};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use score::{Score, macro_f1, wilson};
use task::{Between, Labelled, Task, of_lines, of_ratings, parse};
use tokens::{Encoded, Tokens};

use crate::common::rated::{Rated, Set};

fn rated(id: &str, rating: f64, text: &str) -> Rated {
    Rated { id: id.into(), rating, text: text.into() }
}

#[test]
fn ratings_become_classes_by_the_threshold() {
    let rows = [-4.0, -0.5, -0.49, 0.0, 0.49, 0.5, 4.0].map(|rating| rated("1_1", rating, "text"));
    let classes = |threshold, between| -> Vec<String> {
        let labelled = of_ratings(Set::Amazon, rows.to_vec(), threshold, between);
        labelled.map(|text| text.class).collect()
    };
    let [bad, none, good] = ["negative", "neutral", "positive"];
    assert_eq!(classes(0.5, Between::LeftOut), [bad, bad, good, good]);
    assert_eq!(classes(0.5, Between::Neutral), [bad, bad, none, none, none, good, good]);
    assert_eq!(classes(4.0, Between::LeftOut), [bad, good]);
    assert_eq!(classes(4.0, Between::Neutral)[1..6], [none; 5]);
}

#[test]
fn lines_of_a_user_are_read_or_named() {
    let read = parse("FILE", "\u{feff}good\tA fine\tday\r\n\n bad \tRain.\n").unwrap();
    let labelled = |group: &str, class: &str, text: &str| Labelled {
        group: group.into(),
        class: class.into(),
        text: text.into(),
    };
    let expected =
        [labelled("a fine day", "good", "A fine\tday"), labelled("rain", "bad", "Rain.")];
    assert_eq!(read, expected);
    for line in ["good text", "\ttext", "good\t", "good\t  "] {
        let fault = parse("FILE", &format!("good\tfine\n{line}")).unwrap_err().to_string();
        let expected = "FILE: line 2 is not a label, a tab and a text; ";
        assert!(fault.starts_with(expected), "{line:?}: {fault}");
    }
    let fault = of_lines("/nowhere/at/all".as_ref()).unwrap_err().to_string();
    assert!(
        fault.starts_with("/nowhere/at/all: ") && fault.contains("; expected lines"),
        "{fault}"
    );
}

/// Reviews of five sentences, one of which repeats one of another review, up to case and punctuation.
fn reviews(count: usize) -> Vec<Rated> {
    let sentence = |review: usize, at: usize| {
        let text = match at {
            0 => format!("It: was SAID, in {}!", review / 2),
            1 => format!("it was said in {}", review / 2),
            _ => format!("sentence {at} of review {review}"),
        };
        rated(
            &format!("{review}_{at}"),
            if (review + at).is_multiple_of(2) { 2.0 } else { -2.0 },
            &text,
        )
    };
    (0..count).flat_map(|review| (0..5).map(move |at| sentence(review, at))).collect()
}

#[test]
fn a_split_leaks_neither_reviews_nor_repeated_texts() {
    let of =
        |count| Task::new(of_ratings(Set::Movies, reviews(count), 1.0, Between::LeftOut).collect());
    let task = of(200).unwrap();
    assert_eq!(task.classes, ["negative", "positive"]);
    // Of four sentences in each pair of reviews, one is left.
    assert_eq!(task.repeated, 300);
    let parts = [&task.train, &task.valid, &task.test];
    assert_eq!(parts.iter().map(|part| part.len()).sum::<usize>(), 700);

    let mut of_review: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    let mut texts = BTreeSet::new();
    for (at, part) in parts.iter().enumerate() {
        for sample in part.iter() {
            let words = sample.text.replace([':', ',', '!'], "").to_lowercase();
            assert!(texts.insert(words), "{} is there twice", sample.text);
            if let Some((_, review)) = sample.text.split_once("of review ") {
                of_review.entry(review.to_string()).or_default().insert(at);
            }
        }
    }
    assert_eq!(of_review.len(), 200);
    assert!(of_review.values().all(|parts| parts.len() == 1));
    // About 70, 15 and 15 %.
    let share = |part: usize| parts[part].len() as f64 / 700.0;
    assert!((0.6..0.8).contains(&share(0)) && (0.08..0.22).contains(&share(1)), "{}", share(1));

    // More reviews move none of those that are there.
    let more = of(260).unwrap();
    assert!(task.test.iter().all(|sample| more.test.contains(sample)));
    assert!(task.train.iter().all(|sample| more.train.contains(sample)));
}

#[test]
fn a_task_needs_texts_of_every_class_in_every_part() {
    let lines = |classes: &[(&str, usize)]| -> Vec<Labelled> {
        let line = |class: &str, at: usize| Labelled {
            group: format!("{class} {at}"),
            class: class.to_string(),
            text: format!("{class} {at}"),
        };
        classes.iter().flat_map(|&(class, n)| (0..n).map(move |at| line(class, at))).collect()
    };
    let rows: [(&[(&str, usize)], &str); 4] = [
        (&[], "the texts have 0 different labels; "),
        (&[("one", 100)], "the texts have 1 different labels; "),
        (&[("one", 100), ("two", 2)], "has the label `two`; give more texts"),
        (&[("one", 1), ("two", 100)], "has the label `one`; give more texts"),
    ];
    for (classes, expected) in rows {
        let fault = Task::new(lines(classes)).unwrap_err().to_string();
        assert!(fault.contains(expected), "{classes:?}: {fault}");
    }
    assert!(Task::new(lines(&[("one", 100), ("two", 100), ("three", 100)])).is_ok());
}

/// Texts of one to 40 tokens.
fn encoded() -> Encoded {
    let tokens: Vec<Vec<u32>> =
        (0..203u32).map(|text| vec![text + 5; text as usize % 40 + 1]).collect();
    Encoded { classes: (0..203).map(|text| text % 2).collect(), tokens, padding: 3 }
}

#[test]
fn batches_hold_one_width_and_every_text_once() {
    let texts = encoded();
    let order = |stream: u64| {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        rng.set_stream(stream);
        shuffled(&texts, 8, &mut rng)
    };
    assert_eq!(order(1), order(1), "a function of seed and epoch");
    assert_ne!(order(1), order(2));
    for batches in [in_order(&texts, 8), order(1), order(2)] {
        assert_eq!(batches.len(), in_order(&texts, 8).len());
        let mut all: Vec<u32> = batches.concat();
        all.sort();
        assert_eq!(all, (0..203).collect::<Vec<u32>>());
        for batch in &batches {
            let widths: BTreeSet<usize> =
                batch.iter().map(|&text| width(texts.tokens[text as usize].len())).collect();
            assert!(widths.len() == 1 && batch.len() <= 8, "{batch:?}: {widths:?}");
        }
    }
    assert_eq!([1, 8, 9, 16].map(width), [8, 8, 16, 16]);
}

#[test]
fn a_text_enters_the_model_in_one_form_whatever_is_beside_it() {
    let texts = encoded();
    let row = |which: &[u32], at: usize| {
        let batch = Batch::new(&texts, which, false).unwrap();
        let mask = batch.context.mask().unwrap().to_vec2::<f32>().unwrap();
        (batch.tokens.to_vec2::<u32>().unwrap()[at].clone(), mask[at].clone(), batch.keys[at])
    };
    // Of three and of six tokens, and of three again.
    let expected = vec![7, 7, 7, 3, 3, 3, 3, 3];
    let mask = vec![1., 1., 1., 0., 0., 0., 0., 0.];
    for (which, at) in [(&[2u32][..], 0), (&[2, 5], 0), (&[5, 42, 2], 2)] {
        assert_eq!(row(which, at), (expected.clone(), mask.clone(), 2));
    }
}

#[test]
fn a_tokenizer_has_to_fit_its_model() {
    let json = include_bytes!("../../examples/finetune/tiny/tokenizer.json");
    let sample = |text: &str| task::Sample { text: text.into(), class: 1 };
    let tokens = Tokens::new("FILE", json, 123, 6).unwrap();
    let texts =
        tokens.encode(&[sample("The FILM."), sample("x was great , and we loved it !")]).unwrap();
    let ends = |text: &[u32]| (text.len(), text[0], text[text.len() - 1]);
    assert_eq!(
        texts.tokens.iter().map(|text| ends(text)).collect::<Vec<_>>(),
        [(5, 2, 3), (6, 2, 3)]
    );
    assert_eq!((texts.count(), &*texts.classes), (11, &[1, 1][..]));

    let fault = |json: &[u8], vocabulary| match Tokens::new("FILE", json, vocabulary, 6) {
        Ok(_) => panic!("no error"),
        Err(fault) => fault.to_string(),
    };
    assert!(fault(json, 122).contains("FILE: it has 123 tokens, the model 122; "));
    assert!(fault(b"{}", 123).starts_with("FILE: "), "{}", fault(b"{}", 123));
}

#[test]
fn scores_are_those_of_the_books() {
    // Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    let rows = [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ];
    for (right, all, low, high) in rows {
        let found = wilson(right, all);
        assert!((found.low - low).abs() < 5e-5 && (found.high - high).abs() < 5e-5, "{found:?}");
        assert!((found.value - right as f64 / all as f64).abs() < 1e-12);
    }
    let f1 = |truth: &[u32], guesses: &[u32], classes| {
        macro_f1(truth.iter().copied().zip(guesses.iter().copied()), classes)
    };
    // Of class 0: one hit, two texts, one guess; of class 1: two hits, two texts, three guesses.
    let expected = (2.0 / 3.0 + 4.0 / 5.0) / 2.0;
    assert!((f1(&[0, 0, 1, 1], &[0, 1, 1, 1], 2) - expected).abs() < 1e-12);
    assert!((f1(&[0, 0, 1, 1], &[0, 1, 1, 1], 3) - expected).abs() < 1e-12, "nothing of class 2");
    assert_eq!(
        (f1(&[0, 1], &[1, 0], 2), f1(&[0, 1, 2], &[0, 1, 2], 3), f1(&[], &[], 2)),
        (0.0, 1.0, 0.0)
    );
}

#[test]
fn the_interval_of_an_f1_narrows_with_more_texts() {
    let score = |n: u32| {
        let truth: Vec<u32> = (0..n).map(|at| at % 2).collect();
        let guesses: Vec<u32> =
            (0..n).map(|at| if at % 5 == 0 { 1 - at % 2 } else { at % 2 }).collect();
        Score::of(&truth, &guesses, 2)
    };
    let (few, many) = (score(50), score(2000));
    assert_eq!(few, score(50), "the seed is fixed");
    for score in [few, many] {
        let f1 = score.macro_f1;
        assert!((f1.value - 0.8).abs() < 1e-12 && f1.low < 0.8 && f1.high > 0.8, "{f1:?}");
        assert_eq!(score.accuracy.value, 0.8);
    }
    let wide = |score: Score| score.macro_f1.high - score.macro_f1.low;
    // Of 2000 hits with chance 0.8 the share deviates by 0.009.
    assert!(
        (wide(many) / (2.0 * 1.96 * 0.00894) - 1.0).abs() < 0.2 && wide(few) > 3.0 * wide(many)
    );
}
