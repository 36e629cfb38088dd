//! Leaves by time: who trained, who was frozen, who came from the cache.

use maud::{Markup, html};

use super::chart::time;
use super::record::{Planned, Record, State};

/// About how many rectangles the picture may have.
const MOST: usize = 20_000;

/// A row for each leaf in the order of the model, its front at the top.
pub(super) fn leaves(record: &Record) -> Markup {
    html! {
        section {
            h2 { "Leaves by time" }
            (key())
            (picture(record))
        }
    }
}

/// What the colours mean.
pub(super) fn key() -> Markup {
    html! {
        ul.key {
            li { i.t4 {} "trained" }
            li { i.t3 {} i.t2 {} i.t1 {} "at a share of the learning rate" }
            li { i.frozen {} "frozen" }
            li { i.cached {} "frozen, output from the cache" }
        }
    }
}

/// The rows without a heading.
pub(super) fn picture(record: &Record) -> Markup {
    let leaves = record.leaves.len();
    let plans = record.coarse_plans((MOST / leaves.max(1)).clamp(32, MOST));
    let size = match leaves {
        0..=30 => "rows",
        31..=70 => "rows many",
        _ => "rows most",
    };
    html! {
        @if leaves == 0 { p { "No plan has been recorded." } }
        @else {
            div class=(size) {
                @for (leaf, path) in record.leaves.iter().enumerate() {
                    span.name { (path) }
                    (row(&spans(record, &plans, leaf), path))
                }
                span {}
                div.time { (time(record)) }
            }
        }
    }
}

/// A state of a leaf, with the places where it begins and ends.
struct Span {
    from: f64,
    to: f64,
    state: State,
}

fn spans(record: &Record, plans: &[Planned], leaf: usize) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let ends = plans.iter().skip(1).map(|next| record.place(next.at)).chain([record.now()]);
    for (plan, to) in plans.iter().zip(ends) {
        let (from, state) = (record.place(plan.at), plan.states[leaf]);
        match spans.last_mut() {
            Some(last) if class(last.state) == class(state) => last.to = to,
            _ => spans.push(Span { from, to, state }),
        }
    }
    spans.retain(|span| span.to > span.from);
    spans
}

fn row(spans: &[Span], path: &str) -> Markup {
    html! {
        svg viewBox="0 0 1000 1" preserveAspectRatio="none" role="img" aria-label=(path) {
            @for Span { from, to, state } in spans {
                rect class=(class(*state)) x=(format!("{:.1}", 1000.0 * from))
                    width=(format!("{:.1}", 1000.0 * (to - from))) height="1" {
                    title { (path) ": " (words(*state, *from, *to)) }
                }
            }
        }
    }
}

fn class(state: State) -> &'static str {
    match state {
        State::Frozen => "frozen",
        State::Cached => "cached",
        State::Trained(rate) if rate < 0.34 => "t1",
        State::Trained(rate) if rate < 0.67 => "t2",
        State::Trained(rate) if rate < 1.0 => "t3",
        State::Trained(_) => "t4",
    }
}

fn words(state: State, from: f64, to: f64) -> String {
    let what = match state {
        State::Frozen => "frozen",
        State::Cached => "frozen, output from the cache",
        State::Trained(rate) if rate < 1.0 => "trained at a share of the learning rate",
        State::Trained(_) => "trained",
    };
    format!("{what}, {:.0} to {:.0} % of the run", 100.0 * from, 100.0 * to)
}
