//! The model of both runs, and its loss.

use std::collections::BTreeMap;

use candle_core::{DType, Device, ModuleT, Result, Tensor, Var};
use candle_nn::{Linear, Module, VarBuilder, linear};
use freeze_core::Freezable;
use freeze_core::init::Seeded;
use freeze_core::nn::{BatchNorm, Dropout, batch_norm};

/// Four leaves; the dropout lies in a struct that may be frozen as a whole.
#[derive(Freezable)]
pub struct Net {
    pub stem: Linear,
    pub norm: BatchNorm,
    pub block: Block,
    pub head: Linear,
}

#[derive(Freezable)]
pub struct Block {
    pub linear: Linear,
    pub dropout: Dropout,
}

impl Net {
    pub fn new(seed: u64) -> Result<Self> {
        let vb: VarBuilder<'_> = Seeded::builder(seed, DType::F32, &Device::Cpu);
        Ok(Self {
            stem: linear(3, 4, vb.pp("stem"))?,
            norm: batch_norm(4, 1e-5, vb.pp("norm"))?,
            block: Block {
                linear: linear(4, 4, vb.pp("block"))?,
                dropout: Dropout::new(0.25, seed)?,
            },
            head: linear(4, 2, vb.pp("head"))?,
        })
    }

    /// The loss of the one batch there is; `norm` and `dropout` say whether those two train.
    pub fn loss(&self, norm: bool, dropout: bool) -> Result<Tensor> {
        let xs: Vec<f32> = (0..18u16).map(|i| f32::from(i * 7 % 11) / 5.0 - 1.0).collect();
        let xs = Tensor::from_vec(xs, (6, 3), &Device::Cpu)?;
        let xs = self.norm.forward_t(&self.stem.forward(&xs)?, norm)?.tanh()?;
        let xs = self.block.dropout.forward(&self.block.linear.forward(&xs)?, dropout)?;
        self.head.forward(&xs.tanh()?)?.powf(2.0)?.mean_all()
    }

    /// Every variable by its full name.
    pub fn vars_by_name(&self) -> Vec<(String, Var)> {
        self.named_vars().expect("variables")
    }
}

impl Net {
    /// Every tensor by its full name, as it is now.
    pub fn copied(&self) -> BTreeMap<String, Tensor> {
        let named = self.named_tensors().expect("tensors").into_iter();
        named.map(|(name, tensor)| (name, tensor.copy().expect("a copy"))).collect()
    }

    /// Sets every tensor to what [`copied`](Self::copied) has seen.
    pub fn set(&self, tensors: &BTreeMap<String, Tensor>) {
        for (name, tensor) in self.named_tensors().expect("tensors") {
            let var = Var::from_tensor(&tensor).expect("a variable");
            var.set(&tensors[&name]).expect("a new value");
        }
    }
}

/// All that a turn may change, in comparable form.
pub struct Picture {
    /// Weights and statistics, bit for bit.
    pub tensors: Vec<(String, Vec<u32>)>,
    /// The moments of what has had an update and kept its state.
    pub moments: Vec<(String, Vec<u32>, u64)>,
    pub state_bytes: usize,
    pub trained: Vec<String>,
    pub dropout_position: u64,
}

impl Picture {
    /// What differs, in short.
    pub fn differences(&self, plain: &Self) -> String {
        let mut found = String::new();
        let tensors = self.tensors.iter().zip(&plain.tensors).filter(|(real, plain)| real != plain);
        tensors.for_each(|((name, _), _)| found += &format!("`{name}`; "));
        let named = |picture: &Self| -> Vec<(String, u64)> {
            picture.moments.iter().map(|(name, _, steps)| (name.clone(), *steps)).collect()
        };
        if named(self) != named(plain) {
            found += &format!("updates {:?}, plain {:?}; ", named(self), named(plain));
        } else if self.moments != plain.moments {
            found += "moments; ";
        }
        if self.state_bytes != plain.state_bytes {
            found += &format!("{} bytes, plain {}; ", self.state_bytes, plain.state_bytes);
        }
        if self.trained != plain.trained {
            found += &format!("trained {:?}, plain {:?}; ", self.trained, plain.trained);
        }
        if self.dropout_position != plain.dropout_position {
            found += "the dropout's generator";
        }
        found
    }
}

/// What the model shows by itself.
pub fn tensors(net: &Net) -> Vec<(String, Vec<u32>)> {
    let named = net.named_tensors().expect("tensors");
    named.into_iter().map(|(name, tensor)| (name, bits(&tensor))).collect()
}

pub fn bits(tensor: &Tensor) -> Vec<u32> {
    let flat = tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>()).expect("numbers");
    flat.into_iter().map(f32::to_bits).collect()
}
