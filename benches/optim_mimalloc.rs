//! Optimizer steps under mimalloc: `cargo bench --bench optim_mimalloc`.

#[path = "optim/mod.rs"]
mod contest;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> candle_core::Result<()> {
    contest::run("mimalloc")
}
