//! `#[derive(Freezable)]` for freeze-core, which exports it: depend on that crate, not on this one.
//!
//! Three stages: `parse` reads the input and its attributes, `check` checks them and builds a valid
//! model, `expand` writes the impl. For an input with errors all of them are reported at once, with
//! an impl by `fallback`.

mod attr;
mod bounds;
mod check;
mod declared;
mod errors;
mod expand;
mod fallback;
mod flow;
mod lints;
mod model;
mod names;
mod parse;
mod part;
mod paths;
mod recursion;
mod stages;
mod walk;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

use crate::errors::Errors;

/// Implements `Freezable`: lists a model's leaf layers in order, at compile time.
///
/// The order is the order of declaration. Each field is one segment of the path (`0`, `1`, .. in a
/// tuple struct), and its type must be `Freezable` itself: candle's layers, types that derive it,
/// `Vec`s, arrays and tuples of such (a segment for each index), maps (for each key), `Option`,
/// `Box` and `Arc` (no segment of their own); the trait lists them all. Types without parameters,
/// such as `Activation` or `usize`, add no leaf. A type that is not `Freezable` is a compile error:
/// nothing is left out silently.
///
/// ```
/// use candle_nn::{Activation, Conv2d, Linear};
/// use freeze_core::Freezable;
///
/// #[derive(Freezable)]
/// struct Block {
///     conv: Conv2d,
///     act: Activation,
/// }
///
/// #[derive(Freezable)]
/// struct Net {
///     stem: Conv2d,
///     blocks: [Block; 2],
///     head: Linear,
/// }
///
/// // stem, blocks.0.conv, blocks.1.conv, head
/// const BODY: usize = Net::LEAVES.before("head"); // a wrong name fails to compile
/// assert_eq!((Net::LEAVES.len(), BODY), (Some(4), 3));
/// ```
///
/// The variant of an **enum** adds nothing to the path. The field of a variant like `One(Linear)`
/// adds nothing either; the fields of any other variant are like those of a struct. A variant
/// without fields has no leaves.
///
/// ```
/// # use candle_nn::Linear;
/// # use freeze_core::Freezable;
/// #[derive(Freezable)]
/// enum Head {
///     One(Linear),                       // head
///     Two { left: Linear, right: Linear }, // head.left, head.right
///     Absent,
/// }
/// # #[derive(Freezable)]
/// # struct Net { head: Head }
/// # let linear = || Linear::new(candle_core::Tensor::zeros((1, 1), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap(), None);
/// # let paths = |head| Net { head }.leaves().unwrap().into_iter().map(|leaf| leaf.path).collect::<Vec<_>>();
/// # assert_eq!(paths(Head::One(linear())), ["head"]);
/// # assert_eq!(paths(Head::Two { left: linear(), right: linear() }), ["head.left", "head.right"]);
/// # assert!(paths(Head::Absent).is_empty());
/// ```
///
/// # On a field
///
/// **`#[freeze(skip)]`**: the field has no leaf. It must be `Clone`; every view gets a clone. Wrap
/// what is not `Clone`, such as a closure or a lock, in `Arc`. If it has parameters, they are not
/// in plans, optimizers or checkpoints.
///
/// **`#[freeze(param)]`**: a bare `Tensor`, `Option<Tensor>`, or a `Vec` or array of these, is a leaf
/// of its own.
///
/// **`#[freeze(rename = "..")]`**: another path segment, such as the one in a checkpoint, or several joined
/// by dots: `"encoder.layer"`.
///
/// **`#[freeze(unit)]`**: everything in the field is one leaf and freezes as a whole.
///
/// ```
/// # use candle_core::Tensor;
/// # use candle_nn::Linear;
/// # use freeze_core::Freezable;
/// #[derive(Freezable)]
/// struct Net {
///     #[freeze(param, rename = "wpe")]
///     position: Tensor, // wpe
///     #[freeze(unit)]
///     adapter: Vec<Linear>, // adapter, with adapter.0.weight and so on in it
///     #[freeze(skip)]
///     heads: usize,
///     out: Linear, // out
/// }
///
/// assert_eq!(Net::LEAVES.len(), Some(3));
/// assert_eq!(Net::LEAVES.through("wpe"), 1);
/// assert_eq!(Net::LEAVES.before("out"), 2);
/// ```
///
/// # How it trains
///
/// On a field, or on the struct or enum for everything in it:
///
/// **`#[freeze(frozen)]`**: frozen from the start, until it is thawed by hand.
///
/// **`#[freeze(always)]`**: no schedule freezes it, nor does `freeze_upto` or `freeze_front`; it
/// can be frozen by name.
///
/// **`#[freeze(lr = 0.1)]`**: trained at this share of the learning rate, a constant expression.
///
/// **`#[freeze(no_decay)]`**: without weight decay, unless a parameter group of the optimizer sets
/// one.
///
/// For each leaf the nearest attribute wins: one on its field before one on the type around it, and
/// that before one on the field that holds the type. So an `lr` further in overrides `frozen`, but
/// not `always`. Rates multiply. A unit is one leaf: put attributes on it, not inside it. A model
/// in a `Freezer` starts as declared, and schedules refine that; plans set by hand at run time
/// override it.
///
/// ```
/// # use candle_nn::{Embedding, LayerNorm, Linear};
/// # use freeze_core::{Declared, Freezable};
/// #[derive(Freezable)]
/// struct Block {
///     #[freeze(no_decay)]
///     norm: LayerNorm,
///     #[freeze(lr = 0.5)]
///     linear: Linear,
/// }
///
/// #[derive(Freezable)]
/// struct Net {
///     #[freeze(frozen)]
///     embed: Embedding,
///     #[freeze(lr = 0.1)]
///     body: [Block; 4],
///     #[freeze(always)]
///     head: Linear,
/// }
///
/// const LINEAR: Declared = Net::LEAVES.declared("body.3.linear"); // and so on at compile time
/// assert_eq!(LINEAR.lr_scale(), 0.1 * 0.5);
/// assert!(Net::LEAVES.declared("body.0.norm").is_spared_decay());
/// ```
///
/// # On a struct
///
/// **`#[freeze(stages)]`**: the fields are the stages of the forward, in the order of declaration.
/// The derive writes an enum of them next to the struct, with the same visibility: `NetStage` for
/// `Net`, or `#[freeze(stages = "Place")]` for another name. The model then implements `Stages`;
/// implement `Staged` with `run`, which computes each stage.
///
/// A field is the variant of the same name, `LayerNorm` for `layer_norm`; `Display` prints the path
/// of the field, renamed or not. A field whose type is written as a list is one stage for each
/// item: `Vec<..>`, `VecDeque<..>`, `[..; N]` and `Box<[..]>` add an index, also nested and behind
/// `Option`, `Box`, `Rc` and `Arc`. A list behind an alias or a type parameter is one stage, and so
/// is a single leaf, a `unit` or a `param`. An `Option` without a value is no stage, nor is a
/// skipped field.
///
/// **`#[freeze(no_stage)]`** on a field: it is no stage, though its layers freeze, count and are
/// saved like others. For parts that several stages use, such as a dropout, and for settings.
///
/// ```
/// # use candle_nn::Linear;
/// # use freeze_core::{Freezable, Stages};
/// #[derive(Freezable)]
/// #[freeze(stages)]
/// struct Net {
///     stem: Linear,                // NetStage::Stem
///     #[freeze(rename = "layers")]
///     groups: [Vec<Linear>; 2],    // NetStage::Groups(0, 0) and so on, shown as `layers.0.0`
///     #[freeze(no_stage)]
///     dropout: freeze_core::nn::Dropout,
///     neck: Option<Linear>,        // NetStage::Neck, if there is one
///     head: Linear,                // NetStage::Head
/// }
/// # let linear = || Linear::new(candle_core::Tensor::zeros((1, 1), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap(), None);
/// # let groups = [vec![linear()], vec![linear(), linear()]];
/// # let dropout = freeze_core::nn::Dropout::new(0.5, 1)?;
/// # let net = Net { stem: linear(), groups, dropout, neck: None, head: linear() };
///
/// assert_eq!(net.stages().len(), 5);
/// assert!(NetStage::Groups(1, 0) < NetStage::Head);
/// assert_eq!(NetStage::Groups(1, 0).to_string(), "layers.1.0");
/// # Ok::<(), freeze_core::Error>(())
/// ```
///
/// # On the struct or enum
///
/// **`#[freeze(unit)]`**: every value of the type is one leaf, so that each block of a `Vec<Block>`
/// freezes as a whole.
///
/// **`#[freeze(crate = "..")]`**: the path of freeze-core, if it is not `::freeze_core`: an
/// absolute path such as `::my_crate::freeze` or `crate::freeze`.
///
/// **`#[freeze(bound = "..")]`**: the where-predicates of the impl instead of the inferred ones.
/// The inferred ones are, for each field type that mentions a type parameter, that the *field type*
/// is `Freezable` (`Skipped`, which means `Clone`, if it is skipped). A field type that names the
/// derived type, as in `Vec<Tree<T>>`, needs no bound; if it also names a parameter elsewhere, as
/// in `Vec<(T, Tree<T>)>`, the bound is that `T` is `Freezable`. Only `Self` and the bare name are
/// recognised as the derived type: one that contains itself by an alias or another path, and two
/// generic types that contain each other, need this attribute. Without it they are a compile error
/// that says so:
///
/// ```
/// # use candle_nn::Linear;
/// # use freeze_core::Freezable;
/// #[derive(Freezable)]
/// #[freeze(bound = "L: Freezable")]
/// struct Down<L> {
///     layer: L,
///     inner: Option<Box<Up<L>>>,
/// }
///
/// #[derive(Freezable)]
/// #[freeze(bound = "L: Freezable", unit, crate = "::freeze_core")]
/// struct Up<L> {
///     layer: L,
///     inner: Option<Box<Down<L>>>,
/// }
///
/// assert_eq!(Up::<Linear>::LEAVES.len(), Some(1));
/// assert_eq!(Down::<Linear>::LEAVES.len(), None); // an `Option` decides
/// ```
#[proc_macro_derive(Freezable, attributes(freeze))]
pub fn derive_freezable(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    let mut errors = Errors::default();
    let parsed = parse::parse(&input, &mut errors);
    match check::check(&parsed, errors) {
        Ok(model) => [expand::expand(&model), stages::expand(&model)].into_iter().collect(),
        Err(faults) => fallback::fallback(&parsed, faults),
    }
    .into()
}

/// Lets a struct of tensors flow between the stages of a model.
///
/// Each field is a part of the flow, in the order of declaration; its type must implement `Flow`.
/// **`#[freeze(crate = "..")]`** on the struct: the path of freeze-core, if it is not
/// `::freeze_core`.
///
/// ```
/// use candle_core::Tensor;
/// use freeze_core::Flow;
///
/// #[derive(Flow)]
/// struct Hidden {
///     states: Tensor,
///     residual: Option<Tensor>,
/// }
/// ```
#[proc_macro_derive(Flow, attributes(freeze))]
pub fn derive_flow(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    flow::derive(&input).into()
}
