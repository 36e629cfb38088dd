//! Recurrent layers as in candle-nn, with accessible tensors.

mod gru;
mod lstm;

pub use gru::{Gru, gru};
pub use lstm::{Lstm, lstm};

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Init, VarBuilder};

use super::ops::linear;
use crate::model::Mapper;

/// The tensors of both layers: input and hidden weights and their biases, with the gates stacked.
#[derive(Clone, Debug)]
struct Gates {
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Option<Tensor>,
    b_hh: Option<Tensor>,
    hidden_dim: usize,
    /// The suffix of the tensors' names, such as `_l0`.
    suffix: String,
    device: Device,
    dtype: DType,
}

/// The initialisation of the four tensors.
struct Inits {
    w_ih: Init,
    w_hh: Init,
    b_ih: Option<Init>,
    b_hh: Option<Init>,
}

impl Gates {
    fn new(
        gates: usize,
        in_dim: usize,
        hidden_dim: usize,
        suffix: String,
        inits: Inits,
        vb: &VarBuilder<'_>,
    ) -> Result<Self> {
        let rows = gates * hidden_dim;
        let weight = |kind: &str, columns, init| {
            vb.get_with_hints((rows, columns), &format!("weight_{kind}{suffix}"), init)
        };
        let bias = |kind: &str, init: Option<Init>| {
            init.map(|init| vb.get_with_hints(rows, &format!("bias_{kind}{suffix}"), init))
                .transpose()
        };
        Ok(Self {
            w_ih: weight("ih", in_dim, inits.w_ih)?,
            w_hh: weight("hh", hidden_dim, inits.w_hh)?,
            b_ih: bias("ih", inits.b_ih)?,
            b_hh: bias("hh", inits.b_hh)?,
            hidden_dim,
            device: vb.device().clone(),
            dtype: vb.dtype(),
            suffix,
        })
    }

    /// The projections of the input and of the hidden state, `[batch, gates * hidden]` each.
    fn project(&self, input: &Tensor, hidden: &Tensor) -> Result<(Tensor, Tensor)> {
        let input = linear(input, &self.w_ih, self.b_ih.as_ref())?;
        Ok((input, linear(hidden, &self.w_hh, self.b_hh.as_ref())?))
    }

    fn zeros(&self, batch: usize) -> Result<Tensor> {
        Tensor::zeros((batch, self.hidden_dim), self.dtype, &self.device)
    }

    fn map(&self, mapper: &mut Mapper<'_>) -> crate::error::Result<Self> {
        let name = |kind: &str| format!("{kind}{}", self.suffix);
        Ok(Self {
            w_ih: mapper.weight(&name("weight_ih"), &self.w_ih)?,
            w_hh: mapper.weight(&name("weight_hh"), &self.w_hh)?,
            b_ih: mapper.optional(&name("bias_ih"), self.b_ih.as_ref())?,
            b_hh: mapper.optional(&name("bias_hh"), self.b_hh.as_ref())?,
            ..self.clone()
        })
    }
}

/// The methods of both layers.
macro_rules! accessors {
    ($layer:ident, $config:ident) => {
        impl $layer {
            /// The layer's configuration.
            pub fn config(&self) -> &$config {
                &self.config
            }

            /// The size of the hidden state.
            pub fn hidden_dim(&self) -> usize {
                self.gates.hidden_dim
            }

            /// The weights of the input, `[gates * hidden, in]`.
            pub fn weight_ih(&self) -> &Tensor {
                &self.gates.w_ih
            }

            /// The weights of the hidden state, `[gates * hidden, hidden]`.
            pub fn weight_hh(&self) -> &Tensor {
                &self.gates.w_hh
            }

            /// The bias of the input's projection, `[gates * hidden]`.
            pub fn bias_ih(&self) -> Option<&Tensor> {
                self.gates.b_ih.as_ref()
            }

            /// The bias of the hidden state's projection, `[gates * hidden]`.
            pub fn bias_hh(&self) -> Option<&Tensor> {
                self.gates.b_hh.as_ref()
            }
        }

        #[diagnostic::do_not_recommend]
        impl $crate::Freezable for $layer {
            const LEAVES: $crate::LeafTree = $crate::LeafTree::leaf(stringify!($layer));

            fn map_params(&self, mapper: &mut $crate::Mapper<'_>) -> $crate::Result<Self> {
                mapper.leaf(stringify!($layer), |mapper| {
                    Ok(Self { gates: self.gates.map(mapper)?, config: self.config })
                })
            }
        }
    };
}
use accessors;
