//! Policies that keep training within a budget of time or memory.

mod bound;
mod drops;
mod elastic;
mod knapsack;
mod policy;
mod problem;
mod rhythm;
mod rounds;
mod settings;
mod told;
mod units;

use super::settings::Listed;

pub use elastic::{backward_share, relative_importance, select_within};
pub use policy::Budget;
pub use settings::BudgetSettings;

pub(super) static LISTED: &[Listed] = &[Listed::of::<BudgetSettings>()];
