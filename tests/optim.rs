//! The optimizers against candle's, against formulas written out, and under plans.

mod optim {
    mod accumulate;
    mod clip;
    mod formulas;
    mod groups;
    mod lr;
    mod masters;
    mod measured;
    mod names;
    mod non_finite;
    mod numbers;
    mod plans;
    mod refused;
    mod state;
    mod stock;

    use candle_core::backprop::GradStore;
    use candle_core::{DType, Device, Result, Tensor, Var};

    /// What users hold can be printed.
    #[test]
    fn everything_is_debug() {
        use freeze_core::optim::*;
        fn is<T: std::fmt::Debug>() {}
        is::<(AdamW, Adam, Sgd, PerParam<candle_nn::AdamW>, GradAccumulator, ParamGroups)>();
        is::<(ParamsAdam, ParamsSgd, Momentum)>();
        is::<(GradClip, NonFinite, StatePolicy, MasterWeights)>();
        is::<(freeze_core::PlannedVar, freeze_core::Released, freeze_core::OptimizerState)>();
        let opt = PerParam::<candle_nn::SGD>::with_names([] as [(&str, Var); 0], 0.5);
        let printed = format!("{:?}", opt.expect("an optimizer of nothing"));
        assert!(printed.contains("SGD") && printed.contains("learning_rate: 0.5"), "{printed}");
    }

    pub(crate) const CPU: Device = Device::Cpu;

    pub(crate) fn store<'a>(grads: impl IntoIterator<Item = (&'a Var, Tensor)>) -> GradStore {
        let mut store = GradStore::default();
        for (var, grad) in grads {
            store.insert(var, grad);
        }
        store
    }

    /// A variable and its copy, so that two optimizers start from the same numbers.
    pub(crate) fn twins(dims: &[usize], dtype: DType) -> Result<(Var, Var)> {
        let start = Tensor::randn(0f32, 1., dims, &CPU)?.to_dtype(dtype)?;
        Ok((Var::from_tensor(&start)?, Var::from_tensor(&start)?))
    }

    pub(crate) fn largest_gap(a: &Tensor, b: &Tensor) -> Result<f64> {
        if a.elem_count() == 0 {
            return Ok(0.0);
        }
        let (a, b) = (a.to_dtype(DType::F64)?, b.to_dtype(DType::F64)?);
        (a - b)?.abs()?.flatten_all()?.max(0)?.to_scalar()
    }

    pub(crate) fn bits(tensor: &Tensor) -> Result<Vec<u32>> {
        let numbers = tensor.flatten_all()?.to_vec1::<f32>()?;
        Ok(numbers.into_iter().map(f32::to_bits).collect())
    }
}
