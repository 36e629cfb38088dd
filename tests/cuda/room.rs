//! A card that runs out of memory: what fails has changed nothing.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Optimizer, ParamsAdamW};
use freeze_core::optim::{AdamW, GradAccumulator, GradClip};
use freeze_core::{Measures, PlanOptimizer, Result};

use crate::card;
use crate::support::random;

/// What is left of a card's memory, which becomes more piece by piece.
struct Room {
    pieces: Vec<Tensor>,
    _rest: Vec<Tensor>,
}

impl Room {
    const PIECE: usize = 512;

    /// Takes all memory.
    fn none(card: &Device) -> Self {
        let take = |bytes: usize| Tensor::zeros(bytes, DType::U8, card).ok();
        let pieces = (0..4096).map_while(|_| take(Self::PIECE)).collect();
        let mut rest = Vec::new();
        let mut bytes = 1 << 36;
        while bytes > 0 {
            match take(bytes) {
                Some(taken) => rest.push(taken),
                None => bytes /= 2,
            }
        }
        Self { pieces, _rest: rest }
    }

    /// Gives some of it back; `false` once there is nothing more to give.
    fn grow(&mut self) -> bool {
        self.pieces.truncate(self.pieces.len().saturating_sub(16));
        !self.pieces.is_empty()
    }
}

/// Runs `work` with more and more room, until it succeeds; whatever `look` sees may change with that alone.
fn try_until_it_fits<S: PartialEq>(
    card: &Device,
    mut work: impl FnMut() -> Result<()>,
    look: impl Fn() -> Result<S>,
) -> Result<()> {
    let before = look()?;
    let mut room = Room::none(card);
    let mut failures = 0;
    while let Err(error) = work() {
        let error = error.to_string();
        assert!(error.contains("OUT_OF_MEMORY") || error.contains("out of memory"), "{error}");
        assert!(look()? == before, "changed by what failed for the {failures}th time");
        failures += 1;
        assert!(room.grow(), "it did not succeed");
    }
    eprintln!("{failures} failures for want of memory");
    assert!(failures > 0);
    assert!(look()? != before);
    Ok(())
}

/// Without memory of the card.
fn bits(tensor: &Tensor) -> Result<Vec<u8>> {
    let here = tensor.to_device(&Device::Cpu)?.flatten_all()?;
    Ok(here
        .to_dtype(DType::F64)?
        .to_vec1::<f64>()?
        .into_iter()
        .flat_map(f64::to_le_bytes)
        .collect())
}

/// 300 of them, of up to `len` elements.
fn vars(card: &Device, dtypes: &[DType], len: usize) -> Result<(Vec<Var>, GradStore)> {
    let (mut vars, mut grads) = (Vec::new(), GradStore::default());
    for i in 0..300 {
        let (len, dtype) = ([1, 37, len][i % 3], dtypes[i % dtypes.len()]);
        let var = Var::from_tensor(&random(i as u64, len, dtype).to_device(card)?)?;
        grads.insert(&var, random(900 + i as u64, len, dtype).to_device(card)?);
        vars.push(var);
    }
    Ok((vars, grads))
}

/// Several tables of parameters, of which each takes memory, also to measure.
#[test]
fn a_step_is_made_of_all_parameters_or_of_none() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    let all = Measures { gradient: true, update: true, weight: true, relative_update: true };
    let rows = [
        (&[DType::F32, DType::BF16][..], GradClip::None, Measures::NONE),
        (&[DType::F32, DType::BF16], GradClip::None, all),
        (&[DType::F32], GradClip::Norm(0.1), all),
        // Its norm goes by the host.
        (&[DType::F64], GradClip::Norm(0.1), all),
    ];
    for (dtypes, clip, measures) in rows {
        let (vars, grads) = vars(&card, dtypes, 9000)?;
        let mut opt = AdamW::new(vars.clone(), ParamsAdamW::default())?;
        opt.set_clip(clip)?;
        // The state is there.
        opt.step(&grads)?;
        opt.measure_within_step(measures);
        let opt = std::cell::RefCell::new(opt);
        let look = || {
            let of = |var: &Var| Ok((bits(var)?, opt.borrow().updates(var)));
            vars.iter().map(of).collect::<Result<Vec<_>>>()
        };
        try_until_it_fits(&card, || Ok(opt.borrow_mut().step(&grads)?), look)?;
    }
    Ok(())
}

#[test]
fn a_batch_is_added_to_all_sums_or_to_none() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    let (vars, grads) = vars(&card, &[DType::F32], 900)?;
    let copy = || {
        let mut copy = GradStore::default();
        for var in &vars {
            copy.insert(var, grads.get(var).expect("a gradient").clone());
        }
        copy
    };
    let sums = std::cell::RefCell::new(GradAccumulator::new(vars.clone()));
    let look = || Ok((sums.borrow().is_empty(), sums.borrow().bytes()));
    try_until_it_fits(&card, || sums.borrow_mut().accumulate_grads(copy(), 1.0), look)?;
    // There is no room for a second sum, and it needs none.
    let _full = Room::none(&card);
    let before = sums.borrow().bytes();
    sums.borrow_mut().accumulate_grads(copy(), 1.0)?;
    assert_eq!(sums.borrow().bytes(), before);
    Ok(())
}
