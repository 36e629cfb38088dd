//! A rank that is late, among processes.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use candle_core::DType;
use candle_nn::ParamsAdamW;
use freeze_core::optim::AdamW;
use freeze_core::parallel::Collective as _;
use freeze_core::{Result, Training};

use crate::net::*;
use crate::processes;
use crate::ranks::Rank;

const LATE: Duration = Duration::from_secs(10);

#[test]
fn it_is_waited_for_asleep() {
    if processes::is_one() {
        return processes::be_one(wait);
    }
    processes::start(2, "late::it_is_waited_for_asleep");
}

/// The last rank comes to the fifth step late. The others leave it the core, and nothing else changes.
fn wait(rank: Rank) {
    let run = |late: Duration| -> Result<(Vec<f64>, Vec<f64>)> {
        let mut run = Training::new(Net::new(0, DType::F64)?)?
            .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW::default()))?
            .parallel(rank.clone())
            .length(EPOCHS, BATCHES)?;
        let losses = drive(&mut run, |run| {
            if rank.rank() + 1 == rank.size() && run.elapsed().step == 4 {
                sleep(late);
            }
            Ok(true)
        })?;
        Ok((losses, weights(&run)?))
    };
    let in_time = run(Duration::ZERO).expect("a run");
    let before = worked();
    assert_eq!(run(LATE).expect("a run with a late rank"), in_time);
    let worked = worked() - before;
    assert!(worked < LATE / 4, "rank {} worked {worked:?} of {LATE:?}", rank.rank());
}

/// The processor time of this process: in `/proc/self/stat`, behind the name, in hundredths of a second.
fn worked() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux");
    let behind = stat.rsplit_once(')').expect("a name").1;
    let words = behind.split_whitespace().skip(11).take(2);
    let ticks: u64 = words.map(|word| word.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(10 * ticks)
}
