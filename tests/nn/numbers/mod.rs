//! Every number and shape that a user of `nn` can give is refused with words or works: 0, negative, NaN,
//! infinite, tiny, huge; empty tensors, and tensors that are not contiguous.

mod settings;
mod shapes;

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};

use crate::support::random;

/// What must come of a call: a result of this shape, or an error that says this.
enum Expected<'a> {
    Shape(&'a [usize]),
    Words(&'a str),
}
use Expected::{Shape, Words};

#[track_caller]
fn assert_outcome(found: Result<Tensor>, expected: &Expected<'_>, what: &str) {
    match (found, expected) {
        (Ok(y), Shape(shape)) => {
            assert_eq!(y.dims(), *shape, "{what}");
            // Whatever has a result has gradients.
            y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        }
        (Err(error), Words(words)) => {
            let text = error.to_string();
            assert!(text.contains(words), "{what}: {text}");
            assert!(text.lines().all(|line| line.len() < 400), "{what}: {text}");
        }
        (Ok(y), Words(words)) => panic!("{what}: {:?} instead of `{words}`", y.shape()),
        (Err(error), Shape(shape)) => panic!("{what}: {error} instead of {shape:?}"),
    }
}

fn tensor(shape: &[usize]) -> Tensor {
    Var::from_tensor(&random(1, shape, DType::F32)).unwrap().into_inner()
}

fn builder() -> VarBuilder<'static> {
    VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu)
}
