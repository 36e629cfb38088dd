//! The metric of all runs over seconds, as one chart.

use maud::{Markup, html};

use super::super::axis::{Unit, text, ticks};
use super::super::chart::{COLOURS, range};
use super::run::Run;

pub(super) fn curves(metric: &str, runs: &[Run]) -> Markup {
    let points = || runs.iter().flat_map(|run| &run.points).copied();
    let (low, high) = range(points().map(|point| point.1));
    let end =
        points().map(|point| point.0).filter(|x| x.is_finite()).fold(f64::MIN_POSITIVE, f64::max);
    let place = |(x, y): (f64, f64)| (1000.0 * x / end, 1000.0 * (high - y) / (high - low));
    let height = |tick: f64| place((0.0, tick)).1;
    html! {
        section {
            h2 { (metric) " over seconds of training" }
            figure.wide {
                div.plot {
                    svg viewBox="0 0 1000 1000" preserveAspectRatio="none" role="img" aria-label=(metric) {
                        @for tick in ticks(low, high, 5) {
                            path.grid d=(format!("M0 {:.0}H1000", height(tick))) {}
                        }
                        @for (at, run) in runs.iter().enumerate().rev() {
                            path class=(format!("line {}", colour(at))) d=(path(&run.points, &place, "L")) {}
                            path class=(format!("dots {}", colour(at))) d=(path(&run.points, &place, "")) {}
                        }
                    }
                    @for tick in ticks(low, high, 5) {
                        span.y style=(format!("top:{:.2}%", height(tick) / 10.0)) { (text(tick, Unit::Plain)) }
                    }
                    @for tick in ticks(0.0, end, 4) {
                        span.x style=(format!("left:{:.2}%", 100.0 * tick / end)) { (text(tick, Unit::Seconds)) }
                    }
                }
                ul.key {
                    @for (at, run) in runs.iter().enumerate() { li { i class=(colour(at)) {} (run.name) } }
                }
            }
        }
    }
}

/// Of the run at a place. Where colours come again, lines are dashed, and then dotted.
fn colour(at: usize) -> String {
    format!("c{} again{}", at % COLOURS, (at / COLOURS).min(2))
}

/// A line through the points that are numbers, or, where nothing joins them, a dot for each.
fn path(points: &[(f64, f64)], place: &dyn Fn((f64, f64)) -> (f64, f64), join: &str) -> String {
    let finite = points.iter().filter(|point| point.0.is_finite() && point.1.is_finite());
    let one = |(at, &point): (usize, &(f64, f64))| {
        let (x, y) = place(point);
        match join {
            "" => format!("M{x:.1} {y:.1}h0"),
            join => format!("{}{x:.1} {y:.1}", if at == 0 { "M" } else { join }),
        }
    };
    finite.enumerate().map(one).collect()
}
