//! Policies made of other policies.

use super::settings::Listed;

pub(super) static LISTED: &[Listed] = &[];
