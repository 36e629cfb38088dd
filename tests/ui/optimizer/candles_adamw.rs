use freeze_core::{Change, Freezable, Freezer, Result};

fn thaw<M: Freezable>(net: &mut Freezer<M>, opt: &mut candle_nn::AdamW) -> Result<Change> {
    net.thaw(&mut [opt])
}

fn main() {}
