use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
struct Net<F> {
    #[freeze(skip)]
    act: F,
    head: Linear,
}

struct Cache;

fn count(head: Linear, cache: Cache) {
    let net = Net { act: move || drop(cache), head };
    depth(&net);
}

fn depth<M: Freezable>(_: &M) {}

fn main() {}
