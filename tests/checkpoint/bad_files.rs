//! The rows of the table of bad inputs that are about files.

use candle_nn::{AdamW as CandleAdamW, Optimizer, ParamsAdamW, VarMap};
use freeze_core::checkpoint::{Checkpoint, Goal, Manager, Weights, load_weights};
use freeze_core::optim::PerParam;
use freeze_core::{Elapsed, Freezer, PlanOptimizer, Result};

use crate::bad_inputs::{Net, Row, adamw, net, row};

/// What saving and loading refuses.
pub fn files() -> Vec<Row> {
    let file = |text: &'static [u8]| {
        move || {
            let file = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(file.path(), text).expect("a file");
            let result = load_weights(file.path()).map(drop);
            result.map_err(|error| named(error, file.path()))
        }
    };
    vec![
        row("`resume` of a file that is not there", || {
            Checkpoint::of(&mut net()?).resume("none.safetensors")
        }),
        row("`save` to a folder that is not there", || {
            Checkpoint::of(&mut net()?).save("none/run.safetensors")
        }),
        row("`load_weights` of an empty file", file(b"")),
        row("`load_weights` of text", file(b"this is no safetensors file at all")),
        row("`save` with an optimizer that hides its state", || {
            let mut net = net()?;
            let params = ParamsAdamW::default();
            let mut opt = PerParam::<CandleAdamW>::new(net.vars(), params)?;
            Checkpoint::of(&mut net).optimizer(&mut opt).save("none.safetensors")
        }),
        row("`save_state` of an optimizer without names", || {
            adamw(&net()?)?.save_state().map(drop)
        }),
        row("`names_from` of another model's map", || {
            Weights::of(&Net::new(0)?)?.names_from(&VarMap::new()).map(drop)
        }),
    ]
}

/// What a manager refuses.
pub fn managers() -> Vec<Row> {
    // In a folder of its own, which the error may name.
    let managed = |act: fn(Manager, &mut Freezer<Net>) -> Result<()>| {
        move || {
            let dir = tempfile::tempdir().expect("a folder");
            let error = |error: freeze_core::Error| match error {
                freeze_core::Error::Unsaved { what, why } => {
                    let folder = dir.path().display().to_string();
                    let [what, why] = [what, why].map(|text| text.replace(&folder, "FOLDER"));
                    freeze_core::Error::Unsaved { what, why }
                }
                error => error,
            };
            act(Manager::new(dir.path())?, &mut net()?).map_err(error)
        }
    };
    vec![
        row("`manager.keep_last(0)`", managed(|manager, _| manager.keep_last(0).map(drop))),
        row(
            "`manager.save_every_epochs(0)`",
            managed(|manager, _| manager.save_every_epochs(0).map(drop)),
        ),
        row(
            "`manager.save_every_steps(0)`",
            managed(|manager, _| manager.save_every_steps(0).map(drop)),
        ),
        row(
            "`manager.save` without a progress",
            managed(|manager, net| manager.save(Checkpoint::of(net)).map(drop)),
        ),
        row(
            "`save_if_due` by steps of a progress without steps",
            managed(|manager, net| {
                let run = Checkpoint::of(net).progress(Elapsed::new(1, 9));
                manager.save_every_steps(5)?.save_if_due(run).map(drop)
            }),
        ),
        row(
            "`manager.save` without a history for `keep_best`",
            managed(|manager, net| {
                let manager = manager.keep_best("accuracy", Goal::Highest);
                manager.save(Checkpoint::of(net).progress(Elapsed::new(1, 9))).map(drop)
            }),
        ),
        row(
            "`manager.save` of an epoch before the last one",
            managed(|manager, net| {
                manager.save(Checkpoint::of(net).progress(Elapsed::new(2, 9)))?;
                manager.save(Checkpoint::of(net).progress(Elapsed::new(1, 9))).map(drop)
            }),
        ),
        row(
            "`manager.save` where another run has got further",
            managed(|manager, net| {
                let first = manager.save(Checkpoint::of(net).progress(Elapsed::new(2, 9)))?;
                let other = Manager::new(first.parent().expect("a folder"))?;
                other.save(Checkpoint::of(net).progress(Elapsed::new(1, 9))).map(drop)
            }),
        ),
        row(
            "`save_delta` in the place of its base",
            managed(|manager, net| {
                let base = manager.save(Checkpoint::of(net).progress(Elapsed::new(2, 9)))?;
                Checkpoint::of(net).save_delta(&base, &base)
            }),
        ),
    ]
}

/// The same error about a file of a fixed name.
fn named(error: freeze_core::Error, path: &std::path::Path) -> freeze_core::Error {
    match error {
        freeze_core::Error::Damaged { path: at, why } if at == path.display().to_string() => {
            freeze_core::Error::Damaged { path: "FILE".into(), why }
        }
        error => error,
    }
}
