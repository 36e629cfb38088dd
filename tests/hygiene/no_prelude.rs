//! Without the prelude: the output names everything by its absolute path.

#[no_implicit_prelude]
mod bare {
    #[derive(::freeze_core::Freezable)]
    pub(super) struct Net<'a, L, const N: usize> {
        pub(super) body: ::std::vec::Vec<L>,
        #[freeze(lr = 0.5, always)]
        pub(super) array: [L; N],
        pub(super) maybe: ::std::option::Option<::std::boxed::Box<L>>,
        #[freeze(param)]
        pub(super) position: ::candle_core::Tensor,
        #[freeze(unit)]
        pub(super) pair: (L, L),
        #[freeze(frozen)]
        pub(super) loose: (L, (L, [L; N])),
        #[freeze(skip)]
        pub(super) name: &'a str,
        pub(super) head: Head,
    }

    #[derive(::freeze_core::Freezable)]
    pub(super) enum Head {
        One(::candle_nn::Linear),
        Two(::candle_nn::Linear, ::candle_nn::Linear),
        Named {
            #[freeze(frozen, no_decay)]
            layer: ::candle_nn::Linear,
        },
        Whole(#[freeze(unit)] ::std::vec::Vec<::candle_nn::Linear>),
        Absent,
    }

    #[derive(::freeze_core::Freezable)]
    #[freeze(unit, no_decay, lr = 2)]
    pub(super) struct Block(pub(super) ::candle_nn::Linear, #[freeze(skip)] pub(super) u8);

    #[derive(::freeze_core::Freezable)]
    #[freeze(stages)]
    pub(super) struct Staged<L, const N: usize> {
        pub(super) stem: L,
        pub(super) body: ::std::vec::Vec<[L; N]>,
        #[freeze(param)]
        pub(super) position: ::candle_core::Tensor,
        pub(super) pair: (L, L),
        pub(super) maybe: ::std::option::Option<::std::boxed::Box<[L]>>,
    }

    #[derive(::freeze_core::Flow)]
    pub(super) struct Hidden<T>(
        pub(super) T,
        pub(super) ::std::option::Option<::candle_core::Tensor>,
    );
}

use candle_core::{DType, Device, Tensor};
use candle_nn::Linear;
use freeze_core::Freezable;

fn linear() -> Linear {
    let weight = Tensor::zeros((1, 1), DType::F32, &Device::Cpu).expect("a tensor");
    Linear::new(weight, None)
}

#[test]
fn the_output_needs_no_prelude() {
    use bare::{Block, Head, Net};
    for (head, leaves) in [
        (Head::One(linear()), 11),
        (Head::Two(linear(), linear()), 12),
        (Head::Named { layer: linear() }, 11),
        (Head::Whole(vec![linear(), linear()]), 11),
        (Head::Absent, 10),
    ] {
        let net = Net {
            body: vec![linear()],
            array: [linear(), linear()],
            maybe: Some(Box::new(linear())),
            position: linear().weight().clone(),
            pair: (linear(), linear()),
            loose: (linear(), (linear(), [linear(), linear()])),
            name: "net",
            head,
        };
        assert_eq!(net.leaves().expect("leaves").len(), leaves);
        let view = net.freeze_upto(1).expect("a view");
        assert_eq!(view.name, "net");
        assert_eq!((view.body.len(), view.array.len()), (1, 2));
        assert!(view.maybe.is_some() && view.position.rank() == 2 && view.pair.1.bias().is_none());
    }
    let block = Block(linear(), 3).freeze_upto(1).expect("a view");
    assert_eq!((block.1, block.0.bias().is_none()), (3, true));
}

#[test]
fn stages_and_flows_need_no_prelude() {
    use bare::{Hidden, Staged};
    use freeze_core::{Flow as _, Stages as _};
    let net = Staged {
        stem: linear(),
        body: vec![[linear(), linear()]],
        position: linear().weight().clone(),
        pair: (linear(), linear()),
        maybe: Some([linear()].into()),
    };
    let shown: Vec<String> = net.stages().iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["stem", "body.0.0", "body.0.1", "position", "pair", "maybe.0"]);
    let hidden = Hidden(linear().weight().clone(), None).detached().expect("a flow");
    assert!(hidden.batch().expect("a batch") == 1 && hidden.1.is_none() && hidden.0.rank() == 2);
}
