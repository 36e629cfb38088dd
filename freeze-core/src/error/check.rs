//! Checks of numbers that a user sets.

use std::ops::{Bound, RangeBounds};

use crate::error::{Error, Result};

/// `n`, if it is at least 1; otherwise an error that names the argument.
pub(crate) fn at_least_1(name: &'static str, n: usize) -> Result<usize> {
    match n {
        0 => Err(Error::count(name, n, "at least 1")),
        n => Ok(n),
    }
}

/// An error if a number is not finite or is outside `range`.
pub(crate) fn check_number(
    name: &'static str,
    value: f64,
    range: impl RangeBounds<f64>,
    expected: &'static str,
) -> Result<()> {
    if value.is_finite() && range.contains(&value) {
        Ok(())
    } else {
        Err(Error::Number { name, value, expected })
    }
}

/// An error unless `value` is a finite number above 0.
pub(crate) fn check_positive(name: &'static str, value: f64) -> Result<()> {
    let above_zero = (Bound::Excluded(0.0), Bound::Unbounded);
    check_number(name, value, above_zero, "a finite number above 0")
}

/// An error unless `value` is in [0, 1].
pub(crate) fn check_unit(name: &'static str, value: f64) -> Result<()> {
    check_number(name, value, 0.0..=1.0, "a number from 0 to 1")
}

/// An error unless `value` is in (0, 1].
pub(crate) fn check_share(name: &'static str, value: f64) -> Result<()> {
    let above_zero = (Bound::Excluded(0.0), Bound::Included(1.0));
    check_number(name, value, above_zero, "a number above 0 and up to 1")
}
