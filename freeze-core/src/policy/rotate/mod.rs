//! Policies in which blocks take turns.

use super::settings::Listed;

pub(super) static LISTED: &[Listed] = &[];
