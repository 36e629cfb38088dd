use freeze_core::Freezable;

#[derive(Freezable)]
#[freeze(stages)]
struct Net;

fn main() {}
