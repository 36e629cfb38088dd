//! The arithmetic against the recorded decisions of ElasticTrainer and GreenTrainer.

use freeze_core::policy::{backward_share, relative_importance, select_within};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
    importance: Rows<Importance>,
    rho: Rows<Rho>,
    simple_test: Simple,
}

/// Gradients and changes of each tensor, the importances, marks.
type Importance = (Vec<Vec<f64>>, Vec<Vec<f64>>, Vec<Value>, Vec<String>);

/// The family, rho, the times of forward and backward, rho of the backward, marks.
type Rho = (String, f64, Option<f64>, Option<f64>, f64, Vec<String>);

#[derive(Deserialize)]
struct Rows<R> {
    rows: Vec<R>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    importance: Vec<f64>,
    t_dw: Vec<f64>,
    t_dy: Vec<f64>,
    t_dw_units: Vec<f64>,
    t_dy_units: Vec<f64>,
    rho_backward: f64,
    limit_units: f64,
    limit_time: f64,
    official: Option<Chosen>,
    exact_units: Option<Chosen>,
    exact_time: Option<Chosen>,
    marks: Vec<String>,
}

#[derive(Deserialize)]
struct Chosen {
    objective: f64,
    time: Option<f64>,
}

#[derive(Deserialize)]
struct Simple {
    importance: Vec<f64>,
    t_dw: Vec<f64>,
    t_dy: Vec<f64>,
    rho: f64,
    max_importance: f64,
}

fn golden() -> Golden {
    let text = include_str!("../../data/policies/elastic_budget.json");
    serde_json::from_str(text).expect("elastic_budget.json")
}

impl Case {
    fn is(&self, mark: &str) -> bool {
        self.marks.iter().any(|name| name == mark)
    }
}

/// What is chosen within `limit`: the sum of importances, and the time as the formula charges it.
fn chosen(importance: &[f64], t_dw: &[f64], t_dy: &[f64], limit: f64) -> (f64, f64) {
    let chosen = select_within(importance, t_dw, t_dy, limit).expect("a choice");
    let passed: f64 = chosen.first().map_or(0.0, |&deepest| t_dy[deepest..].iter().sum());
    let sum = |of: &[f64]| chosen.iter().map(|&tensor| of[tensor]).sum::<f64>();
    (sum(importance), passed + sum(t_dw))
}

#[test]
fn the_best_set_within_the_limit_is_chosen() {
    let golden = golden();
    assert!(golden.cases.len() > 20, "only {} cases", golden.cases.len());
    for case in &golden.cases {
        let (objective, time) = chosen(&case.importance, &case.t_dw, &case.t_dy, case.limit_time);
        assert!(time <= case.limit_time.max(0.0) + 1e-9, "{}: {time}", case.name);
        if let Some(exact) = &case.exact_time {
            assert!((objective - exact.objective).abs() <= 1e-6, "{}: {objective}", case.name);
        }
        let (in_units, _) =
            chosen(&case.importance, &case.t_dw_units, &case.t_dy_units, case.limit_units);
        if let Some(exact) = &case.exact_units {
            assert!((in_units - exact.objective).abs() <= 1e-6, "{}: {in_units}", case.name);
        }
    }
}

#[test]
fn faults_of_the_official_choice_are_departed_from() {
    let golden = golden();
    let marked = |mark| golden.cases.iter().filter(move |case| case.is(mark));
    let gain = |case: &Case| {
        let official = case.official.as_ref().map_or(0.0, |official| official.objective);
        let units = chosen(&case.importance, &case.t_dw_units, &case.t_dy_units, case.limit_units);
        units.0 - official
    };
    // The program forgets partial choices, and never chooses the first tensor.
    assert!(marked("dp_not_exact").all(|case| gain(case) > 1e-6));
    assert!(marked("dp_not_exact").count() > 0);
    let deepest = |case: &&Case| {
        let all = select_within(&case.importance, &case.t_dw, &case.t_dy, f64::MAX);
        all.is_ok_and(|all| case.importance[0] <= 0.0 || all.first() == Some(&0))
    };
    assert!(marked("deepest_never").all(|case| deepest(&case)));
    assert!(marked("deepest_never").count() > 0);
    // Without room for anything nothing is chosen, also where the limit is negative.
    for case in marked("nothing_fits").chain(marked("rho_too_low")) {
        if case.exact_time.as_ref().is_none_or(|exact| exact.objective == 0.0) {
            let none = select_within(&case.importance, &case.t_dw, &case.t_dy, case.limit_time);
            assert_eq!(none.expect("a choice"), [0; 0], "{}", case.name);
        }
    }
    // A choice that exceeded the limit by rounding is not made.
    for case in marked("over_budget") {
        let official = case.official.as_ref().and_then(|official| official.time);
        assert!(official.is_some_and(|time| time > case.limit_time), "{}", case.name);
    }
}

