//! Attention by itself beside PyTorch's, in turns.

use std::time::Instant;

use candle_core::{Device::Cpu, Error, Result, Var};
use freeze_core::nn::ops::{AttentionMask, scaled_dot_product_attention};

use super::beside::{ROUNDS, STEPS, medians};
use super::clock::{median, ms};
use super::peer::Peer;

/// Measures causal attention of four heads of 64 at three lengths of the sequence, and prints the table.
pub(crate) fn beside(peer: &mut Peer) -> Result<()> {
    println!("\n(iv) causal attention, 4 heads of 64; {ROUNDS} rounds of {STEPS}; {}", peer.name);
    println!(
        "{:>12} | {:>8} {:>8} {:>6} | {:>8} {:>8} {:>6}",
        "sequence", "ours", "torch", "ratio", "backward", "torch", "ratio"
    );
    for sequence in [64, 512, 2048] {
        let operand = || Var::randn(0f32, 1., ((1024 / sequence).max(1), 4, sequence, 64), &Cpu);
        let operands = [operand()?, operand()?, operand()?];
        let turn = || -> Result<(f64, f64)> {
            step(&operands)?;
            let taken: Vec<_> = (0..STEPS).map(|_| step(&operands)).collect::<Result<_>>()?;
            let (steps, backwards) = taken.into_iter().unzip();
            Ok((median(steps), median(backwards)))
        };
        let (mut steps, mut backwards) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (step, backward) = turn()?;
            let label = sequence.to_string();
            let torch = peer.take("attention", &label, STEPS).map_err(Error::wrap)?;
            steps.push((step, torch.step));
            backwards.push((backward, torch.backward));
        }
        let ([step, torch, ratio], [backward, torch_backward, backward_ratio]) =
            (medians(&steps), medians(&backwards));
        println!(
            "{sequence:>12} | {:>8} {:>8} {ratio:>6.2} | {:>8} {:>8} {backward_ratio:>6.2}",
            ms(step),
            ms(torch),
            ms(backward),
            ms(torch_backward),
        );
    }
    Ok(())
}

/// Seconds of forward and backward, and of the backward.
fn step([q, k, v]: &[Var; 3]) -> Result<(f64, f64)> {
    let start = Instant::now();
    let loss = scaled_dot_product_attention(q, k, v, AttentionMask::Causal, None)?.sum_all()?;
    let forward = Instant::now();
    freeze_core::backward(&loss)?;
    Ok((start.elapsed().as_secs_f64(), forward.elapsed().as_secs_f64()))
}
