//! Which layers at the front change least: the arithmetic of AutoFreeze.

/// How much the gradients of the layers that train changed from one window to the next, and how many
/// layers at the front changed less than most.
///
/// With `G_l` the sum over the tensors of layer `l` of the L1 norms of the gradients' sums over a
/// window:
///
/// ```text
/// ratio_l   = |G_l(before) - G_l(now)| / G_l(before), 0 if G_l(now) = 0
/// threshold = the percentile of the ratios, interpolated linearly at index (k - 1) * (p / 100)
/// quiet     = the number of layers in front of the first with ratio >= threshold
/// ```
///
/// ```
/// use freeze_core::policy::QuietFront;
///
/// let front = QuietFront::of(&[4.0, 2.0, 1.0], &[4.0, 1.0, 0.25], 50.0);
/// assert_eq!(front.ratios, [Some(0.0), Some(0.5), Some(0.75)]);
/// assert_eq!((front.threshold, front.quiet), (Some(0.5), 1));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct QuietFront {
    /// The relative change of each layer; `None` where the gradients of the window before were all 0
    /// and these are not. Such a layer counts as above the threshold, and the threshold without it.
    pub ratios: Vec<Option<f64>>,
    /// The percentile of the ratios; `None` if there is none.
    pub threshold: Option<f64>,
    /// How many layers at the front are below the threshold.
    pub quiet: usize,
}

impl QuietFront {
    /// Compares the sums of two windows, of the layers that train, from the front. `percentile` is
    /// from 0 to 100.
    pub fn of(before: &[f64], now: &[f64], percentile: f64) -> Self {
        let ratios: Vec<Option<f64>> =
            before.iter().zip(now).map(|(&before, &now)| relative_change(before, now)).collect();
        let mut known: Vec<f64> = ratios.iter().copied().flatten().collect();
        let threshold = interpolated(&mut known, percentile);
        let below = |ratio: &&Option<f64>| {
            ratio.zip(threshold).is_some_and(|(ratio, threshold)| ratio < threshold)
        };
        let quiet = ratios.iter().take_while(below).count();
        Self { ratios, threshold, quiet }
    }
}

fn relative_change(before: f64, now: f64) -> Option<f64> {
    match (before == 0.0, now == 0.0) {
        (_, true) => Some(0.0),
        (true, false) => None,
        (false, false) => Some((before - now).abs() / before),
    }
}

/// The percentile of `values`, which get sorted: at a whole index exactly one of them.
pub(super) fn interpolated(values: &mut [f64], percentile: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let index = values.len().checked_sub(1)? as f64 * (percentile / 100.0);
    let low = *values.get(index.floor() as usize)?;
    let high = *values.get(index.ceil() as usize)?;
    let part = index - index.floor();
    // From the nearer end, so that the result does not leave the interval.
    Some(match part < 0.5 {
        true => low + (high - low) * part,
        false => high - (high - low) * (1.0 - part),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_interpolate() {
        for (values, percentile, expected) in [
            (vec![], 50.0, None),
            (vec![3.0], 50.0, Some(3.0)),
            (vec![2.0, 1.0], 50.0, Some(1.5)),
            (vec![3.0, 1.0, 2.0], 50.0, Some(2.0)),
            (vec![1.0, 2.0], 0.0, Some(1.0)),
            (vec![1.0, 2.0], 100.0, Some(2.0)),
            (vec![0.0, 1.0, 2.0], 75.0, Some(1.5)),
        ] {
            let mut sorted = values.clone();
            assert_eq!(interpolated(&mut sorted, percentile), expected, "{values:?}");
        }
    }
}
