//! Long short-term memory (Hochreiter and Schmidhuber, 1997; with a forget gate).

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use candle_nn::ops::sigmoid;
use candle_nn::rnn::{Direction, LSTMConfig, LSTMState, RNN};

use super::{Gates, Inits, accessors};

/// One LSTM layer in one direction: `candle_nn::LSTM` with accessible tensors.
#[derive(Clone, Debug)]
pub struct Lstm {
    gates: Gates,
    config: LSTMConfig,
}

accessors!(Lstm, LSTMConfig);

impl Lstm {
    /// Reads `weight_ih_l0`, `weight_hh_l0` and, if the config has them, `bias_ih_l0` and
    /// `bias_hh_l0`, with the config's layer index in place of 0 and the suffix `_reverse` for the
    /// backward direction, and that is all that the direction decides, as in candle: `seq` goes from the first step to
    /// the last, so hand it the sequence reversed, and turn the states that come of it.
    ///
    /// # Errors
    ///
    /// The builder has no such tensors.
    pub fn new(
        in_dim: usize,
        hidden_dim: usize,
        config: LSTMConfig,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let direction = match config.direction {
            Direction::Forward => "",
            Direction::Backward => "_reverse",
        };
        let suffix = format!("_l{}{direction}", config.layer_idx);
        let inits = Inits {
            w_ih: config.w_ih_init,
            w_hh: config.w_hh_init,
            b_ih: config.b_ih_init,
            b_hh: config.b_hh_init,
        };
        Ok(Self { gates: Gates::new(4, in_dim, hidden_dim, suffix, inits, &vb)?, config })
    }
}

/// An LSTM layer; see [`Lstm::new`].
///
/// # Errors
///
/// As [`Lstm::new`].
pub fn lstm(
    in_dim: usize,
    hidden_dim: usize,
    config: LSTMConfig,
    vb: VarBuilder<'_>,
) -> Result<Lstm> {
    Lstm::new(in_dim, hidden_dim, config, vb)
}

impl RNN for Lstm {
    type State = LSTMState;

    fn zero_state(&self, batch_dim: usize) -> Result<LSTMState> {
        let zeros = self.gates.zeros(batch_dim)?;
        Ok(LSTMState::new(zeros.clone(), zeros))
    }

    fn step(&self, input: &Tensor, state: &LSTMState) -> Result<LSTMState> {
        let (input, hidden) = self.gates.project(input, &state.h)?;
        let gates = (input + hidden)?.chunk(4, 1)?;
        let (enter, forget, leave) =
            (sigmoid(&gates[0])?, sigmoid(&gates[1])?, sigmoid(&gates[3])?);
        let c = ((forget * &state.c)? + (enter * gates[2].tanh()?)?)?;
        let h = (leave * c.tanh()?)?;
        Ok(LSTMState::new(h, c))
    }

    /// The hidden states as `[batch, steps, hidden]`.
    fn states_to_tensor(&self, states: &[LSTMState]) -> Result<Tensor> {
        let hidden: Vec<&Tensor> = states.iter().map(|state| &state.h).collect();
        Tensor::stack(&hidden, 1)
    }
}
