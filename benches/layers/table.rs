//! The measured steps as a table of medians.

use super::contest::Contest;

/// The contestants, in the order in which a sample lists them.
const STOCK: usize = 0;
const OURS: usize = 1;
const IDEAL: usize = 2;

/// One step, in seconds.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) backward: f64,
    pub(crate) step: f64,
}

/// One depth of freezing.
pub(crate) struct Row {
    label: &'static str,
    /// A round each: stock, ours and, where there is one, the ideal.
    pub(crate) samples: Vec<[Option<Sample>; 3]>,
}

impl Row {
    pub(crate) fn new(label: &'static str) -> Self {
        Self { label, samples: Vec::new() }
    }

    /// Prints the rows; a `!` marks what misses its target.
    pub(crate) fn print<'r>(rows: impl Iterator<Item = &'r Self>, contest: &Contest) {
        println!(
            "{:>12} | {:>9} {:>9} {:>9} | {:>10} {:>10} | {:>9} {:>9} {:>10}",
            "frozen",
            "stock ms",
            "ours ms",
            "ideal ms",
            "ours/ideal",
            "stock/ours",
            "stock bwd",
            "ours bwd",
            "stock/ours"
        );
        rows.for_each(|row| row.line(contest));
    }

    fn line(&self, contest: &Contest) {
        let step = |sample: Sample| sample.step;
        let backward = |sample: Sample| sample.backward;
        let is_ends = self.samples.iter().all(|sample| sample[IDEAL].is_none());
        let over_ideal = self.ratio(OURS, IDEAL, step);
        let faster = self.ratio(STOCK, OURS, step);
        let faster_backward = self.ratio(STOCK, OURS, backward);
        let least = if is_ends { contest.ends.or(contest.backward) } else { contest.backward };
        println!(
            "{:>12} | {:>9} {:>9} {:>9} | {:>10} {:>10} | {:>9} {:>9} {:>10}",
            self.label,
            ms(self.time(STOCK, step)),
            ms(self.time(OURS, step)),
            ms(self.time(IDEAL, step)),
            mark(over_ideal, over_ideal > contest.ideal),
            mark(faster, faster < 1.),
            ms(self.time(STOCK, backward)),
            ms(self.time(OURS, backward)),
            mark(faster_backward, least.is_some_and(|least| faster_backward < least)),
        );
    }

    /// The median time of a contestant.
    fn time(&self, who: usize, part: impl Fn(Sample) -> f64) -> f64 {
        median(self.samples.iter().filter_map(|samples| samples[who].map(&part)).collect())
    }

    /// The median of the rounds' ratios of one contestant to another.
    fn ratio(&self, who: usize, to: usize, part: impl Fn(Sample) -> f64) -> f64 {
        let ratio = |samples: &[Option<Sample>; 3]| Some(part(samples[who]?) / part(samples[to]?));
        median(self.samples.iter().filter_map(ratio).collect())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn ms(seconds: f64) -> String {
    if seconds.is_nan() { "-".into() } else { format!("{:.1}", seconds * 1e3) }
}

fn mark(ratio: f64, misses: bool) -> String {
    let mark = if misses { "!" } else { " " };
    if ratio.is_nan() { "- ".into() } else { format!("{ratio:.2}{mark}") }
}
