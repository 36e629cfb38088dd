//! A combined policy in a real run: what it freezes has no gradient, no state and no update.

use candle_core::{DType, Device, Tensor};
use candle_nn::{Module, ParamsAdamW, VarBuilder};
use freeze_core::init::Seeded;
use freeze_core::nn::{Linear, linear};
use freeze_core::optim::AdamW;
use freeze_core::policy::from_text;
use freeze_core::{Freezable, Result, Training};

#[derive(Freezable)]
struct Net {
    body: Vec<Linear>,
    head: Linear,
}

impl Module for Net {
    fn forward(&self, xs: &Tensor) -> candle_core::Result<Tensor> {
        let layer = |xs: Tensor, layer: &Linear| layer.forward(&xs)?.tanh();
        self.head.forward(&self.body.iter().try_fold(xs.clone(), layer)?)
    }
}

fn weights(run: &Training<Net>) -> Vec<(String, Vec<f32>)> {
    let tensors = run.freezer().named_tensors().expect("tensors");
    let flat = |tensor: Tensor| tensor.flatten_all().and_then(|t| t.to_vec1()).expect("numbers");
    tensors.into_iter().map(|(name, tensor)| (name, flat(tensor))).collect()
}

/// All train for a fifth of the run, at most half of the leaves freeze, and all train at its end.
#[test]
fn parts_and_a_ceiling_take_effect() -> Result<()> {
    let text = r#"then:parts=[{"policy":"all-trained","until":0.2},
        {"policy":"with-ceiling","share":0.5,"until":0.8,
         "of":{"policy":"with-floor","share":1,"of":"linear"}},
        {"policy":"all-trained","scale":0.1}]"#;
    let vb: VarBuilder<'_> = Seeded::builder(5, DType::F32, &Device::Cpu);
    let body = (0..5).map(|i| linear(4, 4, vb.pp(i))).collect::<candle_core::Result<_>>()?;
    let net = Net { body, head: linear(4, 2, vb.pp("head"))? };
    let mut run = Training::new(net)?
        .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW::default()))?
        .policy(from_text(text)?)
        .length(2, 5)?;
    let inputs = Tensor::randn(0f32, 1., (8, 4), &Device::Cpu)?;
    while run.next_epoch()?.is_some() {
        for _ in 0..5 {
            let step = run.elapsed().step;
            let frozen = if (2..8).contains(&step) { 3 } else { 0 };
            assert_eq!(run.freezer().plan().frozen_leaves(), frozen, "before step {}", step + 1);
            let before = weights(&run);
            let loss = run.model().forward(&inputs)?.sqr()?.mean_all()?;
            let grads = freeze_core::backward(&loss)?;
            let trained = run.freezer().named_vars().into_iter();
            let with: Vec<String> =
                trained.filter(|(_, var)| grads.get(var).is_some()).map(|(name, _)| name).collect();
            assert_eq!(with.len(), 2 * (6 - frozen), "gradients: {with:?}");
            run.step(&loss)?;
            for ((name, was), (_, is)) in before.iter().zip(weights(&run)) {
                let stays = (0..frozen).any(|leaf| name.starts_with(&format!("body.{leaf}.")));
                assert_eq!(was == &is, stays, "`{name}` in step {}", step + 1);
            }
        }
        run.epoch_end([])?;
    }
    Ok(())
}
