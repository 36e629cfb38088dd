use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
struct Net {
    #[freeze(skpi)]
    body: Linear,
    head: Linear,
}

#[derive(Freezable)]
struct Outer {
    net: Net,
}

const BODY: usize = Net::LEAVES.before("head");

fn freeze(net: &Outer) -> freeze_core::Result<freeze_core::View<Outer>> {
    net.freeze_upto(BODY)
}

fn main() {}
