//! Training steps of frozen models under mimalloc: `cargo bench --bench layers_mimalloc`.

#[path = "layers/mod.rs"]
mod layers;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> candle_core::Result<()> {
    layers::run("mimalloc")
}
