//! Shows which tensors training changed, and which stayed bit-identical.

use comfy_table::Table;
use freeze_core::Freezable;

use crate::common::{Result, table};

/// Every tensor's name and elements.
pub(crate) type Snapshot = Vec<(String, Vec<f32>)>;

/// A copy of the present elements, because training writes to tensors in place.
pub(crate) fn snapshot<M: Freezable>(model: &M) -> Result<Snapshot> {
    let tensors = model.named_tensors()?.into_iter();
    let copy = tensors.map(|(name, tensor)| Ok((name, tensor.flatten_all()?.to_vec1::<f32>()?)));
    copy.collect()
}

/// One row per tensor, one column per later stage.
pub(crate) fn table(before: &Snapshot, stages: &[(&str, Snapshot)]) -> Table {
    let header = ["tensor"].into_iter().chain(stages.iter().map(|(name, _)| *name));
    let mut table = table::table(header.collect::<Vec<_>>());
    for (at, (name, elements)) in before.iter().enumerate() {
        let moved = stages.iter().map(|(_, stage)| describe(elements, &stage[at].1));
        table.add_row([name.clone()].into_iter().chain(moved));
    }
    table
}

fn describe(before: &[f32], after: &[f32]) -> String {
    if before.iter().zip(after).all(|(a, b)| a.to_bits() == b.to_bits()) {
        return "bit-identical".into();
    }
    let furthest = before.iter().zip(after).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    format!("{furthest:.5}")
}
