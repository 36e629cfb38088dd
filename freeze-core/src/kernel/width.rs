//! Loops at the processor's SIMD width: the crate is built for every processor of its target, and
//! loops are compiled again for those with wider vectors.
//!
//! Results are bit-identical at every level: sums have a fixed number of lanes, and operations are
//! never fused. Only the payload of a NaN may differ.

use std::sync::atomic::{AtomicU8, Ordering};

/// The environment variable that selects a level.
const VARIABLE: &str = "FREEZE_SIMD";

/// The instruction set that loops are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Level {
    /// That of every processor of the target: SSE2 on x86-64, NEON on aarch64.
    Baseline = 1,
    #[cfg(target_arch = "x86_64")]
    Avx2 = 2,
    #[cfg(target_arch = "x86_64")]
    Avx512 = 3,
}

/// Runs `work` compiled for the current level. This applies only to code that is inlined into it,
/// so closures and functions that contain a loop are `#[inline(always)]`.
#[inline(always)]
pub(crate) fn wide<R>(work: impl FnOnce() -> R) -> R {
    match Level::in_force() {
        Level::Baseline => work(),
        // SAFETY: the level is the current one, so the processor was found to have these
        // instructions.
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        Level::Avx2 => unsafe { avx2(work) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        Level::Avx512 => unsafe { avx512(work) },
    }
}

/// As [`wide`], but no wider than AVX2, for loops that read and write many arrays at once: wider
/// ones were slower in one build of two (`docs/PERFORMANCE.md`).
#[inline(always)]
pub(crate) fn half_wide<R>(work: impl FnOnce() -> R) -> R {
    match Level::in_force() {
        Level::Baseline => work(),
        // SAFETY: as above; a processor with AVX-512 has these.
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        Level::Avx2 | Level::Avx512 => unsafe { avx2(work) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,f16c,lzcnt,popcnt")]
fn avx2<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,f16c,lzcnt,popcnt")]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl")]
fn avx512<R>(work: impl FnOnce() -> R) -> R {
    work()
}

impl Level {
    /// The levels that the processor has, the widest last.
    pub(crate) fn available() -> Vec<Self> {
        let mut levels = vec![Self::Baseline];
        #[cfg(target_arch = "x86_64")]
        {
            macro_rules! all {
                ($($feature:tt)*) => { $(is_x86_feature_detected!($feature))&&* };
            }
            if all!("avx2" "bmi1" "bmi2" "f16c" "lzcnt" "popcnt") {
                levels.push(Self::Avx2);
                if all!("avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl") {
                    levels.push(Self::Avx512);
                }
            }
        }
        levels
    }

    fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
        }
    }

    #[inline(always)]
    fn in_force() -> Self {
        Self::of(IN_FORCE.load(Ordering::Relaxed)).unwrap_or_else(Self::choose)
    }

    /// The level with this number, if it is one.
    #[inline(always)]
    fn of(number: u8) -> Option<Self> {
        match number {
            number if number == Self::Baseline as u8 => Some(Self::Baseline),
            #[cfg(target_arch = "x86_64")]
            number if number == Self::Avx2 as u8 => Some(Self::Avx2),
            #[cfg(target_arch = "x86_64")]
            number if number == Self::Avx512 as u8 => Some(Self::Avx512),
            _ => None,
        }
    }

    /// The level that the environment selects, or the widest.
    #[cold]
    fn choose() -> Self {
        let asked = std::env::var(VARIABLE).ok();
        let level = Self::asked_for(asked.as_deref(), &Self::available());
        IN_FORCE.store(level as u8, Ordering::Relaxed);
        level
    }

    /// The one of `levels` with the name `asked`; the last if there is none.
    fn asked_for(asked: Option<&str>, levels: &[Self]) -> Self {
        let widest = levels.last().copied().unwrap_or(Self::Baseline);
        let Some(asked) = asked else { return widest };
        levels.iter().copied().find(|level| level.name() == asked).unwrap_or_else(|| {
            let (has, takes) = (levels.iter().map(|level| level.name()), widest.name());
            let has = has.collect::<Vec<_>>().join(", ");
            tracing::warn!(asked, has, takes, "{VARIABLE} names no level that the processor has");
            widest
        })
    }
}

/// The current level as a number, or 0 before the first loop. Only a level of [`Level::available`]
/// is stored.
static IN_FORCE: AtomicU8 = AtomicU8::new(0);

#[cfg(test)]
pub(crate) mod tests;
