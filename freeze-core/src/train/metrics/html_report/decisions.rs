//! Why leaves changed.

use maud::{Markup, html};

use super::record::{Decided, Record};

/// How many reasons are shown: the last ones.
const MOST: usize = 500;

/// The reasons by time, those of one time together.
pub(super) fn decisions(record: &Record) -> Markup {
    let first = record.decisions.len().saturating_sub(MOST);
    let shown = &record.decisions[first..];
    let left_out = record.earlier_decisions + first;
    let together = |a: &Decided, b: &Decided| a.at == b.at;
    html! {
        section {
            h2 { "Decisions" }
            @if shown.is_empty() { p { "No leaf has changed." } }
            @if left_out > 0 { p { (left_out) " earlier ones are not shown." } }
            @if !shown.is_empty() {
                table.decisions {
                    thead { tr { th { "after" } th { "leaf" } th { "why" } } }
                    @for part in shown.chunk_by(together) {
                        tbody {
                            @for (place, decided) in part.iter().enumerate() {
                                tr {
                                    @if place == 0 { th rowspan=(part.len()) { (when(record, decided)) } }
                                    td { code { (decided.leaf) } }
                                    td { (decided.why) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn when(record: &Record, decided: &Decided) -> Markup {
    let (epoch, step) = (decided.at.epoch(), decided.at.step());
    html! {
        @if record.reached.steps > 0 { "step " (step) ", " }
        "epoch " (epoch)
    }
}
