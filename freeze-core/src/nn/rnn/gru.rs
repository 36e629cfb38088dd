//! Gated recurrent unit (Cho et al., 2014), in the form of candle, cuDNN and PyTorch: the reset gate multiplies
//! the hidden state's product with the weights, not the hidden state.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use candle_nn::ops::sigmoid;
use candle_nn::rnn::{GRUConfig, GRUState, RNN};

use super::{Gates, Inits, accessors};

/// One GRU layer: `candle_nn::GRU` with accessible tensors.
#[derive(Clone, Debug)]
pub struct Gru {
    gates: Gates,
    config: GRUConfig,
}

accessors!(Gru, GRUConfig);

impl Gru {
    /// Reads `weight_ih_l0`, `weight_hh_l0` and, if the config has them, `bias_ih_l0` and
    /// `bias_hh_l0`.
    ///
    /// # Errors
    ///
    /// The builder has no such tensors.
    pub fn new(
        in_dim: usize,
        hidden_dim: usize,
        config: GRUConfig,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let inits = Inits {
            w_ih: config.w_ih_init,
            w_hh: config.w_hh_init,
            b_ih: config.b_ih_init,
            b_hh: config.b_hh_init,
        };
        let suffix = "_l0".to_string();
        Ok(Self { gates: Gates::new(3, in_dim, hidden_dim, suffix, inits, &vb)?, config })
    }
}

/// A GRU layer; see [`Gru::new`].
///
/// # Errors
///
/// As [`Gru::new`].
pub fn gru(in_dim: usize, hidden_dim: usize, config: GRUConfig, vb: VarBuilder<'_>) -> Result<Gru> {
    Gru::new(in_dim, hidden_dim, config, vb)
}

impl RNN for Gru {
    type State = GRUState;

    fn zero_state(&self, batch_dim: usize) -> Result<GRUState> {
        Ok(GRUState { h: self.gates.zeros(batch_dim)? })
    }

    fn step(&self, input: &Tensor, state: &GRUState) -> Result<GRUState> {
        let (input, hidden) = self.gates.project(input, &state.h)?;
        let (input, hidden) = (input.chunk(3, 1)?, hidden.chunk(3, 1)?);
        let reset = sigmoid(&(&input[0] + &hidden[0])?)?;
        let update = sigmoid(&(&input[1] + &hidden[1])?)?;
        let fresh = (&input[2] + (reset * &hidden[2])?)?.tanh()?;
        let h = ((&update * &state.h)? - ((&update - 1.)? * fresh)?)?;
        Ok(GRUState { h })
    }

    /// The hidden states side by side, `[batch, steps * hidden]`: candle's shape, unlike the LSTM's.
    fn states_to_tensor(&self, states: &[GRUState]) -> Result<Tensor> {
        let hidden: Vec<&Tensor> = states.iter().map(|state| &state.h).collect();
        Tensor::cat(&hidden, 1)
    }
}
