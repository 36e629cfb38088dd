//! Policies that go by what training shows.

mod auto_freeze;
mod batches;
mod grad_es;
mod ils;
mod memory;
mod plasticity;
mod quiet;
mod rgn;
mod similarity;
mod singular;
mod snr;
mod spectrum;
mod stable;

use super::settings::Listed;

pub use auto_freeze::{AutoFreeze, AutoFreezeSettings};
pub use grad_es::{GradEs, GradEsSettings};
pub use ils::{Ils, IlsSettings, least_changed, relative_update};
pub use plasticity::{Plasticity, PlasticitySettings};
pub use quiet::QuietFront;
pub use rgn::{Rgn, RgnSettings, relative_gradient, relative_rates};
pub use similarity::{plasticity, similarities, slope};
pub use singular::{SingularScore, best_scores};
pub use snr::{Snr, SnrSettings, gradient_signal_to_noise};
pub use spectrum::{Spectrum, SpectrumSettings, module_type};

pub(super) static LISTED: &[Listed] = &[
    Listed::of::<AutoFreezeSettings>(),
    Listed::of::<GradEsSettings>(),
    Listed::of::<IlsSettings>(),
    Listed::of::<PlasticitySettings>(),
    Listed::of::<RgnSettings>(),
    Listed::of::<SnrSettings>(),
    Listed::of::<SpectrumSettings>(),
];
