//! Infinite and NaN gradients.

use candle_core::{DType, Tensor, Var};
use candle_nn::{Optimizer, ParamsAdamW};
use freeze_core::Result;
use freeze_core::optim::{AdamW, GradClip, NonFinite};

use super::{CPU, bits, store};

const ODD: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

fn optimizer(vars: &[Var]) -> Result<AdamW> {
    AdamW::with_names(["good", "bad"].into_iter().zip(vars.iter().cloned()), ParamsAdamW::default())
}

#[test]
fn nothing_is_updated_and_the_moments_stay() -> Result<()> {
    for odd in ODD {
        for clip in [GradClip::None, GradClip::Norm(1.0), GradClip::Value(1.0)] {
            for policy in [NonFinite::Error, NonFinite::SkipStep] {
                let ones = || Var::ones(3, DType::F32, &CPU);
                let vars = [ones()?, ones()?];
                let mut opt = optimizer(&vars)?;
                opt.set_clip(clip)?;
                opt.set_non_finite(policy);
                let fine = |var: &Var| var.ones_like();
                opt.step(&store([(&vars[0], fine(&vars[0])?), (&vars[1], fine(&vars[1])?)]))?;
                let before = (bits(&vars[0])?, bits(&vars[1])?, bits(&moment(&opt)?)?);

                let broken = Tensor::new(&[0.0, 0.0, odd], &CPU)?;
                let result = opt.step(&store([(&vars[0], fine(&vars[0])?), (&vars[1], broken)]));
                match policy {
                    NonFinite::Error => {
                        let error = result.unwrap_err().to_string();
                        assert!(error.contains("of `bad` are infinite or NaN"), "{error}");
                    }
                    NonFinite::SkipStep => result?,
                }
                let after = (bits(&vars[0])?, bits(&vars[1])?, bits(&moment(&opt)?)?);
                assert_eq!(after, before, "{odd} under {clip:?} and {policy:?}");
                assert_eq!(opt.updates(&vars[0]), Some(1));
                assert_eq!(opt.skipped_steps(), u64::from(policy == NonFinite::SkipStep));
            }
        }
    }
    Ok(())
}

fn moment(opt: &AdamW) -> Result<Tensor> {
    Ok(opt.state_tensors()?["first_moment/good"].clone())
}
