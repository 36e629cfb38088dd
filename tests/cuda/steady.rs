//! What a steady step asks of the card: nothing waits for it, nothing is left behind.

use candle_core::cuda_backend::cudarc::driver::{DriverError, sys};
use candle_core::{DType, Device, Result, Tensor, Var};
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

/// What was asked of the card, by kinds: while a stream is captured, the driver notes it all, and a wait is an error.
#[derive(Debug, Default, PartialEq)]
struct Asked {
    kernels: usize,
    fills: usize,
    uploads: usize,
    downloads: usize,
}

fn captured(card: &Device, run: impl FnOnce() -> Result<()>) -> Result<Asked> {
    let wrap = |error: DriverError| candle_core::Error::wrap(error);
    let stream = card.as_cuda_device()?.cuda_stream();
    stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED).map_err(wrap)?;
    let ran = run();
    // SAFETY: the stream is alive and being captured; the nodes of the graph are asked for as often as there are some,
    // and the graph is destroyed once.
    #[allow(unsafe_code)]
    let asked = unsafe {
        let mut graph = std::ptr::null_mut();
        sys::cuStreamEndCapture(stream.cu_stream(), &mut graph).result().map_err(wrap)?;
        let mut count = 0;
        sys::cuGraphGetNodes(graph, std::ptr::null_mut(), &mut count).result().map_err(wrap)?;
        let mut nodes = vec![std::ptr::null_mut(); count];
        sys::cuGraphGetNodes(graph, nodes.as_mut_ptr(), &mut count).result().map_err(wrap)?;
        let mut asked = Asked::default();
        for node in nodes {
            let mut kind = sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_EMPTY;
            sys::cuGraphNodeGetType(node, &mut kind).result().map_err(wrap)?;
            match kind {
                sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_KERNEL => asked.kernels += 1,
                sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_MEMSET => asked.fills += 1,
                sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_MEMCPY => {
                    let mut copy = std::mem::MaybeUninit::<sys::CUDA_MEMCPY3D>::uninit();
                    let asked_for = sys::cuGraphMemcpyNodeGetParams(node, copy.as_mut_ptr());
                    asked_for.result().map_err(wrap)?;
                    let (copy, host) = (copy.assume_init(), sys::CUmemorytype::CU_MEMORYTYPE_HOST);
                    asked.uploads += usize::from(copy.srcMemoryType == host);
                    asked.downloads += usize::from(copy.dstMemoryType == host);
                }
                _ => {}
            }
        }
        sys::cuGraphDestroy(graph).result().map_err(wrap)?;
        asked
    };
    ran.map(|()| asked)
}

#[test]
fn nothing_waits_for_the_card_in_forward_and_backward() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    let (model, _map, tokens, labels) = mixed(&card)?;
    let step = || -> Result<()> { freeze_core::backward(&model.loss(&tokens, &labels)?).map(drop) };
    step()?;
    card.synchronize()?;
    let asked = captured(&card, step)?;
    println!("forward and backward of a small model of all kinds: {asked:?}");
    assert!(asked.kernels > 20, "{asked:?}");
    assert_eq!((asked.uploads, asked.downloads), (0, 0), "{asked:?}");
    // The same look finds a copy to the host.
    let loss = model.loss(&tokens, &labels)?;
    card.synchronize()?;
    let found = captured(&card, || loss.to_scalar::<f32>().map(drop));
    assert!(found.as_ref().map_or(true, |found| found.downloads == 1), "{found:?}");
    Ok(())
}

#[test]
fn steady_steps_need_no_more_memory() -> Result<()> {
    use freeze_core::cuda::{memory, prepare, reset_peak};

    let Some(card) = card() else { return Ok(()) };
    prepare(&card)?;
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

/// Neither a forward nor a backward has all scores at a time, and nothing of them stays in between.
#[test]
fn attention_keeps_no_scores() -> Result<()> {
    use freeze_core::cuda::{memory, prepare, reset_peak};

    let Some(card) = card() else { return Ok(()) };
    prepare(&card)?;
    let (heads, tokens, size) = (10, 2048, 4);
    let random = || Var::randn(0f32, 1.0, (1, heads, tokens, size), &card);
    let (q, k, v) = (random()?, random()?, random()?);
    let all = (heads * tokens * tokens * 4) as u64;
    reset_peak(&card)?;
    let before = memory(&card)?.used;
    let y = ops::scaled_dot_product_attention(&q, &k, &v, Default::default(), None)?;
    let forward = memory(&card)?;
    assert!(forward.peak - before < all / 2, "{forward:?} of {all}");
    assert_eq!(forward.used - before, (heads * tokens * size * 4) as u64, "only the result stays");
    reset_peak(&card)?;
    let grads = freeze_core::backward(&y.sum_all()?)?;
    assert!(grads.get(&q).is_some());
    let backward = memory(&card)?;
    assert!(backward.peak - before < all * 9 / 10, "{backward:?} of {all}");
    Ok(())
}
