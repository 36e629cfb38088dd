//! Ranks that differ, fail or leave: an error on every rank that names the one.

use candle_core::{DType, Device, Tensor};
use candle_nn::ParamsAdamW;
use freeze_core::optim::{AdamW, GradClip, ParamsSgd, Sgd};
use freeze_core::parallel::{Group, Parallel};
use freeze_core::train::OnNonFinite;
use freeze_core::{Error, FreezePlan, LayerFreezing, Result, Training};

use crate::net::*;

/// A run whose rank 1 differs in something, and the words of the error on all ranks.
type Row = (&'static str, fn(Training<Net>) -> Result<Training<Net>>, &'static str);

const ROWS: [Row; 6] = [
    (
        "the length",
        |run| run.length(EPOCHS, 3),
        "the number of batches in an epoch is 3, on rank 0 it is 10",
    ),
    ("the seed", |run| Ok(run.seed(5)), "the seed is 5, on rank 0 it is 0"),
    (
        "clipping",
        |run| run.clip(GradClip::Value(0.5)),
        "clipping is Value(0.5), on rank 0 it is None",
    ),
    ("accumulation", |run| run.accumulate(2), "accumulated is 2, on rank 0 it is 1"),
    ("a policy", |run| Ok(run.policy(LayerFreezing::new(0.5, 1.0)?)), "on rank 0 it is none"),
    (
        "the plan",
        |mut run| run.freeze_front(1).map(|_| run),
        "leaf `stem` is Frozen, on rank 0 it is Trained { lr_scale: 1.0 }",
    ),
];

fn plain(dtype: DType) -> Result<Training<Net>> {
    Training::new(Net::new(0, dtype)?)?
        .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW::default()))?
        .length(EPOCHS, BATCHES)
}

/// The errors of all ranks.
fn errors(size: usize, run: impl Fn(Group) -> Result<()> + Sync) -> Vec<String> {
    let ranks = on_ranks(size, run).into_iter();
    ranks.map(|rank| rank.expect_err("an error").to_string()).collect()
}

#[test]
fn another_setting_is_refused_by_name() {
    for (what, change, words) in ROWS {
        let said = errors(3, |group| {
            let mut run = plain(DType::F32)?;
            if group.rank() == 1 {
                run = change(run)?;
            }
            drive(&mut run.parallel(group), |_| Ok(true)).map(|_| ())
        });
        for said in said {
            assert!(said.starts_with("rank 1: ") && said.contains(words), "{what}: {said}");
        }
    }
}

#[test]
fn another_model_type_or_optimizer_is_refused_by_name() {
    type Row = (&'static str, fn() -> Result<Training<Net>>);
    let rows: [Row; 2] = [
        ("`stem.weight` is f64 of shape [8, 5], on rank 0 it is f32 of shape [8, 5]", || {
            plain(DType::F64)
        }),
        ("optimizer 0 is Sgd of 8 variables, on rank 0 it is AdamW of 8 variables", || {
            Training::new(Net::new(0, DType::F32)?)?
                .optimizer(|vars| Sgd::with_names(vars, ParamsSgd::default()))?
                .length(EPOCHS, BATCHES)
        }),
    ];
    for (words, other) in rows {
        let said = errors(2, |group| {
            let run = if group.rank() == 1 { other()? } else { plain(DType::F32)? };
            drive(&mut run.parallel(group), |_| Ok(true)).map(|_| ())
        });
        said.iter().for_each(|said| assert!(said.contains(words), "{said}"));
    }
}

#[test]
fn what_needs_each_gradient_at_once_is_refused_by_name() {
    let said = errors(2, |group| {
        let mut run = plain(DType::F32)?.update_in_backward().parallel(group);
        drive(&mut run, |_| Ok(true)).map(|_| ())
    });
    said.iter().for_each(|said| assert!(said.contains("no place for `parallel`"), "{said}"));
}

#[test]
fn a_rank_that_changes_its_plan_alone_is_named_with_leaf_and_states() {
    let said = errors(3, |group| {
        let mut run = plain(DType::F32)?.parallel(group.clone());
        drive(&mut run, |run| {
            if group.rank() == 2 && run.elapsed().step == 4 {
                let mut plan: FreezePlan = run.freezer().plan().clone();
                plan.freeze("body.0")?;
                run.apply(&plan)?;
            }
            Ok(true)
        })
        .map(|_| ())
    });
    for said in said {
        let words = "rank 2: leaf `body.0` is Frozen, on rank 0 it is Trained { lr_scale: 1.0 }";
        assert!(said.starts_with(words), "{said}");
    }
}

#[test]
fn a_weight_that_differs_on_one_rank_is_named_at_the_end_of_the_epoch() {
    let said = errors(3, |group| {
        let rank = group.rank();
        let mut run = plain(DType::F32)?.parallel(group);
        drive(&mut run, |run| {
            if rank == 1 && run.elapsed().step == 5 {
                let named = run.freezer().named_vars();
                let bias = named.iter().find(|(name, _)| name == "body.0.bias");
                let (_, bias) = bias.expect("a bias");
                bias.set(&(bias.as_tensor() + 1e-7)?)?;
            }
            Ok(true)
        })
        .map(|_| ())
    });
    for said in said {
        assert!(said.starts_with("rank 1: the checksum of `body.0.bias` is "), "{said}");
    }
}

#[test]
fn a_rank_that_ends_early_leaves_or_panics_is_named() {
    /// What rank 1 does after three steps, and the words of its error and of the others'.
    type Row = (fn(&mut Training<Net>) -> Result<()>, &'static str, &'static str);
    let rows: [Row; 3] = [
        (
            |run| run.epoch_end([]).map(|_| ()),
            "3 of the epoch's 10 batches are done",
            "3 of the epoch's 10",
        ),
        (
            |_| Err(Error::from(candle_core::Error::Msg("no such file".into()))),
            "no such file",
            "rank 1: it left",
        ),
        (|_| panic!("on purpose"), "", "rank 1: it left the others: it panicked"),
    ];
    for ((act, own, others), within) in rows.into_iter().flat_map(|row| [(row, false), (row, true)])
    {
        let said = on_ranks(3, |group| {
            let rank = group.rank();
            let all = || {
                let mut ranks = Parallel::new(group);
                if within {
                    ranks = ranks.within_backward(100)?;
                }
                let mut run = plain(DType::F32)?.parallel(ranks);
                drive(&mut run, |run| {
                    if rank == 1 && run.elapsed().step == 3 {
                        act(run)?;
                    }
                    Ok(true)
                })
            };
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(all));
            done.map_or_else(|_| String::new(), |done| done.expect_err("an error").to_string())
        });
        for (rank, said) in said.iter().enumerate() {
            let words = if rank == 1 { own } else { others };
            assert!(said.contains(words), "rank {rank}, within the backward: {within}: {said}");
        }
    }
}

