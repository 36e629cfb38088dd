//! Round numbers beside the charts.

/// What the values of a chart count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Plain,
    Bytes,
    Seconds,
    /// A share, mostly in [0, 1].
    Share,
}

/// Round numbers from `low` to `high`, about `most` of them.
pub(super) fn ticks(low: f64, high: f64, most: usize) -> Vec<f64> {
    let rough = (high - low) / most.max(1) as f64;
    if !(rough.is_finite() && rough > 0.0) {
        return vec![low];
    }
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0].into_iter().find(|round| round * power >= rough * 0.999);
    let step = step.unwrap_or(10.0) * power;
    let (first, last) = ((low / step - 1e-9).ceil(), (high / step + 1e-9).floor());
    (0..=(last - first).max(0.0) as usize).map(|tick| (first + tick as f64) * step).collect()
}

/// A value in few characters.
pub(super) fn text(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Plain | Unit::Share => number(value),
        Unit::Seconds => format!("{} s", number(value)),
        Unit::Bytes => {
            let units = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
            let fits = units.into_iter().find(|(size, _)| value.abs() >= *size);
            let (size, name) = fits.unwrap_or((1.0, "B"));
            format!("{} {name}", number(value / size))
        }
    }
}

/// A number with four digits that count.
fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return value.to_string();
    }
    if size != 0.0 && !(1e-4..1e7).contains(&size) {
        let text = format!("{value:.3e}");
        let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{power}", trimmed(digits));
    }
    let decimals = 3 - size.max(1e-4).log10().floor() as i32;
    trimmed(&format!("{value:.*}", decimals.max(0) as usize)).to_string()
}

fn trimmed(digits: &str) -> &str {
    let short = match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.'),
        false => digits,
    };
    if short == "-0" { "0" } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (-0.0, "0"),
            (0.25, "0.25"),
            (0.1 + 0.2, "0.3"),
            (2.0 / 3.0, "0.6667"),
            (1234.5678, "1235"),
            (1000.0, "1000"),
            (1.5e-7, "1.5e-7"),
            (-2e12, "-2e12"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        cases.into_iter().for_each(|(value, expected)| assert_eq!(number(value), expected));
        assert_eq!(text(12_345_678.0, Unit::Bytes), "12.35 MB");
        assert_eq!(text(0.0, Unit::Bytes), "0 B");
        assert_eq!(text(1.25, Unit::Seconds), "1.25 s");
    }

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(ticks(0.0, 10.0, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(-3.0, 3.0, 4), [-2.0, 0.0, 2.0]);
        assert_eq!(ticks(5.0, 5.0, 4), [5.0]);
        assert_eq!(ticks(0.0, f64::INFINITY, 4), [0.0]);
    }
}
