//! `nn::Embedding`: the gradient of the table, and that a frozen one has none.

use candle_core::{DType, Device, Module, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use freeze_core::Freezable;
use freeze_core::nn::{self, Embedding};

use crate::support::{check, check_against, check_half, flat, gradients, random, refusal};

#[test]
fn the_gradient_adds_up_where_indices_repeat() {
    let table = random(1, (5, 3), DType::F64);
    for dtype in [DType::U8, DType::U32, DType::I64] {
        let indices = Tensor::new(&[[4u32, 0, 4], [1, 4, 0]], &Device::Cpu).unwrap();
        let indices = indices.to_dtype(dtype).unwrap();
        check(std::slice::from_ref(&table), |t| Embedding::new(t[0].clone(), 3).forward(&indices));
        let strided = indices.t().unwrap();
        check(std::slice::from_ref(&table), |t| Embedding::new(t[0].clone(), 3).forward(&strided));
    }
}

#[test]
fn the_rows_are_candles() {
    let table = random(1, (5, 3), DType::F32);
    let indices = Tensor::new(&[[4u32, 0, 4], [1, 4, 0]], &Device::Cpu).unwrap();
    let stock = candle_nn::Embedding::new(table.clone(), 3);
    let ours = Embedding::from(stock.clone());
    assert_eq!(ours.embeddings().id(), stock.embeddings().id(), "the same table, not a copy");
    let (y, expected) = (ours.forward(&indices).unwrap(), stock.forward(&indices).unwrap());
    assert_eq!((y.dims(), flat(&y)), (&[2, 3, 3][..], flat(&expected)));
}

#[test]
fn indices_made_of_what_is_tracked_have_no_gradient() {
    let (table, x) = (random(1, (5, 3), DType::F64), random(2, 4, DType::F64));
    let x = Var::from_tensor(&(x + 1.5).unwrap()).unwrap();
    for indices in [x.to_dtype(DType::U32).unwrap(), x.ge(1.5f64).unwrap()] {
        assert!(indices.track_op());
        check(std::slice::from_ref(&table), |t| Embedding::new(t[0].clone(), 3).forward(&indices));
    }
}

#[test]
fn no_indices_no_gradient_and_clear_refusals() {
    let table = random(1, (5, 3), DType::F32);
    let none = Tensor::zeros((2, 0), DType::U32, &Device::Cpu).unwrap();
    let (y, grads) = gradients(std::slice::from_ref(&table), &[true], |t| {
        Embedding::new(t[0].clone(), 3).forward(&none)
    });
    assert_eq!(y.dims(), [2, 0, 3]);
    assert!(flat(grads[0].as_ref().unwrap()).iter().all(|&value| value == 0.));
    let layer = Embedding::new(table.clone(), 3);
    let text = refusal(layer.forward(&random(2, 3, DType::F32)));
    assert!(text.starts_with("embedding: the indices are F32, expected integers"), "{text}");
    let text = refusal(Embedding::new(table, 4).forward(&none));
    assert!(
        text.starts_with("embedding: the table has shape [5, 3], expected [entries, 4]"),
        "{text}"
    );
    assert!(layer.forward(&Tensor::new(&[5u32], &Device::Cpu).unwrap()).is_err());
}

#[test]
fn the_layer_freezes_and_has_candles_names() {
    let map = VarMap::new();
    let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    let layer = nn::embedding(5, 3, vb).unwrap();
    assert!(map.data().lock().unwrap().contains_key("weight"));
    let index = Tensor::new(&[1u32], &Device::Cpu).unwrap();
    assert!(layer.forward(&index).unwrap().track_op());
    assert!(!layer.freeze_upto(1).unwrap().forward(&index).unwrap().track_op());
    assert_eq!((layer.vars().unwrap().len(), layer.leaves().unwrap()[0].kind), (1, "Embedding"));
}

#[test]
fn only_rows_that_occur_have_a_gradient_and_it_is_candles() {
    let (entries, hidden) = (300, 37);
    let places: Vec<u32> = (0..4000u32).map(|i| i * i % 7 * 41 % 300).collect();
    let indices = Tensor::new(places.as_slice(), &Device::Cpu).unwrap();
    let table = random(1, (entries, hidden), DType::F64);
    let ours = |t: &[Tensor]| Embedding::new(t[0].clone(), hidden).forward(&indices);
    let stock = |t: &[Tensor]| t[0].index_select(&indices, 0);
    check_against(std::slice::from_ref(&table), 1e-12, ours, stock);
    let (_, grads) = gradients(std::slice::from_ref(&table), &[true], ours);
    for (row, grad) in flat(grads[0].as_ref().unwrap()).chunks(hidden).enumerate() {
        let occurs = places.contains(&(row as u32));
        assert_eq!(grad.iter().any(|value| *value != 0.), occurs, "row {row}");
    }
    let table = table.to_dtype(DType::F32).unwrap();
    check_half(DType::F16, 1e-2, std::slice::from_ref(&table), ours);
    check_half(DType::BF16, 5e-2, &[table], ours);
}

#[test]
fn equal_bits_whatever_the_number_of_threads_and_sums_that_lose_nothing() {
    // One row is met so often that in f32 a sum one by one would stop.
    let places: Vec<u32> = (0..70_000u32).map(|i| if i % 3 == 0 { i % 11 } else { 5 }).collect();
    let indices = Tensor::new(places.as_slice(), &Device::Cpu).unwrap();
    let table = Var::from_tensor(&random(1, (11, 4), DType::F32)).unwrap();
    let factors = random(2, (places.len(), 4), DType::F32);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let y = nn::ops::embedding(&indices, &table).unwrap();
            let loss = (y * &factors).unwrap().sum_all().unwrap();
            flat(loss.backward().unwrap().get(&table).unwrap())
        })
    };
    let first = run(1);
    assert!([2, 3, 5].into_iter().all(|threads| run(threads) == first));
    let mut exact = vec![0f64; 44];
    for (place, factors) in places.iter().zip(flat(&factors).chunks(4)) {
        let row = &mut exact[*place as usize * 4..][..4];
        row.iter_mut().zip(factors).for_each(|(sum, factor)| *sum += factor);
    }
    let rounded: Vec<f64> = exact.into_iter().map(|sum| f64::from(sum as f32)).collect();
    assert_eq!(first, rounded);
}

