//! The leaves that a budget chooses from, in units that train together.

use super::settings::BudgetSettings;
use crate::error::Result;
use crate::forecast::Calibration;
use crate::plan::{FreezePlan, LeafState};
use crate::policy::Blocks;

/// Leaves that train together or not at all.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub(super) leaves: Vec<usize>,
    /// How far from the output it is: the operation from which on a backward must reach to train it.
    pub(super) depth: usize,
    /// Whether the operations of its first leaf are not recorded, so that it is unknown how far a
    /// backward goes that ends there.
    pub(super) is_blind: bool,
}

/// What may be chosen, and what trains in any case.
#[derive(Debug)]
pub(super) struct Units {
    /// Those nearest to the output first.
    pub(super) list: Vec<Unit>,
    /// The base plan's states with all units frozen.
    pub(super) rest: Vec<LeafState>,
    /// The first operation of what trains in any case; `None` if nothing does.
    pub(super) rest_depth: Option<usize>,
}

impl Units {
    /// The leaves with variables that `base` trains. Those declared `always`, and those in no block,
    /// train in any case.
    pub(super) fn of(
        costs: &Calibration,
        base: &FreezePlan,
        settings: &BudgetSettings,
    ) -> Result<Self> {
        costs.check_plan(base)?;
        let blocks = Blocks::of(base.paths(), &settings.by)?;
        let trains = |leaf: usize| {
            base.state(leaf).is_some_and(|state| !state.is_frozen()) && costs.has_variables(leaf)
        };
        let mut rest = base.states().to_vec();
        let mut grouped: Vec<Vec<usize>> = Vec::new();
        for block in 0..blocks.len() {
            let leaves = blocks.leaves(block).iter().copied();
            let leaves: Vec<usize> =
                leaves.filter(|&leaf| trains(leaf) && !base.is_always(leaf)).collect();
            for &leaf in &leaves {
                rest[leaf] = LeafState::Frozen;
            }
            grouped.push(leaves);
        }
        grouped.retain(|leaves| !leaves.is_empty());
        let kept: Vec<usize> = (0..rest.len())
            .filter(|&leaf| trains(leaf) && rest.get(leaf).is_some_and(|state| !state.is_frozen()))
            .collect();
        let first = |leaves: &[usize]| leaves.iter().copied().min().unwrap_or_default();
        // The depths of what is recorded, with the first leaf.
        let kept_each = kept.iter().map(|&leaf| vec![leaf]);
        let known: Vec<(usize, usize)> = (grouped.iter().cloned().chain(kept_each))
            .filter(|leaves| costs.is_recorded(first(leaves)))
            .filter_map(|leaves| Some((first(&leaves), costs.first_call_of(&leaves)?)))
            .collect();
        let unit = |leaves: Vec<usize>| {
            let first = first(&leaves);
            let own = known.iter().find(|(leaf, _)| *leaf == first).map(|(_, depth)| *depth);
            // Something that is recorded must train in front of it, and nothing behind it is.
            let behind = known.iter().filter(|(leaf, _)| *leaf > first).map(|(_, depth)| *depth);
            let depth = own.unwrap_or_else(|| behind.min().unwrap_or(usize::MAX));
            Unit { leaves, depth, is_blind: own.is_none() }
        };
        let mut list: Vec<Unit> = grouped.into_iter().map(unit).collect();
        list.sort_by_key(|unit| (std::cmp::Reverse(unit.depth), unit.is_blind));
        let rest_depth = match kept.is_empty() {
            true => None,
            false => Some(costs.first_call_of(&kept).unwrap_or(usize::MAX)),
        };
        Ok(Self { list, rest, rest_depth })
    }

    /// The states in which these units train beside the rest, as in `base`.
    pub(super) fn trained(&self, base: &FreezePlan, units: &[usize]) -> Vec<LeafState> {
        let mut states = self.rest.clone();
        let units = units.iter().filter_map(|&unit| self.list.get(unit));
        for &leaf in units.flat_map(|unit| &unit.leaves) {
            states[leaf] = base.states()[leaf];
        }
        states
    }
}
