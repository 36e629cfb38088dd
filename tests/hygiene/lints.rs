//! Every lint is denied at the top of this test; none may speak of the output.

use candle_core::{DType, Device, Tensor};
use candle_nn::Linear;
use freeze_core::Freezable;

mod old {
    #![allow(deprecated)]

    /// A layer that should not be used any more.
    #[deprecated = "use another"]
    #[derive(freeze_core::Freezable)]
    pub(crate) struct Layer {
        pub(crate) inner: candle_nn::Linear,
    }

    #[deprecated = "use another"]
    #[derive(Clone)]
    pub(crate) struct Config(pub(crate) u8);
}

/// The user says it once, on the type; the output says nothing.
#[derive(Freezable)]
#[allow(deprecated)]
struct Net {
    layer: old::Layer,
    layers: Vec<old::Layer>,
    #[freeze(skip)]
    config: old::Config,
    #[freeze(unit, lr = 0.1)]
    whole: [old::Layer; 1],
}

/// Said on the field.
#[derive(Freezable)]
struct OnField {
    #[allow(deprecated)]
    #[freeze(frozen)]
    layer: old::Layer,
    #[expect(deprecated)]
    other: old::Layer,
}

/// A deprecated type.
#[deprecated = "use another"]
#[derive(Freezable)]
struct Gone {
    layer: Linear,
}

/// A deprecated field and a deprecated variant.
#[derive(Freezable)]
enum Partly {
    #[deprecated = "use `Now`"]
    Before(Linear),
    Now {
        layer: Linear,
        #[deprecated = "use `layer`"]
        other: Linear,
    },
}

/// A lint that is forbidden cannot be allowed again, not even by the output.
#[forbid(deprecated)]
mod strict {
    #[derive(freeze_core::Freezable)]
    pub(crate) struct Net<T> {
        pub(crate) layer: T,
    }
}

/// A type of less visibility in a predicate.
mod visibility {
    use freeze_core::Freezable;

    #[derive(Freezable)]
    struct Hidden<T>(T);

    /// Public, as far as the compiler can tell.
    #[derive(Freezable)]
    pub(crate) struct Shown<T> {
        inner: Hidden<T>,
        recursive: Option<Box<Self>>,
    }

    pub(crate) fn shown<T>(inner: T) -> Shown<T> {
        Shown { inner: Hidden(inner), recursive: None }
    }
}

/// Names that the style lints would speak of if the output had made them.
#[derive(Freezable)]
#[allow(non_snake_case, non_camel_case_types)]
struct odd_Name<'a, T> {
    #[freeze(always, no_decay)]
    Field: T,
    pair: (T, Vec<T>),
    #[freeze(skip)]
    text: &'a str,
}

/// Of any visibility.
mod within {
    #[derive(freeze_core::Freezable)]
    #[freeze(stages)]
    pub(in crate::hygiene) struct Net {
        pub(super) body: candle_nn::Linear,
    }

    #[derive(freeze_core::Freezable)]
    #[freeze(stages = "Place")]
    #[allow(non_camel_case_types, non_snake_case)]
    pub(super) struct odd_Net {
        #[allow(deprecated)]
        pub(super) Old: super::old::Layer,
    }
}

/// A deprecated model with a deprecated stage.
#[deprecated = "use another"]
#[derive(Freezable)]
#[freeze(stages)]
struct GoneNet {
    layer: Linear,
    #[deprecated = "use `layer`"]
    other: Vec<Linear>,
}

fn linear() -> Linear {
    let weight = Tensor::zeros((1, 1), DType::F32, &Device::Cpu).expect("a tensor");
    Linear::new(weight, None)
}

#[test]
#[allow(deprecated)]
fn deprecated_types_are_derived_in_silence() {
    let old = || old::Layer { inner: linear() };
    let net = Net { layer: old(), layers: vec![old()], config: old::Config(3), whole: [old()] };
    assert_eq!(net.leaves().expect("leaves").len(), 3);
    let view = net.freeze_upto(1).expect("a view");
    assert_eq!((view.config.0, view.layers.len(), view.whole.len()), (3, 1, 1));
    assert!(view.layer.inner.bias().is_none());
    let both = OnField { layer: old(), other: old() };
    assert_eq!(both.leaves().expect("leaves").len(), 2);
    assert!(both.layer.inner.bias().is_none() && both.other.inner.bias().is_none());
    let gone = Gone { layer: linear() };
    assert_eq!((gone.leaves().expect("leaves").len(), gone.layer.bias().is_none()), (1, true));
    for (value, leaves) in
        [(Partly::Before(linear()), 1), (Partly::Now { layer: linear(), other: linear() }, 2)]
    {
        assert_eq!(value.leaves().expect("leaves").len(), leaves);
    }
}

#[test]
fn predicates_and_names_are_silent() {
    assert_eq!(visibility::shown(linear()).leaves().expect("leaves").len(), 1);
    assert!(strict::Net { layer: linear() }.freeze_upto(1).expect("a view").layer.bias().is_none());
    let odd = odd_Name { Field: linear(), pair: (linear(), vec![]), text: "text" };
    assert_eq!(odd.leaves().expect("leaves").len(), 2);
    assert!(odd.pair.0.bias().is_none() && odd.pair.1.is_empty());
    assert!(odd.Field.bias().is_none() && odd.text == "text");
}

#[test]
#[allow(deprecated)]
fn stages_are_silent() {
    use crate::shown;
    use freeze_core::{Flow as _, Stages as _};
    let net = shown::Net { layer_a: linear(), layer_b: vec![linear()], layer_c: linear() };
    let stages = [shown::NetStage::LayerA, shown::NetStage::LayerB(0), shown::NetStage::LayerC];
    assert_eq!(net.stages(), stages);
    assert_eq!(within::Net { body: linear() }.stages(), [within::NetStage::Body]);
    let odd = within::odd_Net { Old: old::Layer { inner: linear() } };
    assert_eq!(odd.stages(), [within::Place::Old]);
    assert!(odd.Old.inner.bias().is_none());
    let gone = GoneNet { layer: linear(), other: vec![linear()] };
    assert_eq!(gone.stages(), [GoneNetStage::Layer, GoneNetStage::Other(0)]);
    assert!(gone.layer.bias().is_none() && gone.other[0].bias().is_none());
    let hidden = shown::Hidden { states: linear().weight().clone() }.detached().expect("a flow");
    assert_eq!(hidden.states.rank(), 2);
}
