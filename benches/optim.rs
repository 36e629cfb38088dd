//! Optimizer steps under the default allocator: `cargo bench --bench optim`.

#[path = "optim/mod.rs"]
mod contest;

fn main() -> candle_core::Result<()> {
    contest::run("system")
}
