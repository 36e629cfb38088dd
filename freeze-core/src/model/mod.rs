//! What a model is made of, and how it looks under a plan.

mod batch_norm;
mod containers;
mod freezable;
mod freezer;
mod generator;
pub(crate) mod inspect;
mod inventory;
pub(crate) mod layers;
mod leaf;
mod leaf_tree;
pub(crate) mod mapped;
pub(crate) mod mapper;
mod plans;
mod rebuilt;
pub mod recursion;
mod summary;
mod view;
mod walk;
mod whole;

pub use batch_norm::BatchNormPolicy;
pub use containers::{Skipped, TensorParam};
pub use freezable::Freezable;
pub use freezer::Freezer;
pub(crate) use freezer::check_owners;
pub use generator::DropoutState;
pub(crate) use generator::{Generator, Rewind};
pub use leaf::{Leaf, Param};
pub use leaf_tree::{LeafTree, Part};
pub use mapper::{At, Mapper, Role, Visit};
pub use rebuilt::Rebuilt;
pub use summary::Summary;
pub use view::View;
pub use whole::Whole;
