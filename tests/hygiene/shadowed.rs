//! Where the usual names mean something else.

use candle_core::{DType, Device, Tensor};
use candle_nn::Linear;

mod names {
    #![allow(dead_code, non_upper_case_globals, non_camel_case_types, non_snake_case)]
    #![allow(clippy::module_inception, clippy::missing_const_for_fn, clippy::upper_case_acronyms)]

    // Modules with the names of crates.
    mod core {}
    mod std {}
    mod alloc {}
    mod freeze_core {}
    // Types, traits and functions of the prelude and of the library.
    struct String;
    struct Box;
    struct Vec;
    struct Result;
    struct LeafTree;
    struct Mapper;
    struct Part;
    struct Declared;
    trait Skipped {}
    struct Error;
    trait Clone {}
    trait Sized {}
    trait Freezable {}
    trait TensorParam {}
    trait From {}
    fn Ok() {}
    fn Err() {}
    fn Some() {}
    const None: u8 = 0;
    // A constant is matched against where a binding of its name is meant, be it the output's.
    const mapper: u8 = 0;
    const _0: u8 = 0;
    const __mapper: ::core::primitive::usize = 2;
    const __0: u8 = 0;
    const ___mapper: u8 = 0;
    const ___0: u8 = 0;
    struct ___1;
    const ____mapper: u8 = 0;

    /// A user's layer with a name of the prelude.
    #[derive(::freeze_core::Freezable)]
    pub(super) struct Option<T> {
        pub(super) layer: T,
    }

    /// Methods that would win if the output called methods.
    pub(super) trait Greedy: ::core::marker::Sized {
        fn clone(&self) -> u8 {
            0
        }
        fn map_params(&self, _: u8) -> u8 {
            0
        }
        fn visit_params(&self, _: u8) -> u8 {
            0
        }
        fn at(&self) {}
        fn part(&self) {}
        fn unit(&self) {}
        fn ask(&self) {}
        fn cloned(&self) {}
        fn declare(&self) {}
        fn declared(&self) {}
        fn frozen(&self) {}
        fn lr(&self) {}
        fn pass(&self) {}
        fn each_item(&self) {}
        fn each_stage(&self) {}
        fn flatten(&self) {}
        fn unflatten(&self) {}
        fn write_fmt(&self) {}
    }
    impl<T> Greedy for T {}

    const __DECLARED_0: u8 = 0;
    const __DECLARED_1: f64 = 0.5;

    /// Bindings with names of constants, which a field's type or rate may mean too.
    #[derive(::freeze_core::Freezable)]
    #[freeze(no_decay)]
    pub(super) enum Constants<T> {
        Two(T, ::std::vec::Vec<T>),
        Sized {
            #[freeze(lr = __DECLARED_1)]
            twins: [T; __mapper],
        },
    }

    #[derive(::freeze_core::Freezable)]
    pub(super) struct Net {
        pub(super) mapper: Option<::candle_nn::Linear>,
        pub(super) __mapper: ::candle_nn::Linear,
        #[freeze(param)]
        pub(super) value: ::candle_core::Tensor,
        #[freeze(unit)]
        pub(super) field: Option<::candle_nn::Linear>,
        #[freeze(skip)]
        pub(super) clone: u8,
        pub(super) choice: Choice,
    }

    #[derive(::freeze_core::Freezable)]
    pub(super) enum Choice {
        Ok(::candle_nn::Linear, ::candle_nn::Linear),
        Err { mapper: ::candle_nn::Linear, __0: ::candle_nn::Linear },
        None,
    }

    // What the enum of stages and its impls are made of.
    struct Stage;
    struct Stages;
    struct Copy;
    struct Debug;
    struct Ord;
    struct usize;
    struct Flow;
    struct Flat;
    const __1: u8 = 0;

    #[derive(::freeze_core::Freezable)]
    #[freeze(stages)]
    pub(super) struct Row {
        pub(super) mapper: Option<::candle_nn::Linear>,
        pub(super) items: ::std::vec::Vec<[::candle_nn::Linear; 2]>,
        pub(super) none: ::std::option::Option<::candle_nn::Linear>,
    }

    #[derive(::freeze_core::Flow)]
    pub(super) struct Hidden {
        pub(super) mapper: ::candle_core::Tensor,
        pub(super) __mapper: ::std::option::Option<::candle_core::Tensor>,
    }

    #[derive(::freeze_core::Freezable)]
    #[freeze(unit)]
    pub(super) struct Block {
        pub(super) mapper: ::candle_nn::Linear,
    }
}

fn linear() -> Linear {
    let weight = Tensor::zeros((1, 1), DType::F32, &Device::Cpu).expect("a tensor");
    Linear::new(weight, None)
}

#[test]
fn constants_may_be_named_as_the_bindings_of_the_output() {
    use freeze_core::Freezable as _;
    use names::Constants;
    for (value, leaves) in [
        (Constants::Two(linear(), vec![linear(), linear()]), 3),
        (Constants::Sized { twins: [linear(), linear()] }, 2),
    ] {
        assert_eq!(value.leaves().expect("leaves").len(), leaves);
        assert_eq!(value.freeze_upto(1).expect("a view").vars().expect("variables").len(), 0);
    }
}

#[test]
fn names_of_the_surroundings_do_not_matter() {
    use freeze_core::Freezable as _;
    use names::{Block, Choice, Net, Option};
    for (choice, leaves) in [
        (Choice::Ok(linear(), linear()), 6),
        (Choice::Err { mapper: linear(), __0: linear() }, 6),
        (Choice::None, 4),
    ] {
        let net = Net {
            mapper: Option { layer: linear() },
            __mapper: linear(),
            value: linear().weight().clone(),
            field: Option { layer: linear() },
            clone: 3,
            choice,
        };
        let paths: Vec<String> =
            net.leaves().expect("leaves").into_iter().map(|leaf| leaf.path).collect();
        assert_eq!(paths.len(), leaves);
        assert_eq!(paths[..4], ["mapper.layer", "__mapper", "value", "field"]);
        let view = net.freeze_upto(2).expect("a view");
        assert_eq!(view.clone, 3);
        assert!(view.mapper.layer.bias().is_none() && view.value.rank() == 2);
    }
    assert_eq!(Block { mapper: linear() }.leaves().expect("leaves").len(), 1);
}

#[test]
fn names_of_the_surroundings_do_not_matter_to_stages() {
    use freeze_core::{Flow as _, Stages as _};
    use names::{Hidden, Option, Row, RowStage};
    let items = vec![[linear(), linear()]];
    let row = Row { mapper: Option { layer: linear() }, items, none: None };
    let stages = [RowStage::Mapper, RowStage::Items(0, 0), RowStage::Items(0, 1)];
    assert_eq!(row.stages(), stages);
    assert_eq!(stages[2].to_string(), "items.0.1");
    assert_eq!(
        (row.items.len(), row.none.is_none(), row.mapper.layer.bias().is_none()),
        (1, true, true)
    );
    let hidden = Hidden { mapper: linear().weight().clone(), __mapper: None };
    let hidden = hidden.detached().expect("a flow");
    assert!(hidden.mapper.rank() == 2 && hidden.__mapper.is_none());
}
