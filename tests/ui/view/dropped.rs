#![deny(unused_must_use)]

use candle_nn::Linear;
use freeze_core::{Freezable, FreezePlan, Freezer, Result};

fn takes_views_and_drops_them(model: &Linear, net: &Freezer<Linear>, plan: &FreezePlan) -> Result<()> {
    model.freeze_upto(1)?;
    model.view(plan)?;
    net.view(plan)?;
    net.frozen_view()?;
    let _frozen: Linear = model.freeze_upto(1)?.into_inner();
    Ok(())
}

fn main() {}
