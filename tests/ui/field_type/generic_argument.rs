use candle_nn::Linear;
use freeze_core::Freezable;

struct Cache;

#[derive(Freezable)]
struct Net<L> {
    body: L,
    head: Linear,
}

fn depth<M: Freezable>(_: &M) -> usize {
    0
}

fn count(net: &Net<Cache>) -> usize {
    depth(net)
}

fn main() {}