/// As alone: a loss of which no rank reaches anything.
#[test]
fn a_loss_that_reaches_nothing_on_any_rank_is_an_error_on_all() {
    type Change = fn(Parallel) -> Result<Parallel>;
    let rows: [(usize, Change); 3] = [(1, Ok), (2, Ok), (1, |ranks| ranks.within_backward(100))];
    for (accumulate, change) in rows {
        let said = errors(2, |group| {
            let ranks = change(Parallel::new(group))?;
            let mut run = plain(DType::F32)?.accumulate(accumulate)?.parallel(ranks);
            run.next_epoch()?;
            let apart = Tensor::new(1f32, &Device::Cpu)?;
            (0..accumulate).try_for_each(|_| run.step(&apart).map(drop))
        });
        for said in said {
            assert!(said.contains("no gradient reached"), "{accumulate}: {said}");
        }
    }
}

#[test]
fn a_loss_that_is_not_a_number_on_one_rank_is_so_on_all() -> Result<()> {
    for policy in [OnNonFinite::Error, OnNonFinite::Stop, OnNonFinite::Skip] {
        let ends = on_ranks(3, |group| {
            let rank = group.rank();
            let mut run = plain(DType::F32)?.on_non_finite(policy).parallel(group);
            let mut steps = 0;
            while run.next_epoch()?.is_some() {
                for batch in 0..BATCHES {
                    let which = share(rank, 3, SIZE);
                    let mut loss = loss(&run, batch, which)?;
                    if rank == 2 && batch == 4 {
                        loss = (loss * f64::NAN)?;
                    }
                    let step = run.step(&loss)?;
                    steps += usize::from(step.updated);
                    if step.stopped.is_some() {
                        break;
                    }
                }
                run.epoch_end([])?;
            }
            Ok((steps, weights(&run)?))
        });
        for end in &ends {
            match (policy, end) {
                (OnNonFinite::Error, Err(error)) => {
                    let said: String = Error::to_string(error);
                    assert!(
                        said.starts_with("rank 2: its loss is infinite or NaN in batch 4"),
                        "{said}"
                    );
                }
                (OnNonFinite::Stop, Ok((steps, _))) => assert_eq!(*steps, 4),
                (OnNonFinite::Skip, Ok((steps, _))) => assert_eq!(*steps, EPOCHS * (BATCHES - 1)),
                other => panic!("{other:?}"),
            }
        }
        if let [Ok(first), rest @ ..] = &ends[..] {
            assert!(rest.iter().all(|end| matches!(end, Ok(end) if end == first)));
        }
    }
    Ok(())
}

#[test]
fn a_step_that_fails_on_one_rank_fails_on_all_and_the_run_goes_on() -> Result<()> {
    let ends = on_ranks(2, |group| {
        let rank = group.rank();
        let mut run = plain(DType::F32)?.parallel(group);
        let epoch = run.next_epoch()?;
        assert!(epoch.is_some());
        let good = loss(&run, 0, share(rank, 2, SIZE))?;
        let bad = Tensor::new(&[1f32, 2.0], good.device())?;
        let refused = run.step(if rank == 1 { &bad } else { &good }).expect_err("two numbers");
        let step = run.step(&good)?;
        Ok((refused.to_string(), step.loss, step.updated))
    });
    let ends: Vec<_> = ends.into_iter().collect::<Result<_>>()?;
    assert!(ends[1].0.contains("the loss has shape [2]"), "{}", ends[1].0);
    assert!(
        ends[0].0.starts_with("rank 1: ") && ends[0].0.contains("the loss has shape [2]"),
        "{}",
        ends[0].0
    );
    assert!(ends.iter().all(|end| end.1 == ends[0].1 && end.2));
    Ok(())
}
