//! Freezing against training all layers for as long and for less long.

use crate::Args;
use crate::common::Result;
use crate::common::dataset::Dataset;
use crate::common::mean::{Mean, between};
use crate::common::ranks::Ranks;
use crate::record::Run;
use crate::train::{Layers, train};

/// The runs of one seed.
pub(crate) struct Contest {
    /// All layers trained in all epochs.
    pub(crate) all: Run,
    /// All layers trained in fewer epochs, from few to many, each with the whole schedule of rates.
    pub(crate) shorter: Vec<Run>,
    pub(crate) freezing: Run,
}

impl Contest {
    /// Trains all of them from the seed's weights.
    ///
    /// # Errors
    ///
    /// Those of [`train`].
    pub(crate) fn of(args: &Args, data: &Dataset, seed: u64, ranks: &Ranks) -> Result<Self> {
        let run = |name: &str, front, epochs| train(name, front, epochs, args, data, seed, ranks);
        let all = run("all layers trained", Layers::Trained, args.epochs)?;
        let freezing = run("progressive freezing", Layers::Freezing, args.epochs)?;
        let mut lengths = [args.epochs / 3, args.epochs / 2, args.epochs * 2 / 3].to_vec();
        lengths.retain(|&epochs| epochs > 0);
        lengths.dedup();
        let short =
            |epochs| run(&format!("all layers, schedule of {epochs}"), Layers::Trained, epochs);
        let shorter = lengths.into_iter().map(short).collect::<Result<_>>()?;
        Ok(Self { all, shorter, freezing })
    }

    /// Seconds and accuracy that training all layers comes to, by the length of its schedule.
    pub(crate) fn baseline(&self) -> Vec<(f64, f64)> {
        self.shorter.iter().chain([&self.all]).map(Run::result).collect()
    }

    /// What freezing is ahead of training all layers on a schedule that takes the same time: the straight
    /// line between the two schedules next to it.
    fn ahead(&self) -> f64 {
        let (seconds, accuracy) = self.freezing.result();
        let mut baseline = self.baseline();
        baseline.sort_by(|a, b| a.0.total_cmp(&b.0));
        accuracy - between(&baseline, seconds)
    }

    /// Whether more epochs took more time, as they do where nothing else keeps the machine busy.
    fn undisturbed(&self) -> bool {
        self.baseline().is_sorted_by(|a, b| a.0 < b.0)
    }
}

/// Who is ahead in the same time, and what the whole schedule of all layers is worth besides.
pub(crate) fn verdict(contests: &[Contest]) -> String {
    let ahead = Mean::of(contests.iter().map(Contest::ahead));
    let who = match ahead.error {
        None => "one seed has no standard error, so nobody wins".to_string(),
        Some(error) if ahead.mean > error => "freezing wins".to_string(),
        Some(error) if ahead.mean < -error => "training all layers wins".to_string(),
        Some(_) => "no difference beyond the standard error".to_string(),
    };
    let points = |ahead: &Mean| match ahead.error {
        Some(error) => format!("{:+.1} ± {:.1} points", 100.0 * ahead.mean, 100.0 * error),
        None => format!("{:+.1} points", 100.0 * ahead.mean),
    };
    let whole = |contest: &Contest| contest.freezing.result().1 - contest.all.result().1;
    let share = |contest: &Contest| contest.freezing.result().0 / contest.all.result().0;
    let share = Mean::of(contests.iter().map(share)).mean;
    let doubt = match contests.iter().all(Contest::undisturbed) {
        true => "",
        false => {
            "\nBut a shorter schedule took longer than a longer one: something else kept the machine busy."
        }
    };
    format!(
        "In the same time as all layers on a shorter schedule, freezing is {} in accuracy: {who}.\n\
         Beside all layers in all epochs it takes {share:.2} of the time and is {} in accuracy.{doubt}",
        points(&ahead),
        points(&Mean::of(contests.iter().map(whole))),
    )
}
