//! What a steady step asks of the card: nothing waits for it, nothing is left behind.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Module, ModuleT, Optimizer, ParamsAdamW, VarBuilder, VarMap};
use freeze_core::nn::{self, ops};
use freeze_core::optim::{AdamW, GradClip};

use crate::card;

/// A model that has a layer of nearly every kind.
struct Mixed {
    embedding: nn::Embedding,
    norm: nn::LayerNorm,
    query: nn::Linear,
    dropout: nn::Dropout,
    conv: nn::Conv2d,
    batch_norm: nn::BatchNorm,
    head: nn::Linear,
}

impl Mixed {
    fn new(vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            embedding: nn::embedding(11, 16, vb.pp("embedding"))?,
            norm: nn::layer_norm(16, 1e-5, vb.pp("norm"))?,
            query: nn::linear(16, 16, vb.pp("query"))?,
            dropout: nn::Dropout::new(0.1, 1).map_err(candle_core::Error::wrap)?,
            conv: nn::conv2d(1, 4, 3, Default::default(), vb.pp("conv"))?,
            batch_norm: nn::batch_norm(4, 1e-5, vb.pp("batch_norm"))?,
            head: nn::linear(4, 5, vb.pp("head"))?,
        })
    }

    fn loss(&self, tokens: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let xs = self.norm.forward(&self.embedding.forward(tokens)?)?;
        let heads = ops::split_heads(&self.query.forward(&xs)?, 2)?;
        let mask = ops::AttentionMask::Causal;
        let ys = ops::scaled_dot_product_attention(&heads, &heads, &heads, mask, None)?;
        let xs = ops::add(&xs, &ops::gelu(&ops::merge_heads(&ys)?)?)?;
        let xs = self.conv.forward(&self.dropout.forward(&xs, true)?.unsqueeze(1)?)?;
        let xs = ops::relu(&self.batch_norm.forward_t(&xs, true)?)?;
        let (_, _, height, width) = xs.dims4()?;
        let xs = ops::avg_pool2d(&xs, (height, width))?.flatten_from(1)?;
        nn::cross_entropy(&self.head.forward(&xs)?, labels, None)
    }
}

fn mixed(card: &Device) -> Result<(Mixed, VarMap, Tensor, Tensor)> {
    let map = VarMap::new();
    let model = Mixed::new(VarBuilder::from_varmap(&map, DType::F32, card))?;
    let tokens = Tensor::new(&[[1u32, 2, 3, 4, 5], [6, 7, 8, 9, 10], [1, 1, 1, 0, 0]], card)?;
    Ok((model, map, tokens, Tensor::new(&[0u32, 4, 2], card)?))
}

/// While a stream is captured, every call that waits for it, and every copy to the host, is an error.
#[test]
fn nothing_waits_for_the_card_in_forward_and_backward()
-> std::result::Result<(), Box<dyn std::error::Error>> {
    use candle_core::cuda_backend::cudarc::driver::sys::{
        CUgraphInstantiate_flags, CUstreamCaptureMode,
    };

    let Some(card) = card() else { return Ok(()) };
    let (model, _map, tokens, labels) = mixed(&card)?;
    let step = || -> Result<usize> {
        let loss = model.loss(&tokens, &labels)?;
        Ok(freeze_core::backward(&loss)?.get_ids().count())
    };
    let warm = step()?;
    card.synchronize()?;
    let stream = card.as_cuda_device()?.cuda_stream();
    stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED)?;
    let captured = step();
    let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
    let ended = stream.end_capture(flags);
    assert_eq!(captured?, warm);
    assert!(ended?.is_some(), "work was captured");
    // The same check finds a wait.
    stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED)?;
    let waited = model.loss(&tokens, &labels).and_then(|loss| loss.to_scalar::<f32>());
    let _ = stream.end_capture(flags);
    assert!(waited.is_err(), "a copy to the host is found");
    Ok(())
}

#[test]
fn steady_steps_need_no_more_memory() -> Result<()> {
    use freeze_core::cuda::{keep_memory, memory, reset_peak};

    let Some(card) = card() else { return Ok(()) };
    keep_memory(&card)?;
    for clip in [GradClip::None, GradClip::Norm(1.0)] {
        let (model, map, tokens, labels) = mixed(&card)?;
        let mut opt = AdamW::new(map.all_vars(), ParamsAdamW::default())?;
        opt.set_clip(clip)?;
        let mut step = || -> Result<()> {
            let loss = model.loss(&tokens, &labels)?;
            opt.step(&freeze_core::backward(&loss)?)
        };
        for _ in 0..3 {
            step()?;
        }
        reset_peak(&card)?;
        step()?;
        let first = memory(&card)?;
        for _ in 0..10 {
            step()?;
        }
        let later = memory(&card)?;
        assert_eq!((later.used, later.peak), (first.used, first.peak), "{clip:?}");
        assert!(later.used > 0 && later.peak > later.used && later.reserved >= later.peak);
    }
    Ok(())
}
