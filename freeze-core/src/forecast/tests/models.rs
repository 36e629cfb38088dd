//! What is counted and restored in real models.

use std::time::Duration;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device::Cpu, Module, Result, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};

use super::plan;
use crate::forecast::{calibrate, calibrate_with_planned_update, calibrate_with_update};
use crate::model::{Freezable, Freezer};
use crate::nn::{
    Conv2d, Conv2dConfig, Embedding, LSTMConfig, Linear, Lstm, RNN, conv2d, embedding, linear,
    lstm, ops,
};

#[derive(Debug)]
struct Net {
    table: Embedding,
    conv: Conv2d,
    stock: candle_nn::Linear,
    head: Linear,
}

impl Freezable for Net {
    const LEAVES: crate::model::LeafTree = crate::model::LeafTree::EMPTY;

    fn map_params(&self, mapper: &mut crate::model::Mapper<'_>) -> crate::error::Result<Self> {
        Ok(Self {
            table: mapper.part("table", &self.table)?,
            conv: mapper.part("conv", &self.conv)?,
            stock: mapper.part("stock", &self.stock)?,
            head: mapper.part("head", &self.head)?,
        })
    }
}

fn net() -> Freezer<Net> {
    let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Cpu);
    let net = Net {
        table: embedding(10, 36, vb.pp("table")).expect("a layer"),
        conv: conv2d(1, 3, 3, Conv2dConfig::default(), vb.pp("conv")).expect("a layer"),
        stock: candle_nn::linear(48, 5, vb.pp("stock")).expect("a layer"),
        head: linear(5, 2, vb.pp("head")).expect("a layer"),
    };
    Freezer::new(net).expect("a freezer")
}

/// Of two samples.
fn loss(net: &Net) -> Result<Tensor> {
    let x = net.table.forward(&Tensor::new(&[1u32, 7], &Cpu)?)?.reshape((2, 1, 6, 6))?;
    let x = ops::relu(&net.conv.forward(&x)?)?.flatten_from(1)?;
    net.head.forward(&net.stock.forward(&x)?)?.sqr()?.mean_all()
}

fn weights(net: &Freezer<Net>) -> Vec<Vec<f32>> {
    let flat = |var: &Var| var.flatten_all().and_then(|var| var.to_vec1()).expect("numbers");
    net.vars().iter().map(flat).collect()
}

#[test]
fn an_update_that_fails_leaves_no_trace() {
    let net = net();
    let before = weights(&net);
    for fatal in [1, 7, 16] {
        let mut steps = 0;
        let result = calibrate_with_update(&net, loss, |_| {
            steps += 1;
            net.vars().iter().try_for_each(|var| var.set(&var.ones_like()?))?;
            if steps == fatal { candle_core::bail!("no update") } else { Ok(()) }
        });
        assert!(result.expect_err("an error").to_string().contains("no update"));
        assert_eq!((steps, weights(&net)), (fatal, before.clone()));
    }
}

#[test]
fn a_models_operations_and_bytes_are_counted() {
    let net = net();
    let before = weights(&net);
    let mut steps = 0;
    let costs = calibrate_with_update(&net, loss, |grads| {
        steps += 1;
        net.vars().iter().try_for_each(|var| match grads.get(var) {
            Some(grad) => var.set(&(var.as_tensor() - grad)?),
            None => candle_core::bail!("a gradient is missing"),
        })
    })
    .expect("a calibration");
    assert_eq!(steps, 16);
    assert_eq!(weights(&net), before);

    let forecast = |frozen: &[usize]| costs.forecast(&plan(&costs, frozen)).expect("a forecast");
    let full = forecast(&[]);
    // Two samples: 4 x 4 outputs of 3 channels with 9 taps; 2 outputs of 5 products.
    let (lookup, conv, relu, head) = (72, 2 * 96 * 9, 96, 2 * 4 * 5);
    let (conv_bias, head_bias) = (96, 4);
    let forward = lookup + conv + conv_bias + relu + head + head_bias;
    let backward = lookup + 2 * conv + conv_bias + relu + 2 * head + head_bias;
    assert_eq!(full.flops, forward + backward);
    assert_eq!(full.activation_bytes, 4 * (72 + 96 + 96 + 4));
    let vars = [360, 27 + 3, 240 + 5, 10 + 2];
    assert_eq!(full.gradient_bytes, 4 * vars.iter().sum::<usize>());
    assert_eq!(full.unknown, ["stock"]);
    assert_eq!(full.step_ratio, Some(1.0));

    let half = forecast(&[0]);
    assert_eq!(half.flops, forward + conv + conv_bias + relu + 2 * head + head_bias);
    assert_eq!(half.activation_bytes, 4 * (96 + 96 + 4));
    assert!(half.step_ratio.is_some());
    assert_eq!(forecast(&[0, 1]).step_ratio, None);
    let last = forecast(&[0, 1, 2]);
    assert_eq!((last.gradient_bytes, last.activation_bytes), (4 * 12, 4 * 4));
    assert_eq!(last.flops, forward + head + head_bias);
    assert!(costs.to_string().contains("unknown"));
    // Every part of the backward was timed: no call is without one.
    assert!(costs.calls.iter().all(|call| call.both > Duration::ZERO));
}

