//! Statistics of a cache.

use std::fmt;
use std::time::Duration;

/// Counts, sizes and time saved of an [`ActivationCache`](super::ActivationCache).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct CacheStats {
    /// The stage in front of which activations are stored; `None` before the first forward and where the
    /// whole model is frozen.
    pub boundary: Option<String>,
    /// Samples whose activations were read.
    pub hits: u64,
    /// Of the samples that were read those that a thread had read from a file, or copied to a card, ahead of time.
    pub read_ahead: u64,
    /// Samples whose record was of an earlier stage: it was read, the stages since then ran, and the
    /// record was replaced.
    pub extended: u64,
    /// Samples that ran through the whole front.
    pub misses: u64,
    /// Samples that were not stored since a number is infinite in the chosen
    /// [`Precision`](super::Precision).
    pub out_of_range: u64,
    /// Records.
    pub records: usize,
    /// Bytes of records in memory, rounded up to what is allocated at once.
    pub memory_bytes: u64,
    /// Bytes of records on a card, rounded up to what is allocated at once.
    pub device_bytes: u64,
    /// Bytes of records in files.
    pub disk_bytes: u64,
    /// Whether a sample did not fit: the records stay, and no more are added.
    pub full: bool,
    /// Whether a file could not be written: no more is written there.
    pub disk_failed: bool,
    /// Seconds saved: the mean time per sample of each stage that did not run, less the time spent on
    /// reading. Not measured correctly on a device that works asynchronously.
    pub seconds_saved: f64,
}

impl CacheStats {
    /// What has happened since `before`: the differences of counts and of seconds; sizes and the rest as
    /// they are now.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            hits: self.hits.saturating_sub(before.hits),
            read_ahead: self.read_ahead.saturating_sub(before.read_ahead),
            extended: self.extended.saturating_sub(before.extended),
            misses: self.misses.saturating_sub(before.misses),
            out_of_range: self.out_of_range.saturating_sub(before.out_of_range),
            seconds_saved: self.seconds_saved - before.seconds_saved,
            ..self.clone()
        }
    }

    /// Names and values as metrics.
    pub(crate) fn metrics(&self) -> [(&'static str, f64); 8] {
        [
            ("activation_cache/hits", self.hits as f64),
            ("activation_cache/extended", self.extended as f64),
            ("activation_cache/misses", self.misses as f64),
            ("activation_cache/records", self.records as f64),
            ("activation_cache/memory_bytes", self.memory_bytes as f64),
            ("activation_cache/device_bytes", self.device_bytes as f64),
            ("activation_cache/disk_bytes", self.disk_bytes as f64),
            ("activation_cache/seconds_saved", self.seconds_saved),
        ]
    }
}

impl fmt::Display for CacheStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} hits, {} extended, {} misses, {} records, {} bytes in memory, {} on a card, {} in files, {:.2} s saved",
            self.hits,
            self.extended,
            self.misses,
            self.records,
            self.memory_bytes,
            self.device_bytes,
            self.disk_bytes,
            // Never `-0.00`: zero is added to what two digits leave.
            (100.0 * self.seconds_saved).round() / 100.0 + 0.0
        )
    }
}

/// Times and counts as they come.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) hits: u64,
    pub(super) extended: u64,
    pub(super) misses: u64,
    pub(super) out_of_range: u64,
    /// For each stage how many samples it ran, and how long that took.
    stages: Vec<(u64, Duration)>,
    saved: f64,
}

impl Tally {
    /// A stage ran so many samples.
    pub(super) fn ran(&mut self, stage: usize, samples: usize, time: Duration) {
        if self.stages.len() <= stage {
            self.stages.resize(stage + 1, Default::default());
        }
        self.stages[stage].0 += samples as u64;
        self.stages[stage].1 += time;
    }

    /// So many samples were read behind `depth` stages.
    pub(super) fn read(&mut self, depth: usize, samples: usize, time: Duration) {
        let mean = |(samples, time): &(u64, Duration)| match samples {
            0 => 0.0,
            samples => time.as_secs_f64() / *samples as f64,
        };
        let each: f64 = self.stages.iter().take(depth).map(mean).sum();
        self.saved += each * samples as f64 - time.as_secs_f64();
    }

    /// How long all stages have run.
    pub(super) fn ran_for(&self) -> Duration {
        self.stages.iter().map(|(_, time)| *time).sum()
    }

    pub(super) fn seconds_saved(&self) -> f64 {
        self.saved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_saved_has_no_sign() {
        let rows =
            [(0.0, "0.00"), (-0.0, "0.00"), (-0.004, "0.00"), (-0.006, "-0.01"), (1.239, "1.24")];
        for (seconds_saved, expected) in rows {
            let shown = CacheStats { seconds_saved, ..Default::default() }.to_string();
            assert!(shown.ends_with(&format!(" files, {expected} s saved")), "{shown}");
        }
    }
}
