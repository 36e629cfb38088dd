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

    #[derive(Freezable)]
    #[freeze(crate = "crate::hygiene::renamed::facade::thaw", stages)]
    pub(super) struct Staged<L> {
        pub(super) body: Vec<L>,
        #[freeze(param)]
        pub(super) scale: ::candle_core::Tensor,
    }

    #[derive(super::facade::thaw::Flow)]
    #[freeze(crate = "crate::hygiene::renamed::facade::thaw")]
    pub(super) struct Hidden {
        pub(super) states: ::candle_core::Tensor,
    }
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

#[test]
fn stages_and_flows_are_found_there_too() {
    use facade::thaw::{Flow as _, Stages as _};
    let tensor = Tensor::zeros((1, 1), DType::F32, &Device::Cpu).expect("a tensor");
    let body = vec![Linear::new(tensor.clone(), None)];
    let net = user::Staged { body, scale: tensor.clone() };
    assert_eq!(net.stages(), [user::StagedStage::Body(0), user::StagedStage::Scale]);
    assert!(net.scale.rank() == 2 && net.body[0].bias().is_none());
    let hidden = user::Hidden { states: tensor }.detached().expect("a flow");
    assert_eq!(hidden.states.rank(), 2);
}

/// A library of the same shape: what is derived for it must name nothing of the real one.
pub(crate) mod other {
    pub(crate) mod __private {
        pub(crate) mod freeze_derive_0_1_0 {}
    }

    pub(crate) type Result<T> = std::result::Result<T, std::fmt::Error>;

    #[derive(Clone, Copy)]
    pub(crate) enum LeafTree {
        Leaf(&'static str),
        Group(&'static [Part]),
        Open(fn() -> Self),
    }

    #[derive(Clone, Copy)]
    pub(crate) struct Part {
        pub(crate) name: &'static str,
        pub(crate) layout: &'static LeafTree,
    }

    impl LeafTree {
        pub(crate) const fn leaf(kind: &'static str) -> Self {
            Self::Leaf(kind)
        }

        pub(crate) const fn group(_: &str, parts: &'static [Part]) -> Self {
            Self::Group(parts)
        }

        pub(crate) const fn open(_: &str, inside: fn() -> Self) -> Self {
            Self::Open(inside)
        }

        pub(crate) fn text(&self) -> String {
            let part = |part: &Part| format!("{} {}", part.name, part.layout.text());
            match self {
                Self::Leaf(kind) => (*kind).to_string(),
                Self::Group(parts) => {
                    format!("({})", parts.iter().map(part).collect::<Vec<_>>().join(", "))
                }
                Self::Open(inside) => format!("?{}", inside().text()),
            }
        }
    }

    pub(crate) struct Mapper<'a>(pub(crate) &'a mut Vec<String>);

    impl Mapper<'_> {
        pub(crate) fn at<R>(
            &mut self,
            name: &str,
            inside: impl FnOnce(&mut Self) -> Result<R>,
        ) -> Result<R> {
            self.0.push(name.to_string());
            inside(self)
        }

        pub(crate) fn unit<R>(
            &mut self,
            kind: &'static str,
            inside: impl FnOnce(&mut Self) -> Result<R>,
        ) -> Result<R> {
            self.0.push(format!("[{kind}]"));
            inside(self)
        }
    }

    pub(crate) trait Freezable: Sized {
        const LEAVES: LeafTree;
        fn map_params(&self, mapper: &mut Mapper<'_>) -> Result<Self>;
        fn visit_params(&self, mapper: &mut Mapper<'_>) -> Result<()>;
    }

    pub(crate) trait TensorParam: Sized {
        const LEAVES: LeafTree;
        fn map_param(&self, mapper: &mut Mapper<'_>) -> Result<Self>;
        fn visit_param(&self, mapper: &mut Mapper<'_>) -> Result<()>;
    }

    impl Freezable for u8 {
        const LEAVES: LeafTree = LeafTree::leaf("u8");

        fn map_params(&self, _: &mut Mapper<'_>) -> Result<Self> {
            Ok(self + 1)
        }

        fn visit_params(&self, _: &mut Mapper<'_>) -> Result<()> {
            Ok(())
        }
    }

    impl TensorParam for f32 {
        const LEAVES: LeafTree = LeafTree::leaf("f32");

        fn map_param(&self, _: &mut Mapper<'_>) -> Result<Self> {
            Ok(-self)
        }

        fn visit_param(&self, _: &mut Mapper<'_>) -> Result<()> {
            Ok(())
        }
    }
}

#[derive(freeze_core::Freezable)]
#[freeze(crate = "crate::hygiene::renamed::other")]
struct Foreign<T> {
    layer: T,
    #[freeze(param)]
    scale: f32,
    #[freeze(unit)]
    whole: u8,
    choice: Choice,
    block: Whole,
}

#[derive(freeze_core::Freezable)]
#[freeze(crate = "crate::hygiene::renamed::other")]
enum Choice {
    One(u8),
    Two(u8, u8),
}

#[derive(freeze_core::Freezable)]
#[freeze(crate = "crate::hygiene::renamed::other", unit)]
struct Whole(u8);

#[test]
fn nothing_of_the_library_is_named_by_any_other_path() {
    use other::{Freezable as _, Mapper};
    let text = "(layer u8, scale f32, whole u8, choice ?(One u8, Two (0 u8, 1 u8)), block Whole)";
    assert_eq!(Foreign::<u8>::LEAVES.text(), text);
    for (choice, sum, inside) in
        [(Choice::One(1), 2, vec![]), (Choice::Two(1, 2), 5, vec!["0", "1"])]
    {
        let model = Foreign { layer: 4u8, scale: 0.5, whole: 7, choice, block: Whole(8) };
        let mut seen = Vec::new();
        let mapped = model.map_params(&mut Mapper(&mut seen)).expect("mapped");
        assert_eq!((mapped.layer, mapped.whole, mapped.block.0), (5, 8, 9));
        assert_eq!(mapped.scale.to_bits(), (-0.5f32).to_bits());
        let total = match mapped.choice {
            Choice::One(a) => a,
            Choice::Two(a, b) => a + b,
        };
        assert_eq!(total, sum);
        let expected = [
            vec!["layer", "scale", "whole", "[u8]", "choice"],
            inside,
            vec!["block", "[Whole]", "0"],
        ];
        assert_eq!(seen, expected.concat());
        seen.clear();
        model.visit_params(&mut Mapper(&mut seen)).expect("visited");
        assert_eq!(seen, expected.concat());
    }
}
