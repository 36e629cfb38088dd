//! Processes killed with SIGKILL while they train and save: `scripts/launch.sh` starts them again, and the run ends
//! with the weights of one that nobody killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use candle_core::{DType, Device, Tensor};
use candle_nn::{Module as _, ParamsAdamW, VarBuilder, loss::mse};
use freeze_core::checkpoint::{Manager, save_weights};
use freeze_core::init::Seeded;
use freeze_core::nn::{Linear, linear};
use freeze_core::optim::AdamW;
use freeze_core::parallel::{Group, Mpi};
use freeze_core::train::Sampler;
use freeze_core::{LayerFreezing, Result, Training};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::mpirun::turn;
use crate::processes::mpirun;

const VAR: &str = "FREEZE_KILL_FOLDER";
const RANKS: usize = 2;
/// Wide enough that much of the time passes in saving.
const WIDTH: usize = 192;
const SAMPLES: usize = 24;

/// How many kills: `FREEZE_KILLS=20` for the full run.
fn wanted() -> usize {
    std::env::var("FREEZE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

fn checkpoints(folder: &Path) -> PathBuf {
    folder.join("checkpoints")
}

/// A rank: saves after every step, and leaves its process id and the weights at the end.
#[test]
#[ignore = "started by the test below"]
fn trains_as_a_rank() -> Result<()> {
    let Some(folder) = std::env::var_os(VAR).map(PathBuf::from) else { return Ok(()) };
    let group = Group::new(Mpi::new()?);
    let pid = folder.join(format!("rank-{}", group.rank()));
    fs::write(pid, std::process::id().to_string()).expect("written");

    let vb: VarBuilder<'_> = Seeded::builder(0, DType::F32, &Device::Cpu);
    let layer = |at: usize| linear(WIDTH, WIDTH, vb.pp(at.to_string()));
    let net: Vec<Linear> = (0..3).map(layer).collect::<candle_core::Result<_>>()?;
    let sampler = Sampler::new(SAMPLES, 4)?;
    let manager = Manager::new(checkpoints(&folder))?.save_every_steps(1)?.keep_last(2)?;
    let mut run = Training::new(net)?
        .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW::default()))?
        .policy(LayerFreezing::new(0.3, 0.7)?.every_steps(7)?)
        .checkpoints(manager)
        .parallel(group.clone())
        .length(4 + 2 * wanted(), sampler.batches_in_epoch())?;
    run.resume()?;
    while let Some(epoch) = run.next_epoch()? {
        for which in sampler.batches(&epoch, group.rank(), group.size())? {
            let numbers =
                which.iter().flat_map(|&i| (0..WIDTH).map(move |at| (i as usize * 7 + at) as f32));
            let xs: Vec<f32> = numbers.map(|number| (0.7 * number).sin()).collect();
            let xs = Tensor::from_vec(xs, (which.len(), WIDTH), &Device::Cpu)?;
            let through =
                run.model().iter().try_fold(xs.clone(), |xs, layer| layer.forward(&xs)?.tanh());
            run.step_of(&mse(&through?, &xs)?, which.len())?;
        }
        run.epoch_end([])?;
    }
    if group.leads() {
        save_weights(folder.join("end.safetensors"), run.freezer())?;
    }
    Ok(())
}

#[test]
fn a_run_whose_ranks_are_killed_ends_as_one_whose_are_not() {
    let Some(words) = mpirun(RANKS, "kill::trains_as_a_rank") else { return };
    let _turn = turn();
    let dir = tempfile::tempdir().expect("a folder");
    let [quiet, killed] = ["quiet", "killed"].map(|name| dir.path().join(name));
    end(launch(&quiet, &words), &quiet);

    let mut random = ChaCha8Rng::seed_from_u64(u64::from(std::process::id()));
    let mut launched = launch(&killed, &words);
    let (mut kills, mut saves, mut before) = (0, 0, Vec::new());
    while kills < wanted() || saves == 0 {
        // Every other time while rank 0 writes, otherwise any rank at any moment after a first save.
        let saved = latest(&killed);
        let pids = wait_for(&mut launched, || {
            let pids = pids(&killed);
            (pids.len() == RANKS
                && pids.iter().all(|pid| !before.contains(pid))
                && latest(&killed) != saved)
                .then_some(pids)
        });
        let rank = if kills % 2 == 0 {
            wait_for(&mut launched, || half_written(&killed).then_some(0))
        } else {
            std::thread::sleep(Duration::from_micros(random.random_range(0..60_000)));
            random.random_range(0..RANKS)
        };
        let killing = Command::new("kill").args(["-9", &pids[rank]]).status().expect("kill");
        assert!(killing.success(), "rank {rank} had ended: more steps are needed");
        wait_for(&mut launched, || (!is_there(&pids[rank])).then_some(()));
        kills += 1;
        saves += usize::from(half_written(&killed));
        before = pids;
    }
    end(launched, &killed);
    eprintln!("{kills} kills, of which {saves} left a checkpoint half written");
    let weights = |folder: &Path| fs::read(folder.join("end.safetensors")).expect("the weights");
    assert!(
        weights(&quiet) == weights(&killed),
        "the weights are not those of a run without kills"
    );
}

fn launch(folder: &Path, words: &[String]) -> Child {
    fs::create_dir(folder).expect("a new folder");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/launch.sh");
    let mut command = Command::new(script);
    command.arg("--checkpoints").arg(checkpoints(folder)).args(["--restarts", "1000"]).args(words);
    let log = fs::File::create(folder.join("log")).expect("a log");
    command.stdout(log.try_clone().expect("the same")).stderr(log);
    command.env(VAR, folder).spawn().expect("scripts/launch.sh")
}

fn end(mut launched: Child, folder: &Path) {
    let status = launched.wait().expect("ended");
    let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
    assert!(status.success(), "{status}: {log}");
}

/// Asks until there is an answer, as long as the run goes on.
fn wait_for<T>(launched: &mut Child, mut ask: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        let ended = launched.try_wait().expect("the child");
        assert_eq!(ended, None, "the run ended before it was killed often enough");
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

fn latest(folder: &Path) -> Option<String> {
    names(&checkpoints(folder)).into_iter().filter(|name| name.ends_with(".safetensors")).max()
}

fn half_written(folder: &Path) -> bool {
    names(&checkpoints(folder)).iter().any(|name| name.ends_with(".partial"))
}

/// The process ids of the ranks that have begun.
fn pids(folder: &Path) -> Vec<String> {
    let pid = |rank| fs::read_to_string(folder.join(format!("rank-{rank}"))).ok();
    (0..RANKS).map_while(pid).filter(|pid| !pid.is_empty()).collect()
}

fn is_there(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}
