//! The runs side by side: a table, and which leaves trained in each.

use maud::{Markup, html};

use super::super::axis::{Unit, text};
use super::super::leaves::{key, picture};
use super::run::Run;
use crate::checkpoint::Goal;

pub(super) fn table(metric: &str, target: Option<(Goal, f64)>, runs: &[Run]) -> Markup {
    let shown =
        |value: Option<f64>, unit| value.map_or("–".to_string(), |value| text(value, unit));
    html! {
        section {
            h2 { "Results" }
            table.runs {
                thead {
                    tr {
                        th { "run" }
                        th { (metric) ", at the end" }
                        th { "training" }
                        @if let Some((_, value)) = target { th { "time to " (text(value, Unit::Plain)) } }
                        th { "leaves trained" }
                    }
                }
                tbody {
                    @for run in runs {
                        tr {
                            th { (run.name) }
                            td data-of="end" { (shown(run.end().map(|end| end.1), Unit::Plain)) }
                            td data-of="training" { (shown(run.end().map(|end| end.0), Unit::Seconds)) }
                            @if let Some((goal, value)) = target {
                                td data-of="to target" {
                                    @match run.time_to(goal, value) {
                                        Some(seconds) => (text(seconds, Unit::Seconds)),
                                        None => "never",
                                    }
                                }
                            }
                            td data-of="leaves" { (shown(run.trained().map(|share| 100.0 * share), Unit::Plain))
                                @if run.trained().is_some() { " %" } }
                        }
                    }
                }
            }
        }
    }
}

/// The leaves by time of each run that has a report.
pub(super) fn leaves(runs: &[Run]) -> Markup {
    let known: Vec<_> = runs.iter().filter_map(|run| Some((run, run.record.as_ref()?))).collect();
    html! {
        @if !known.is_empty() {
            section {
                h2 { "Leaves by time" }
                (key())
                div.sides {
                    @for (run, record) in known { figure { figcaption { (run.name) } (picture(record)) } }
                }
            }
        }
    }
}
