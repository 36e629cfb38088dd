//! `nn::Embedding`: the gradient of the table, and that a frozen one has none.

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{VarBuilder, VarMap};
use freeze_core::Freezable;
use freeze_core::nn::{self, Embedding};

use crate::support::{check, flat, gradients, random, refusal};

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
