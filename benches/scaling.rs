//! What several ranks gain, by calculation, and what the calculation is worth: `cargo bench --bench scaling`.
//!
//! First runs of up to 16 ranks whose computing and sending are sleep, beside what the calculation says of them; then
//! what it says of models that were measured on one card, on networks as their makers describe them.

#[path = "layers/clock.rs"]
#[allow(dead_code)] // processor time
mod clock;
#[path = "scaling/model.rs"]
mod model;
#[path = "scaling/simulated.rs"]
mod simulated;

use freeze_core::Result;

use clock::ms;
use model::{Exchange, Layer, Network, Sum};

fn main() -> Result<()> {
    simulate()?;
    predict();
    Ok(())
}

/// What the exchange adds to a step, in runs and by calculation.
fn simulate() -> Result<()> {
    let bytes = simulated::bytes();
    let layer = Layer { forward: 1e-3, backward: 2e-3, update: 0.0, bytes };
    let layers = [layer; 12];
    // All gradients take about as long as half of the backward.
    let network = Network { latency: 100e-6, bandwidth: 2.0 * 12.0 * bytes / 12e-3 };
    println!("| ranks | frozen | sent | alone, ms | adds, ms | by calculation | ratio |");
    println!("|---|---|---|---|---|---|---|");
    for ranks in [2, 4, 8, 16] {
        for frozen in [0, 6, 11] {
            for (sent, bucket) in [("after", None), ("within", Some(2.0 * bytes))] {
                let none = Network { latency: 0.0, bandwidth: f64::INFINITY };
                let ways = [none, network].map(|network| {
                    let sum = Sum::Ring;
                    Exchange { ranks, network, sum, bucket, halves: false, sharded: false }
                });
                let [alone, together] = ways.map(|way| simulated::step(&way, &layers, frozen));
                let (alone, said) = (alone?, ways.map(|way| way.step(&layers, frozen)));
                let (adds, said) = (together? - alone, said[1] - said[0]);
                println!(
                    "| {ranks} | {frozen} of 12 | {sent} | {} | {} | {} | {:.2} |",
                    ms(alone),
                    ms(adds),
                    ms(said),
                    adds / said
                );
            }
        }
    }
    Ok(())
}

/// A model of equal layers, measured on one card.
struct Measured {
    name: &'static str,
    layers: usize,
    /// Milliseconds: forward, backward, update of all layers.
    step: [f64; 3],
    parameters: f64,
}

/// The share of a step in which a rank computes, with half of the layers frozen and with none.
fn predict() {
    // docs/CUDA.md, an H200, f32; of the transformer only the blocks' parameters.
    let measured = [
        Measured {
            name: "12 x Linear(4096), batch 1024",
            layers: 12,
            step: [8.45, 15.81, 1.74],
            parameters: 12.0 * 4096.0 * 4097.0,
        },
        Measured {
            name: "transformer, 12 blocks of 768, 32 x 256 tokens",
            layers: 12,
            step: [40.5, 72.0, 1.5],
            parameters: 12.0 * (12.0 * 768.0 * 768.0 + 13.0 * 768.0),
        },
    ];
    // Latencies are assumed.
    let networks = [
        ("10 Gb/s Ethernet", Network { latency: 30e-6, bandwidth: 1.25e9 }),
        ("400 Gb/s InfiniBand", Network { latency: 2e-6, bandwidth: 50e9 }),
        ("NVLink 4, one machine", Network { latency: 2e-6, bandwidth: 450e9 }),
    ];
    for Measured { name, layers, step, parameters } in measured {
        let [forward, backward, update] = step.map(|ms| ms / 1e3 / layers as f64);
        let layer = Layer { forward, backward, update, bytes: 4.0 * parameters / layers as f64 };
        let layers = vec![layer; layers];
        println!("\n{name}: ms a step, and the share of it in which a rank computes");
        println!(
            "| network | ranks | frozen | alone | after: ring | tree | by shares | within | bf16, within | state sharded, within |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|");
        for (network_name, network) in networks {
            for ranks in [8, 64, 1024] {
                if network_name.starts_with("NVLink") && ranks > 8 {
                    continue;
                }
                for frozen in [0, layers.len() / 2, layers.len() - 1] {
                    let plain = Exchange {
                        ranks,
                        network,
                        sum: Sum::Ring,
                        bucket: None,
                        halves: false,
                        sharded: false,
                    };
                    let alone = Exchange { ranks: 1, ..plain }.step(&layers, frozen);
                    // `Mpi` takes pieces of 2 MB for each rank, of 16 MB at most.
                    let piece = (2.0 * 1048576.0 * ranks as f64).min(16.0 * 1048576.0);
                    let within = Exchange { bucket: Some(25e6), ..plain };
                    let ways = [
                        plain,
                        Exchange { sum: Sum::Tree, ..plain },
                        Exchange { sum: Sum::Shares { piece }, ..plain },
                        within,
                        Exchange { halves: true, ..within },
                        Exchange { sharded: true, ..within },
                    ];
                    let cells = ways.map(|way| {
                        let step = way.step(&layers, frozen);
                        format!("{} ({:.0} %)", ms(step), 100.0 * alone / step)
                    });
                    println!(
                        "| {network_name} | {ranks} | {frozen} of {} | {} | {} |",
                        layers.len(),
                        ms(alone),
                        cells.join(" | ")
                    );
                }
            }
        }
    }
}
