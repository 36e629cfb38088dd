//! A line chart of some metrics.

use std::fmt::Write;

use maud::{Markup, html};

use super::axis::{text, ticks};
use super::groups::Group;
use super::record::Record;
use super::series::Series;

/// Lines with colours of their own; further ones share the last.
pub(super) const COLOURS: usize = 8;

/// Above this number of points, lines have no dots.
const DOTS: usize = 24;

/// Only lines are drawn to scale: text stays as large as the reader has it.
pub(super) fn chart(record: &Record, group: &Group<'_>) -> Markup {
    let values = group.series.iter().flat_map(|series| &series.points);
    let (low, high) = range(values.map(|point| point.value));
    let height = |value: f64| 1000.0 * (high - value) / (high - low);
    let title = match &group.series[..] {
        [one] => &one.name,
        _ => &group.title,
    };
    html! {
        figure {
            figcaption { (title) }
            div.plot {
                svg viewBox="0 0 1000 1000" preserveAspectRatio="none" role="img" aria-label=(title) {
                    @for tick in ticks(low, high, 4) {
                        path.grid d=(format!("M0 {:.0}H1000", height(tick))) {}
                    }
                    @for (place, series) in group.series.iter().enumerate().rev() {
                        @let colour = place.min(COLOURS - 1);
                        path class=(format!("line c{colour}")) d=(line(record, series, &height)) {}
                        @if series.points.len() <= DOTS {
                            path class=(format!("dots c{colour}")) d=(dots(record, series, &height)) {}
                        }
                    }
                }
                @for tick in ticks(low, high, 4) {
                    span.y style=(format!("top:{:.2}%", height(tick) / 10.0)) { (text(tick, group.unit)) }
                }
                (time(record))
            }
            ul.key {
                @for (place, series) in group.series.iter().enumerate() {
                    li {
                        i class=(format!("c{}", place.min(COLOURS - 1))) {}
                        (series.name) " "
                        @if let Some(last) = series.last() { b { (text(last, group.unit)) } }
                    }
                }
            }
        }
    }
}

/// The axis of time.
pub(super) fn time(record: &Record) -> Markup {
    let (length, unit) = record.length();
    let marks = ticks(0.0, length as f64, 4).into_iter().filter(|tick| tick.fract() == 0.0);
    html! {
        @for mark in marks {
            span.x style=(format!("left:{:.2}%", 100.0 * mark / length.max(1) as f64)) {
                (mark) @if mark == 0.0 { " " (unit) }
            }
        }
    }
}

/// The smallest and the largest finite value, with room if they are the same.
pub(super) fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let bounds = values.filter(|value| value.is_finite()).fold(None, |bounds, value| {
        let (low, high) = bounds.unwrap_or((value, value));
        Some((value.min(low), value.max(high)))
    });
    let (mut low, high) = bounds.unwrap_or((0.0, 1.0));
    // From 0, where that leaves most of the height.
    if low > 0.0 && low < 0.5 * high {
        low = 0.0;
    }
    let room = match high - low {
        0.0 => low.abs().max(1.0) * 0.5,
        _ => 0.0,
    };
    // Halves, whose difference is finite where the bounds' own is not.
    let (low, high) = (low - room, high + room);
    if (high - low).is_finite() { (low, high) } else { (low / 2.0, high / 2.0) }
}

/// The line, with gaps where values are not finite.
fn line(record: &Record, series: &Series, height: &dyn Fn(f64) -> f64) -> String {
    let mut path = String::new();
    let mut command = 'M';
    for point in &series.points {
        if !point.value.is_finite() {
            command = 'M';
            continue;
        }
        let (x, y) = (1000.0 * record.place(point.at), height(point.value));
        // Writing to a text cannot fail.
        let _ = write!(path, "{command}{x:.1} {y:.1}");
        command = 'L';
    }
    path
}

/// A line of no length at each point, whose ends are round.
fn dots(record: &Record, series: &Series, height: &dyn Fn(f64) -> f64) -> String {
    let points = series.points.iter().filter(|point| point.value.is_finite());
    points.fold(String::new(), |mut path, point| {
        let _ =
            write!(path, "M{:.1} {:.1}h0", 1000.0 * record.place(point.at), height(point.value));
        path
    })
}
