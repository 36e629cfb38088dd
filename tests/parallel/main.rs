//! Runs of several ranks, and what ranks do together: every case of the table over threads, and with
//! `--features mpi` over processes too, which this binary starts of itself by `mpirun`.

mod batch_norm;
mod equal;
mod faults;
#[cfg(all(feature = "mpi", target_os = "linux"))]
mod kill;
#[cfg(all(feature = "mpi", target_os = "linux"))]
mod late;
#[cfg(unix)]
mod launch;
mod laws;
mod leads;
#[cfg(feature = "mpi")]
mod mpirun;
mod net;
mod odd;
#[cfg(feature = "mpi")]
mod processes;
mod ranks;
mod resume;
mod sampler;
mod shard;
mod share;
mod stays;
mod training;
mod within;

/// A test for each case: a function that every rank runs.
macro_rules! cases {
    ($($file:ident: $($case:ident),+;)+) => {
        $($(
            #[test]
            fn $case() {
                ranks::run(stringify!($case), $file::$case);
            }
        )+)+
    };
}

cases! {
    laws: sums_are_those_of_one_after_the_other, sums_come_again, halves_are_rounded_once,
        every_rank_can_broadcast, what_is_gathered_lies_by_rank, a_barrier_is_passed_by_all_or_none,
        calls_may_come_from_any_thread, wrong_calls_are_errors;
    training: the_run_is_that_of_one_rank_and_comes_again,
        gradients_sent_within_the_backward_are_those_sent_after_it, another_seed_is_refused_by_name;
}
