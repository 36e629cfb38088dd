//! Queries for a layer that is being mapped.

use super::Mapper;
use super::paths::frozen_groups;
use crate::model::BatchNormPolicy;
use crate::plan::LeafState;

impl Mapper<'_> {
    /// The state of the leaf being mapped; outside a leaf, trained.
    ///
    /// A layer that behaves differently when frozen asks here and never infers it from its tensors.
    /// It must not use the rate of a trained leaf, because a plan that changes only rates makes no
    /// new view.
    pub fn state(&self) -> LeafState {
        let index = self.heads.len().wrapping_sub(1);
        match self.open {
            Some(_) => self.states.get(index).copied().unwrap_or(LeafState::TRAINED),
            None => LeafState::TRAINED,
        }
    }

    /// Whether the struct that holds the part being mapped is frozen as a whole: all leaves of the
    /// nearest group around it that has any. Inside a leaf, whether that is frozen.
    ///
    /// A part without parameters of its own, such as a dropout, asks here.
    pub fn enclosing_frozen(&self) -> bool {
        if self.open.is_some() {
            return self.state().is_frozen();
        }
        let groups = self.frozen_groups.get_or_init(|| frozen_groups(self.paths, self.states));
        let mut group = self.path.as_str();
        while !group.is_empty() {
            group = group.rfind('.').map_or("", |dot| &group[..dot]);
            if let Some(frozen) = groups.get(group) {
                return *frozen;
            }
        }
        false
    }

    /// What a frozen batch norm is to normalise by.
    pub fn batch_norm(&self) -> BatchNormPolicy {
        self.batch_norm
    }

    /// The path of the part being mapped.
    pub fn path(&self) -> &str {
        &self.path
    }
}
