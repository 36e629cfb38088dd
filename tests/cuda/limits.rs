//! The ends of a card: more elements than 32 bits count, more memory than there is, a second card.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{Optimizer, ParamsAdamW};
use freeze_core::nn::ops;
use freeze_core::optim::AdamW;

use crate::card;
use crate::support::{flat, random};

/// A little more than 2^31 elements, or nothing where the card has no room for `tensors` of them in bf16.
fn many(card: &Device, tensors: usize) -> Option<usize> {
    let len = (1usize << 31) + 70;
    let room = Tensor::zeros((tensors, len), DType::BF16, card);
    if let Err(error) = &room {
        eprintln!("skipped: no room for {tensors} tensors of {len}: {error}");
    }
    room.is_ok().then_some(len)
}

/// The last elements, which lie behind what 32 bits reach.
fn tail(tensor: &Tensor) -> Result<Vec<f64>> {
    let all = tensor.flatten_all()?;
    Ok(flat(&all.narrow(0, all.elem_count() - 3, 3)?))
}

#[test]
fn more_elements_than_32_bits_count() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    let Some(len) = many(&card, 9) else { return Ok(()) };
    let x = Tensor::ones((len / 2, 2), DType::BF16, &card)?;
    let behind = Tensor::new(&[[3f32, -5.], [7., 11.]], &card)?.to_dtype(DType::BF16)?;
    x.slice_set(&behind, 0, len / 2 - 2)?;
    let x = Var::from_tensor(&x)?;
    assert_eq!(tail(&x)?, [-5., 7., 11.]);
    let bias = Tensor::new(&[1f32, 2.], &card)?.to_dtype(DType::BF16)?;
    let y = ops::relu(&ops::add_bias(&x, &bias)?)?;
    assert_eq!(tail(&y)?, [0., 8., 13.]);
    assert_eq!(flat(&y.narrow(0, 0, 1)?), [2., 3.]);
    let grads = freeze_core::backward(&y.narrow(0, len / 2 - 2, 2)?.sum_all()?)?;
    let grad = grads.get(&x).ok_or_else(|| candle_core::Error::msg("a gradient"))?;
    assert_eq!(tail(grad)?, [0., 1., 1.]);
    drop((y, grads));

    // An update of so many.
    let mut grads = GradStore::default();
    grads.insert(&x, x.ones_like()?);
    let params = ParamsAdamW { lr: 1.0, weight_decay: 0.0, ..Default::default() };
    let mut opt = AdamW::new(vec![x.clone()], params)?;
    opt.set_master_weights(freeze_core::optim::MasterWeights::None);
    match opt.step(&grads) {
        Ok(()) => assert_eq!(tail(&x)?, [-6., 6., 10.]),
        Err(error) => eprintln!("skipped: no room for moments: {error}"),
    }
    Ok(())
}

#[test]
fn a_card_without_room_says_so_and_nothing_is_lost() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    let var = Var::from_tensor(&random(1, 1000, DType::F32).to_device(&card)?)?;
    let mut opt = AdamW::with_names([("w", var.clone())], ParamsAdamW::default())?;
    let mut grads = GradStore::default();
    grads.insert(&var, var.ones_like()?);
    opt.step(&grads)?;
    let look = |opt: &AdamW| -> Result<Vec<Vec<f64>>> {
        let state = opt.state_tensors()?;
        Ok(std::iter::once(flat(&var)).chain(state.values().map(flat)).collect())
    };
    let before = look(&opt)?;
    // More than any card has, for the result.
    let row = Tensor::zeros((1 << 20, 1), DType::F32, &card)?;
    let error = ops::linear(&row, &row, None).unwrap_err().to_string();
    assert!(error.contains("OUT_OF_MEMORY") || error.contains("out of memory"), "{error}");
    assert_eq!(look(&opt)?, before);
    // And it goes on.
    opt.step(&grads)?;
    assert_ne!(look(&opt)?, before);
    assert_eq!(opt.updates(&var), Some(2));
    Ok(())
}

#[test]
fn an_optimizer_whose_parameters_are_on_a_card_and_on_the_cpu() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    let after = |devices: [&Device; 2]| -> Result<Vec<f64>> {
        let mut vars = Vec::new();
        let mut grads = GradStore::default();
        for (i, device) in devices.into_iter().enumerate() {
            let var = Var::from_tensor(&random(i as u64, 1000, DType::F32).to_device(device)?)?;
            grads.insert(&var, random(10 + i as u64, 1000, DType::F32).to_device(device)?);
            vars.push(var);
        }
        let mut opt = AdamW::new(vars.clone(), ParamsAdamW::default())?;
        opt.set_clip(freeze_core::optim::GradClip::Value(0.3))?;
        opt.step(&grads)?;
        Ok(vars.iter().flat_map(|var| flat(var)).collect())
    };
    let expected = after([&Device::Cpu, &Device::Cpu])?;
    assert_eq!(after([&card, &Device::Cpu])?, expected);
    match Device::new_cuda(1) {
        Ok(second) => assert_eq!(after([&card, &second])?, expected),
        Err(_) => eprintln!("skipped: no second card"),
    }
    Ok(())
}
