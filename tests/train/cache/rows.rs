//! Which operations give a sample the same bits in a batch and in a part of it.

use candle_core::{DType, Device, Module, ModuleT, Result, Tensor};
use freeze_core::init::Seeded;
use freeze_core::nn::{self, ops};

use super::net::bits;

const BATCH: usize = 24;

type Op = Box<dyn Fn(&Tensor) -> Result<Tensor>>;

/// An operation with the shape of a sample, and the number of samples from which on the bits are the
/// same.
type Row = (&'static str, Vec<usize>, usize, Op);

fn table() -> Result<Vec<Row>> {
    let vb = Seeded::builder(5, DType::F32, &Device::Cpu);
    let conv2d = nn::conv2d(3, 8, 3, Default::default(), vb.pp("conv2d"))?;
    let conv1d = nn::conv1d(3, 8, 3, Default::default(), vb.pp("conv1d"))?;
    let stock = candle_nn::conv2d(3, 8, 3, Default::default(), vb.pp("stock"))?;
    let of_rows = nn::linear(33, 16, vb.pp("linear"))?;
    let of_words = of_rows.clone();
    let wide = nn::linear(300, 128, vb.pp("wide"))?;
    let layer_norm = nn::layer_norm(33, 1e-5, vb.pp("layer_norm"))?;
    let rms_norm = nn::rms_norm(33, 1e-5, vb.pp("rms_norm"))?;
    let group_norm = nn::group_norm(1, 3, 1e-5, vb.pp("group_norm"))?;
    let batch_norm = nn::batch_norm(3, 1e-5, vb.pp("batch_norm"))?;
    let embedding = nn::embedding(7, 5, vb.pp("embedding"))?;
    let attend =
        |x: &Tensor| ops::scaled_dot_product_attention(x, x, x, ops::AttentionMask::Causal, None);
    Ok(vec![
        ("linear", vec![33], 8, Box::new(move |x| of_rows.forward(x))),
        ("a wide linear", vec![300], 8, Box::new(move |x| wide.forward(x))),
        ("linear of 5 words", vec![5, 33], 2, Box::new(move |x| of_words.forward(x))),
        (
            "embedding",
            vec![4],
            1,
            Box::new(move |x| embedding.forward(&x.abs()?.to_dtype(DType::U32)?)),
        ),
        ("convolution", vec![3, 9, 9], 1, Box::new(move |x| conv2d.forward(x))),
        ("convolution in 1d", vec![3, 9], 1, Box::new(move |x| conv1d.forward(x))),
        ("candle's convolution", vec![3, 9, 9], 1, Box::new(move |x| stock.forward(x))),
        ("layer norm", vec![33], 1, Box::new(move |x| layer_norm.forward(x))),
        ("rms norm", vec![33], 1, Box::new(move |x| rms_norm.forward(x))),
        ("group norm", vec![3, 9], 1, Box::new(move |x| group_norm.forward(x))),
        ("batch norm", vec![3, 9, 9], 1, Box::new(move |x| batch_norm.forward_t(x, false))),
        ("attention", vec![2, 5, 16], 1, Box::new(attend)),
        ("gelu", vec![33], 1, Box::new(ops::gelu)),
        ("softmax", vec![33], 1, Box::new(ops::softmax_last_dim)),
        ("mean pooling", vec![3, 8, 8], 1, Box::new(|x| ops::avg_pool2d(x, 2))),
    ])
}

#[test]
fn a_part_of_a_batch_has_its_bits() -> Result<()> {
    for (name, shape, fewest, op) in table()? {
        let dims: Vec<usize> = [BATCH].into_iter().chain(shape).collect();
        let count = dims.iter().product::<usize>();
        let values: Vec<f32> = (0..count).map(|i| 3.0 * (i as f32 * 0.37).sin()).collect();
        let xs = Tensor::from_vec(values, dims, &Device::Cpu)?;
        let whole = op(&xs)?;
        for size in fewest..BATCH {
            for start in [0, BATCH - size] {
                let part = op(&xs.narrow(0, start, size)?.contiguous()?)?;
                let rows = whole.narrow(0, start, size)?.contiguous()?;
                assert!(bits(&part) == bits(&rows), "{name}: {size} of {BATCH} from {start}");
            }
        }
    }
    Ok(())
}
