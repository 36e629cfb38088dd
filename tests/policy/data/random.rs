//! Settings and texts that nobody would write never panic.

use freeze_core::policy::{Boxed, all, from_json, from_text, from_toml, from_value};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::script::Script;

/// Plays a short run, if the settings are taken; errors are answers too.
fn play(policy: freeze_core::Result<Boxed>, leaves: usize) {
    if let Ok(mut policy) = policy {
        let _ = Script::new(leaves, 2, 3).play(&mut policy, &mut |policy, _, _| {
            let state = policy.state();
            policy.load_state(&state)
        });
    }
}

/// A number in place of one.
fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        (0usize..20).prop_map(Value::from),
        (-3i64..3).prop_map(Value::from),
        (0.0..1.0).prop_map(|x: f64| json!(x)),
        prop::sample::select(vec![1e-300, 1e300, -0.0, 0.5, 1.0]).prop_map(|x| json!(x)),
        prop::sample::select(vec![u64::MAX, 1 << 53, 1_000_000]).prop_map(Value::from),
    ]
}

/// `value` with each number, text and flag replaced by the next of `with`, where that is not null.
fn replaced(value: Value, with: &mut impl Iterator<Item = Value>) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(|item| replaced(item, with)).collect(),
        Value::Object(map) => Value::Object(
            map.into_iter()
                .map(|(key, value)| match key.as_str() {
                    "policy" => (key, value),
                    _ => (key, replaced(value, with)),
                })
                .collect(),
        ),
        Value::Bool(flag) => Value::Bool(flag ^ with.next().is_some_and(|with| with.is_number())),
        kept => match with.next() {
            Some(Value::Number(number)) if kept.is_number() || kept.is_null() => number.into(),
            _ => kept,
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn random_settings_never_panic(
        numbers in prop::collection::vec(prop_oneof![2 => Just(Value::Null), 1 => number()], 24),
        leaves in 0usize..6,
    ) {
        for listed in all() {
            let mut settings = replaced(listed.defaults(), &mut numbers.iter().cloned());
            settings["policy"] = listed.name.into();
            play(from_value(settings), leaves);
        }
    }

    #[test]
    fn random_text_never_panics(text in "[a-z:=,.\"\\[\\]{}0-9 é-]{0,40}", which in 0usize..100) {
        let name = all().nth(which % all().count()).expect("a policy").name;
        for text in [text.clone(), format!("{name}:{text}"), format!("{{\"policy\":\"{name}\",{text}")] {
            let _ = (from_text(&text), from_json(&text), from_toml(&text));
        }
    }
}
