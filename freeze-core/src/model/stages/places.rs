//! Finds the leaves of each stage.

use std::collections::HashSet;
use std::fmt::Display;
use std::ops::Range;

use crate::error::{Error, Result, listed};
use crate::kernel::StorageId;
use crate::model::LeafTree;
use crate::model::inspect::visit;
use crate::model::mapper::{Walk, is_at_or_below};
use crate::plan::FreezePlan;

/// The index of `stage` among the `stages` of a model; an error if it is not there.
pub(super) fn position<S: Display + PartialEq>(stages: &[S], stage: &S) -> Result<usize> {
    stages.iter().position(|one| one == stage).ok_or_else(|| {
        let why = match stages {
            [] => "the model has no stage at all".to_string(),
            _ => format!("the model has the stages {}", listed(stages.iter().map(S::to_string))),
        };
        Error::Stage { stage: stage.to_string(), why }
    })
}

/// The leaves of the stage at `path`; if it has none, the empty range after all leaves declared
/// before it.
pub(super) fn leaves_of(walk: &Walk<'_>, tree: &LeafTree, path: &str) -> Result<Range<usize>> {
    let at = place(tree, path);
    let heads = visit(walk, |_, _| {})?;
    // Leaves are in declaration order, including those that belong to no stage.
    let start = heads.partition_point(|head| place(tree, &head.path) < at);
    let inside = heads[start..].iter().take_while(|head| is_at_or_below(&head.path, path));
    Ok(start..start + inside.count())
}

/// The first of the `stages`, given by their paths, that changes in training under `plan`.
pub(super) fn first_moving(
    walk: &Walk<'_>,
    stages: &[String],
    plan: &FreezePlan,
) -> Result<Option<usize>> {
    let mut tensors: Vec<(usize, StorageId)> = Vec::new();
    let heads = visit(walk, |at, tensor| tensors.push((at.leaf, StorageId::of(tensor))))?;
    let paths: Vec<String> = heads.into_iter().map(|head| head.path).collect();
    plan.check_paths(&paths)?;
    // What has no tensors, such as a unit that is absent, does not move.
    let mut moves = vec![false; paths.len()];
    tensors.iter().for_each(|(leaf, _)| moves[*leaf] = !plan.states()[*leaf].is_frozen());
    // A frozen leaf changes with the trained one that it is tied to.
    let moved: HashSet<StorageId> =
        tensors.iter().filter(|(leaf, _)| moves[*leaf]).map(|(_, storage)| *storage).collect();
    let tied = tensors.iter().filter(|(_, storage)| moved.contains(storage));
    tied.for_each(|(leaf, _)| moves[*leaf] = true);

    let stage_of = |path: &String| {
        let position = stages.iter().position(|stage| is_at_or_below(path, stage));
        position.unwrap_or(0) // of no stage: the first may use it
    };
    let moving = moves.iter().zip(&paths).filter(|(moves, _)| **moves);
    Ok(moving.map(|(_, path)| stage_of(path)).min())
}

/// The position of the part at `path`: the index of the field in the model, then the indices of
/// items in it; what is inside a stage comes not before it.
fn place(tree: &LeafTree, path: &str) -> Vec<usize> {
    let Some((field, rest)) = tree.position(path) else { return Vec::new() };
    let items = rest.into_iter().flat_map(|rest| rest.split('.'));
    let items = items.map(|index| index.parse().unwrap_or(usize::MAX));
    [field].into_iter().chain(items).collect()
}
