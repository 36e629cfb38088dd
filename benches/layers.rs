//! Training steps of frozen models under the default allocator: `cargo bench --bench layers`, with
//! `-- --quick` on small models.

#[path = "layers/mod.rs"]
mod layers;

fn main() -> candle_core::Result<()> {
    layers::run("system")
}