#[test]
fn a_full_budget_trains_everything_that_is_worth_it() {
    for case in golden().cases {
        let all: f64 = case.t_dw.iter().chain(&case.t_dy).sum();
        let chosen = select_within(&case.importance, &case.t_dw, &case.t_dy, all);
        let worth = (0..case.importance.len()).filter(|&tensor| case.importance[tensor] > 0.0);
        assert_eq!(chosen.expect("a choice"), worth.collect::<Vec<_>>(), "{}", case.name);
    }
}

#[test]
fn importance_is_relative_to_the_largest() {
    for (gradients, changes, expected, marks) in golden().importance.rows {
        let drop =
            |(g, dw): (&Vec<f64>, &Vec<f64>)| -g.iter().zip(dw).map(|(g, dw)| g * dw).sum::<f64>();
        let drops: Vec<f64> = gradients.iter().zip(&changes).map(drop).collect();
        let found = relative_importance(&drops);
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.into_iter().zip(expected) {
            match expected.as_f64() {
                Some(expected) => assert!((found - expected).abs() <= 1e-12, "{found}"),
                // 0 / 0 there, 0 here.
                None => assert_eq!((found, &marks[..]), (0.0, &["all_zero".to_string()][..])),
            }
        }
    }
}

#[test]
fn the_backwards_share_of_a_budget_is_what_the_forward_leaves() {
    for (family, rho, t_fp, t_bp, expected, marks) in golden().rho.rows {
        let forward = match (t_fp, t_bp) {
            (Some(forward), Some(backward)) => forward / backward,
            _ => 0.5,
        };
        let found = backward_share(rho, forward);
        // GreenTrainer raises what is too little to 0.05, which is more than was asked for.
        match marks.iter().any(|mark| mark == "rho_reset") {
            true => assert!(found <= 0.0 && expected == 0.05, "{found}"),
            false => assert!((found - expected).abs() <= 1e-12, "{family} {rho}: {found}"),
        }
    }
    for case in golden().cases.iter().filter(|case| case.is("rho_too_low")) {
        assert!(case.rho_backward < 0.0 && case.limit_time < 0.0, "{}", case.name);
    }
}

#[test]
fn the_repositorys_own_example_has_the_same_optimum() {
    let Simple { mut importance, mut t_dw, mut t_dy, rho, max_importance } = golden().simple_test;
    let limit = rho * t_dw.iter().chain(&t_dy).sum::<f64>();
    // It lists tensors from the output on.
    for list in [&mut importance, &mut t_dw, &mut t_dy] {
        list.reverse();
    }
    assert_eq!(chosen(&importance, &t_dw, &t_dy, limit).0, max_importance);
}

#[test]
fn lists_that_do_not_fit_are_refused_by_name() {
    type Lists = [&'static [f64]; 3];
    let rows: [(Lists, &str); 6] = [
        ([&[1.0], &[], &[1.0]], "`t_dw` is 0, expected as many as there are importances"),
        ([&[1.0], &[1.0], &[1.0, 2.0]], "`t_dy` is 2"),
        ([&[1.0], &[-1.0], &[1.0]], "`t_dw` is -1, expected finite times of at least 0"),
        ([&[1.0], &[1.0], &[f64::INFINITY]], "`t_dy` is inf"),
        ([&[f64::NAN], &[1.0], &[1.0]], "`importance` is NaN"),
        ([&[f64::NEG_INFINITY], &[1.0], &[1.0]], "`importance` is -inf"),
    ];
    for ([importance, t_dw, t_dy], expected) in rows {
        let error = select_within(importance, t_dw, t_dy, 1.0).expect_err("an error").to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    assert_eq!(select_within(&[], &[], &[], 1.0).expect("nothing"), [0; 0]);
}
