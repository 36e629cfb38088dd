//! The policies of the library.

use super::linear::LinearSettings;
use super::settings::Listed;

static ALL: &[Listed] = &[Listed::of::<LinearSettings>()];

/// Every policy of the library, in the order of the documentation.
///
/// ```
/// for policy in freeze_core::policy::all() {
///     println!("{:20} {}", policy.name, policy.about);
/// }
/// ```
pub fn all() -> &'static [Listed] {
    ALL
}
