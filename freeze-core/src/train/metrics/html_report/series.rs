//! The values of one metric, few enough to draw.

use serde::{Deserialize, Serialize};

use crate::policy::Elapsed;

/// How many points are kept.
pub(super) const MOST: usize = 1024;

/// Values by time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) points: Vec<Point>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Point {
    pub(super) at: At,
    #[serde(with = "number")]
    pub(super) value: f64,
}

/// A point of the run: completed epochs and steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct At(usize, usize);

impl At {
    pub(super) fn of(elapsed: Elapsed) -> Self {
        Self(elapsed.epoch, elapsed.step)
    }

    pub(super) fn epoch(self) -> usize {
        self.0
    }

    pub(super) fn step(self) -> usize {
        self.1
    }

    /// This point of a run that is as long as that of `other`.
    pub(super) fn elapsed(self, other: Elapsed) -> Elapsed {
        Elapsed { epoch: self.0, step: self.1, ..other }
    }
}

impl Series {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_string(), points: Vec::new() }
    }

    pub(super) fn push(&mut self, at: At, value: f64) {
        self.points.push(Point { at, value });
        if self.points.len() > MOST {
            self.thin();
        }
    }

    pub(super) fn last(&self) -> Option<f64> {
        self.points.last().map(|point| point.value)
    }

    /// Keeps the smallest and the largest value of each stretch of time, and the last point.
    fn thin(&mut self) {
        let place = |point: &Point| point.at.0.max(point.at.1);
        let (Some(first), Some(last)) = (self.points.first(), self.points.last().copied()) else {
            return;
        };
        let first = place(first);
        let span = place(&last).saturating_sub(first).max(1);
        // So that what is kept is about half: two values of each.
        let stretches = MOST / 4;
        // A point with steps may stand before one without.
        let stretch = |point: &Point| place(point).saturating_sub(first) * stretches / (span + 1);
        let mut kept = Vec::with_capacity(MOST / 2 + 1);
        for part in self.points.chunk_by(|a, b| stretch(a) == stretch(b)) {
            let by_value = |a: &usize, b: &usize| part[*a].value.total_cmp(&part[*b].value);
            let low = (0..part.len()).min_by(by_value).unwrap_or(0);
            let high = (0..part.len()).max_by(by_value).unwrap_or(0);
            kept.push(part[low.min(high)]);
            if low != high {
                kept.push(part[low.max(high)]);
            }
        }
        if kept.last().is_none_or(|kept| kept.at != last.at) {
            kept.push(last);
        }
        self.points = kept;
    }
}

/// JSON has no NaN and no infinities: they are texts.
mod number {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Finite(f64),
        Text(String),
    }

    pub(super) fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
        match value.is_finite() {
            true => to.serialize_f64(*value),
            false => to.serialize_str(&value.to_string()),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        match Number::deserialize(from)? {
            Number::Finite(value) => Ok(value),
            Number::Text(text) => text.parse().map_err(D::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Peaks and the ends survive, and old values are no fewer than new ones.
    #[test]
    fn long_series_are_thinned_evenly_and_keep_their_extremes() {
        let mut series = Series::new("loss");
        for step in 0..100_000 {
            let value = if step == 12_345 { 9.0 } else { f64::from(step % 7) / 7.0 };
            series.push(At::of(Elapsed::new(0, 1).at_step(step as usize, 100_000)), value);
            assert!(series.points.len() <= MOST);
        }
        let steps = |part: &Point| part.at.step();
        assert!(series.points.iter().any(|point| steps(point) == 12_345 && point.value == 9.0));
        assert_eq!(series.points.first().map(steps).filter(|&first| first < 400), Some(0));
        assert_eq!(series.points.last().map(steps), Some(99_999));
        assert!(series.points.is_sorted_by_key(steps));
        let early = series.points.iter().filter(|point| steps(point) < 50_000).count();
        assert!(early >= MOST / 8, "{early} of {}", series.points.len());
    }

    #[test]
    fn a_single_point_in_time_is_thinned_too() {
        let mut series = Series::new("loss");
        (0..5000).for_each(|value| series.push(At(0, 0), f64::from(value)));
        assert!(series.points.len() <= MOST);
    }

    #[test]
    fn points_that_go_back_are_thinned_too() {
        let mut series = Series::new("loss");
        series.push(At(0, 500), 0.0);
        (0..5000).for_each(|value| series.push(At(1, 0), f64::from(value)));
        assert!(series.points.len() <= MOST);
    }
}
