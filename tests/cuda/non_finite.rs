//! Infinite and NaN gradients on the card.

use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor, Var};
use candle_nn::{Optimizer, ParamsAdamW};
use freeze_core::Result;
use freeze_core::optim::{AdamW, GradClip, NonFinite};

use crate::card;
use crate::support::flat;

#[test]
fn nothing_is_updated_and_the_moments_stay() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
            for clip in [GradClip::None, GradClip::Norm(1.0), GradClip::Value(1.0)] {
                for policy in [NonFinite::Error, NonFinite::SkipStep] {
                    let vars = [Var::ones(300, dtype, &card)?, Var::ones(3, dtype, &card)?];
                    let named = ["good", "bad"].into_iter().zip(vars.iter().cloned());
                    let mut opt = AdamW::with_names(named, ParamsAdamW::default())?;
                    opt.set_clip(clip)?;
                    opt.set_non_finite(policy);
                    let mut grads = GradStore::default();
                    for var in &vars {
                        grads.insert(var, var.ones_like()?);
                    }
                    opt.step(&grads)?;
                    let look = |opt: &AdamW| -> Result<Vec<Vec<f64>>> {
                        let state = opt.state_tensors()?;
                        Ok(vars
                            .iter()
                            .map(|var| flat(var))
                            .chain(state.values().map(flat))
                            .collect())
                    };
                    let before = look(&opt)?;
                    grads.insert(&vars[1], Tensor::new(&[0.0, 0.0, odd], &card)?.to_dtype(dtype)?);
                    match (policy, opt.step(&grads)) {
                        (NonFinite::Error, result) => {
                            let error = result.unwrap_err().to_string();
                            assert!(error.contains("of `bad` are infinite or NaN"), "{error}");
                        }
                        (_, result) => result?,
                    }
                    assert_eq!(look(&opt)?, before, "{odd} {dtype:?} {clip:?} {policy:?}");
                    assert_eq!(opt.skipped_steps(), u64::from(policy == NonFinite::SkipStep));
                }
            }
        }
    }
    Ok(())
}
