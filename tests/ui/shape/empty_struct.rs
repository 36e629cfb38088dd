use freeze_core::Freezable;

#[derive(Freezable)]
struct Relu {}

fn main() {}