#[test]
fn a_timed_update_counts_for_what_it_covers() {
    let mut net = net();
    net.freeze_front(3, &mut []).expect("a plan");
    let pause = Duration::from_millis(20);
    let update = |_: &GradStore| -> Result<()> {
        std::thread::sleep(pause);
        Ok(())
    };
    let of_all = calibrate_with_update(&net, loss, update).expect("costs").update;
    let of_trained = calibrate_with_planned_update(&net, loss, update).expect("costs").update;
    // Of 647 elements, 12 train.
    assert!(of_all >= pause && of_all < 30 * pause, "{of_all:?}");
    assert!(of_trained >= 50 * pause, "{of_trained:?}");
}

#[derive(Debug)]
struct Recurrent {
    cell: Lstm,
    head: Linear,
}

impl Freezable for Recurrent {
    const LEAVES: crate::model::LeafTree = crate::model::LeafTree::EMPTY;

    fn map_params(&self, mapper: &mut crate::model::Mapper<'_>) -> crate::error::Result<Self> {
        Ok(Self { cell: mapper.part("cell", &self.cell)?, head: mapper.part("head", &self.head)? })
    }
}

#[test]
fn recurrent_layers_report_the_products_of_every_step() {
    let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Cpu);
    let (inputs, hidden, batch, steps) = (3, 4, 2, 5);
    let cell = lstm(inputs, hidden, LSTMConfig::default(), vb.pp("cell")).expect("a layer");
    let head = linear(hidden, 1, vb.pp("head")).expect("a layer");
    let net = Freezer::new(Recurrent { cell, head }).expect("a freezer");
    let xs = Tensor::ones((batch, steps, inputs), DType::F32, &Cpu).expect("numbers");
    let costs = calibrate(&net, |net| {
        let states = net.cell.seq(&xs)?;
        net.head.forward(states[steps - 1].h())?.sqr()?.mean_all()
    });
    let costs = costs.expect("a calibration");
    let forecast = costs.forecast(&plan(&costs, &[0, 1])).expect("a forecast");
    assert!(forecast.unknown.is_empty(), "{:?}", forecast.unknown);
    let products = |rows: usize, k: usize, n: usize| (2 * rows * k * n + rows * n) as u64;
    let gates = products(batch, inputs, 4 * hidden) + products(batch, hidden, 4 * hidden);
    assert_eq!(forecast.flops, steps as u64 * gates + products(batch, hidden, 1));
}

/// A small language model whose embedding table and head are one parameter.
#[derive(Debug)]
struct Tied {
    table: Embedding,
    body: Linear,
    head: Linear,
}

impl Freezable for Tied {
    const LEAVES: crate::model::LeafTree = crate::model::LeafTree::EMPTY;

    fn map_params(&self, mapper: &mut crate::model::Mapper<'_>) -> crate::error::Result<Self> {
        Ok(Self {
            table: mapper.part("table", &self.table)?,
            body: mapper.part("body", &self.body)?,
            head: mapper.part("head", &self.head)?,
        })
    }
}

#[test]
fn the_leaves_of_a_tied_parameter_freeze_on_their_own() {
    let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Cpu);
    let (words, width, batch) = (20, 6, 2);
    let table = embedding(words, width, vb.pp("table")).expect("a layer");
    let head = Linear::new(table.embeddings().clone(), None);
    let body = linear(width, width, vb.pp("body")).expect("a layer");
    let net = Freezer::new(Tied { table, body, head }).expect("a freezer");
    let costs = calibrate(&net, |net| {
        let x = net.table.forward(&Tensor::new(&[1u32, 7], &Cpu)?)?;
        net.head.forward(&net.body.forward(&x)?)?.sqr()?.mean_all()
    });
    let costs = costs.expect("a calibration");
    let called: Vec<&[usize]> = costs.calls.iter().map(|call| &call.leaves[..]).collect();
    assert_eq!(called, [&[0][..], &[1], &[2]]);
    let (x, table) = (batch * width, words * width);
    let (lookup, head) = (x as u64, (2 * batch * table) as u64);
    let body = (2 * x * width + x) as u64;
    let forward = lookup + body + head;
    let bias = x as u64;
    let weight = 2 * (x * width) as u64;
    // What is frozen; operations beyond the forward; elements that have gradients and that are kept.
    let own = width * width + width;
    let rows: [(&[usize], u64, usize, usize); 7] = [
        (&[], 2 * head + 2 * weight + bias + lookup, table + own, 2 * x + batch * words),
        (&[0], 2 * head + weight + bias, table + own, x + batch * words),
        // Only the head trains: the parameter changes, but nothing before the head is considered.
        (&[0, 1], head, table, batch * words),
        // Only the table trains: the backward goes all the way, without the weights in between.
        (&[1, 2], head + weight + lookup, table, 2 * x + batch * words),
        (&[2], head + 2 * weight + bias + lookup, table + own, 2 * x + batch * words),
        (&[0, 2], head + weight + bias, own, x + batch * words),
        (&[0, 1, 2], 0, 0, 0),
    ];
    for (frozen, backward, trained, kept) in rows {
        let forecast = costs.forecast(&plan(&costs, frozen)).expect("a forecast");
        assert_eq!(forecast.flops - forward, backward, "{frozen:?}");
        assert_eq!(forecast.gradient_bytes, 4 * trained, "{frozen:?}");
        assert_eq!(forecast.activation_bytes, 4 * kept, "{frozen:?}");
    }
}