#[test]
fn the_largest_number_of_a_type_stands_for_zeros_as_in_candle() {
    let table = random(1, (5, 3), DType::F64);
    for (dtype, none) in
        [(DType::U8, 255), (DType::U32, i64::from(u32::MAX)), (DType::I64, i64::MAX)]
    {
        let indices = Tensor::new(&[2, none, 2], &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        let ours = |t: &[Tensor]| nn::ops::embedding(&indices, &t[0]);
        check(std::slice::from_ref(&table), ours);
        check_against(std::slice::from_ref(&table), 0., ours, |t| t[0].index_select(&indices, 0));
    }
    // A table that has a row of this number is not in the way: bytes as tokens.
    let wide = random(1, (256, 3), DType::F64);
    let bytes = Tensor::new(&[255u8, 0, 254], &Device::Cpu).unwrap();
    let found = nn::ops::embedding(&bytes, &wide).unwrap();
    let numbers = bytes.to_dtype(DType::U32).unwrap();
    assert_eq!(flat(&found), flat(&nn::ops::embedding(&numbers, &wide).unwrap()));
    for index in [-1i64, 5] {
        let text =
            refusal(nn::ops::embedding(&Tensor::new(&[0, index], &Device::Cpu).unwrap(), &table));
        assert!(text.contains(&format!("index 1 is {index}, expected at least 0")), "{text}");
    }
}
