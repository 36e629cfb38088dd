//! The page.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::chart::chart;
use super::decisions::decisions;
use super::groups::groups;
use super::leaves::leaves;
use super::record::{Record, State};
use crate::policy::Elapsed;

const STYLE: &str = include_str!("style.css");

/// Nothing may be loaded, and no script runs.
const ONLY_STYLES: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// Seconds between the reloads of a page whose run goes on.
const RELOAD: &str = "30";

/// The page of a run; `data` is markup that is not shown.
pub(super) fn page(record: &Record, data: &str) -> String {
    let title = if record.title.is_empty() { "Training run" } else { &record.title };
    let parts = html! {
        (leaves(record))
        section {
            h2 { "Metrics" }
            @if record.series.is_empty() { p { "Nothing has been recorded." } }
            div.charts {
                @for group in groups(&record.series) { (chart(record, &group)) }
            }
        }
        (decisions(record))
        (settings(record))
    };
    let reload = (!record.ended).then_some(RELOAD);
    framed(title, &standing(record), reload, &parts, data)
}

/// A page with a heading, a line under it and its parts, reloaded every so many seconds.
pub(super) fn framed(
    title: &str,
    under: &Markup,
    reload: Option<&str>,
    parts: &Markup,
    data: &str,
) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(ONLY_STYLES);
                @if let Some(seconds) = reload { meta http-equiv="refresh" content=(seconds); }
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header { h1 { (title) } p { (under) } }
                main { (parts) }
                (PreEscaped(data))
            }
        }
    };
    page.into_string()
}

/// How far the run is, in a line.
fn standing(record: &Record) -> Markup {
    let Elapsed { epoch, epochs, step, steps } = record.reached;
    let states = record.plans.last().map(|plan| &plan.states[..]).unwrap_or_default();
    let trained = states.iter().filter(|state| matches!(state, State::Trained(_))).count();
    html! {
        b { @if record.ended { "Ended" } @else { "Running" } }
        ": epoch " (epoch) " of " (epochs)
        @if steps > 0 { ", step " (step) " of " (steps) }
        @if !states.is_empty() { "; " (trained) " of " (states.len()) " leaves train" }
    }
}

fn settings(record: &Record) -> Markup {
    let threads = std::thread::available_parallelism().map_or(0, usize::from);
    let (system, processor) = (std::env::consts::OS, std::env::consts::ARCH);
    html! {
        section {
            h2 { "Settings" }
            table {
                @if let Some(policy) = &record.policy { tr { th { "policy" } td { (policy) } } }
                @for (name, value) in &record.settings { tr { th { (name) } td { (value) } } }
                tr { th { "machine" } td { (system) ", " (processor) ", " (threads) " threads" } }
                tr { th { "freeze-core" } td { (env!("CARGO_PKG_VERSION")) } }
            }
        }
    }
}
