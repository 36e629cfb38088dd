//! Dispatch from the element type of a tensor, known at run time, to code for that type.

/// Runs an expression with `$T` standing for the [`Element`](super::Element) of a `DType`; for
/// other types an error that names the operation.
macro_rules! by_element {
    ($dtype:expr, $op:expr, $T:ident => $run:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $T = f32;
                $run
            }
            candle_core::DType::F64 => {
                type $T = f64;
                $run
            }
            candle_core::DType::F16 => {
                type $T = half::f16;
                $run
            }
            candle_core::DType::BF16 => {
                type $T = half::bf16;
                $run
            }
            dtype => Err(candle_core::Error::UnsupportedDTypeForOp(dtype, $op).bt()),
        }
    };
}

/// Runs an expression with `$T` standing for the [`Real`](super::Real) that a `DType` computes in.
/// Other types are refused when their elements are read.
macro_rules! by_real {
    ($dtype:expr, $T:ident => $run:expr) => {
        match $dtype {
            candle_core::DType::F64 => {
                type $T = f64;
                $run
            }
            _ => {
                type $T = f32;
                $run
            }
        }
    };
}

pub(crate) use {by_element, by_real};
