//! The policies of the library.

use super::settings::Listed;
use super::{budget, combine, rotate, signal, time};

/// Every policy of the library, in the order of the documentation.
///
/// ```
/// for policy in freeze_core::policy::all() {
///     println!("{:20} {}", policy.name, policy.about);
/// }
/// ```
pub fn all() -> impl Iterator<Item = &'static Listed> {
    [time::LISTED, signal::LISTED, budget::LISTED, rotate::LISTED, combine::LISTED]
        .into_iter()
        .flatten()
}
