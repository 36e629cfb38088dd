//! The blocks that take turns under a base plan.

use super::turns::Turn;
use crate::error::{Result, listed};
use crate::plan::{FreezePlan, LeafState, matching_any};
use crate::policy::{Blocks, By, Decision};

/// Which blocks take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// Those of the body: see [`Blocks::body`].
    Body,
    /// All.
    All,
}

/// What becomes of leaves in none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    Trains,
    Freezes,
}

impl Rest {
    /// What a setting such as `train_rest` says.
    pub(super) fn trained_if(trained: bool) -> Self {
        if trained { Self::Trains } else { Self::Freezes }
    }
}

/// The blocks that take turns: each has a leaf that trains in the base plan and not in every turn.
#[derive(Debug)]
pub(super) struct Members {
    blocks: Vec<Member>,
    /// For each leaf, what the turns mean to it.
    leaves: Vec<Role>,
}

#[derive(Debug)]
struct Member {
    name: String,
    leaves: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It is in the member at this index.
    Member(usize),
    /// It is in every turn, by a pattern or by its declaration.
    EveryTurn,
    Rest,
}

impl Members {
    /// The members under `base`. Leaves that one of `also` matches train in every turn.
    ///
    /// # Errors
    ///
    /// A pattern cannot be read or matches no leaf.
    pub(super) fn of(base: &FreezePlan, by: &By, who: Who, also: &[String]) -> Result<Self> {
        let paths = base.paths();
        let role = |leaf| if base.is_always(leaf) { Role::EveryTurn } else { Role::Rest };
        let mut leaves: Vec<Role> = (0..base.len()).map(role).collect();
        for pattern in also {
            matching_any(pattern, paths)?
                .into_iter()
                .for_each(|leaf| leaves[leaf] = Role::EveryTurn);
        }
        let blocks = Blocks::of(paths, by)?;
        let chosen = match who {
            Who::Body => blocks.body(),
            Who::All => (0..blocks.len()).collect(),
        };
        let names: Vec<&str> = blocks.names().collect();
        let mut members = Vec::new();
        for block in chosen {
            let is_free = |leaf: &&usize| {
                leaves[**leaf] == Role::Rest && base.state(**leaf).is_some_and(|s| !s.is_frozen())
            };
            let own: Vec<usize> = blocks.leaves(block).iter().filter(is_free).copied().collect();
            if own.is_empty() {
                continue;
            }
            own.iter().for_each(|&leaf| leaves[leaf] = Role::Member(members.len()));
            members.push(Member { name: names[block].into(), leaves: own });
        }
        Ok(Self { blocks: members, leaves })
    }

    /// The number of members.
    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Their names, in the order of their first leaves.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.blocks.iter().map(|member| member.name.as_str())
    }

    /// The leaves of the member at `index`; empty if there is none.
    pub(super) fn leaves(&self, index: usize) -> &[usize] {
        self.blocks.get(index).map_or(&[], |member| &member.leaves)
    }

    /// The decision that the members at `active` train in `turn`, with a reason for each leaf, which
    /// ends with `how`.
    pub(super) fn decision(
        &self,
        base: &FreezePlan,
        active: &[usize],
        rest: Rest,
        turn: Turn,
        how: &str,
    ) -> Result<Decision> {
        let trains = |role: Role| match role {
            Role::Member(member) => active.contains(&member),
            Role::EveryTurn => true,
            Role::Rest => rest == Rest::Trains,
        };
        let mut plan = base.clone();
        for (leaf, _) in self.leaves.iter().enumerate().filter(|(_, role)| !trains(**role)) {
            plan.set(leaf, LeafState::Frozen)?;
        }
        let names = active.iter().filter_map(|&member| self.blocks.get(member));
        let names = listed(names.map(|member| &member.name));
        let (count, all, (from, to)) = (active.len(), self.len(), turn.steps);
        let whose = match count {
            0 => format!("no block of {all} trains"),
            _ => format!("the turn is that of {names}, {count} of {all} blocks,"),
        };
        let whose = format!("{whose} in steps {} to {to}{how}", from.saturating_add(1));
        let mut decision = Decision::new(plan);
        for (path, &role) in base.paths().iter().zip(&self.leaves) {
            let turned = if trains(role) { "thawed" } else { "froze" };
            decision = match role {
                Role::EveryTurn => decision,
                Role::Member(_) => decision.because(path, format!("{turned}: {whose}")),
                Role::Rest => {
                    let text = format!("{turned}: it is in none of the {all} blocks with turns");
                    decision.because(path, text)
                }
            };
        }
        Ok(decision)
    }

    /// The indices of the leaves that train in a plan.
    pub(super) fn trained(plan: &FreezePlan) -> Vec<usize> {
        let states = plan.states().iter().enumerate();
        states.filter(|(_, state)| !state.is_frozen()).map(|(leaf, _)| leaf).collect()
    }
}
