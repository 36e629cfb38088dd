//! The library under another name, where `freeze_core` means something else.

use candle_core::{DType, Device, Tensor};
use candle_nn::Linear;

pub(crate) mod facade {
    pub(crate) use ::freeze_core as thaw;
}

mod user {
    use super::facade::thaw::Freezable;

    // What `::freeze_core` would be found by if the output named it.
    #[derive(Freezable)]
    #[freeze(crate = "crate::hygiene::renamed::facade::thaw")]
    pub(super) struct Net<L> {
        pub(super) stem: L,
        #[freeze(param)]
        pub(super) scale: ::candle_core::Tensor,
        #[freeze(unit)]
        pub(super) body: Vec<L>,
        pub(super) head: Head<L>,
    }

    #[derive(Freezable)]
    #[freeze(crate = "crate::hygiene::renamed::facade::thaw")]
    pub(super) enum Head<L> {
        One(L),
        Two { left: L, right: L },
    }

    #[derive(Freezable)]
    #[freeze(crate = "::freeze_core", unit, bound = "L: Freezable")]
    pub(super) struct Block<L>(pub(super) L);
}

#[test]
fn the_library_is_found_where_the_attribute_says() {
    use facade::thaw::Freezable as _;
    use user::{Block, Head, Net};
    let linear = || {
        let weight = Tensor::zeros((1, 1), DType::F32, &Device::Cpu).expect("a tensor");
        Block(Linear::new(weight, None))
    };
    let heads = [Head::One(linear()), Head::Two { left: linear(), right: linear() }];
    for (head, leaves) in heads.into_iter().zip([4, 5]) {
        let scale = linear().0.weight().clone();
        let net = Net { stem: linear(), scale, body: vec![linear()], head };
        assert_eq!(net.leaves().expect("leaves").len(), leaves);
        let view = net.freeze_upto(1).expect("a view");
        assert!(view.stem.0.bias().is_none() && view.scale.rank() == 2 && view.body.len() == 1);
    }
}
