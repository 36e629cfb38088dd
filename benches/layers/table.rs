//! The measured steps as a table of medians.

use super::clock::{Span, median, ms};
use super::contest::Contest;

/// The contestants, in the order in which a sample lists them.
pub(crate) const STOCK: usize = 0;
pub(crate) const OURS: usize = 1;
pub(crate) const IDEAL: usize = 2;

/// One step, and of it the backward.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) backward: Span,
    pub(crate) step: Span,
}

/// One depth of freezing.
pub(crate) struct Row {
    label: &'static str,
    /// The forecast share of a step that trains everything.
    forecast: Option<f64>,
    /// A step each: stock, ours and, where there is one, the ideal.
    pub(crate) samples: Vec<[Option<Sample>; 3]>,
}

impl Row {
    pub(crate) fn new(label: &'static str, forecast: Option<f64>) -> Self {
        Self { label, forecast, samples: Vec::new() }
    }

    /// Prints the rows: median wall times in ms, and ratios by wall time and, in parentheses, by
    /// processor time. A `!` marks what misses its target by processor time, which other programs
    /// disturb less.
    pub(crate) fn print(rows: &[Self], contest: &Contest) {
        println!(
            "{:>12} | {:>7} {:>7} {:>7} {:>14} {:>14} | {:>7} {:>7} {:>14}",
            "frozen",
            "stock",
            "ours",
            "ideal",
            "ours/ideal",
            "stock/ours",
            "stock",
            "ours",
            "stock/ours bwd"
        );
        rows.iter().for_each(|row| row.line(contest));
    }

    /// Prints how long our steps take, as shares of those of the first row, and as was forecast. A
    /// `!` marks what is more than a fifth off.
    pub(crate) fn print_shares(rows: &[Self]) {
        println!("{:>12} | {:>8} {:>9} {:>7}", "frozen", "measured", "forecast", "error");
        let steps = |row: &Self| -> Vec<f64> {
            let ours = row.samples.iter().map(|sample| sample[OURS]);
            ours.map(|sample| sample.map_or(f64::NAN, |sample| sample.step.wall)).collect()
        };
        let whole = rows.first().map(steps).unwrap_or_default();
        for row in rows {
            let shares = steps(row).into_iter().zip(&whole).map(|(step, whole)| step / whole);
            let measured = median(shares.collect());
            let forecast = row.forecast.unwrap_or(f64::NAN);
            let error = forecast / measured - 1.;
            let mark = if error.abs() <= 0.2 { " " } else { "!" };
            let error = 100. * error;
            println!("{:>12} | {measured:>8.3} {forecast:>9.3} {error:>+6.1}%{mark}", row.label);
        }
    }

    fn line(&self, contest: &Contest) {
        let step = |sample: Sample| sample.step;
        let backward = |sample: Sample| sample.backward;
        let is_ends = self.samples.iter().all(|sample| sample[IDEAL].is_none());
        let least = if is_ends { contest.ends.or(contest.backward) } else { contest.backward };
        println!(
            "{:>12} | {:>7} {:>7} {:>7} {:>14} {:>14} | {:>7} {:>7} {:>14}",
            self.label,
            ms(self.time(STOCK, step)),
            ms(self.time(OURS, step)),
            ms(self.time(IDEAL, step)),
            self.both(OURS, IDEAL, step, |ratio| ratio > contest.ideal),
            self.both(STOCK, OURS, step, |ratio| ratio < 1.),
            ms(self.time(STOCK, backward)),
            ms(self.time(OURS, backward)),
            self.both(STOCK, OURS, backward, |ratio| least.is_some_and(|least| ratio < least)),
        );
    }

    /// The ratio by both clocks, marked if it misses.
    fn both(
        &self,
        who: usize,
        to: usize,
        part: impl Fn(Sample) -> Span,
        misses: impl Fn(f64) -> bool,
    ) -> String {
        let wall = self.ratio(who, to, |sample| part(sample).wall);
        let busy = self.ratio(who, to, |sample| part(sample).busy);
        let mark = if misses(if busy.is_nan() { wall } else { busy }) { "!" } else { " " };
        if wall.is_nan() { "- ".into() } else { format!("{wall:.2} ({busy:.2}){mark}") }
    }

    /// The median wall time of a contestant.
    fn time(&self, who: usize, part: impl Fn(Sample) -> Span) -> f64 {
        let time = |samples: &[Option<Sample>; 3]| samples[who].map(|sample| part(sample).wall);
        median(self.samples.iter().filter_map(time).collect())
    }

    /// The median of the rounds' ratios of one contestant to another.
    fn ratio(&self, who: usize, to: usize, part: impl Fn(Sample) -> f64) -> f64 {
        let ratio = |samples: &[Option<Sample>; 3]| Some(part(samples[who]?) / part(samples[to]?));
        median(self.samples.iter().filter_map(ratio).collect())
    }
}
