use freeze_core::Freezable;

#[derive(Freezable)]
enum Never {}

fn main() {}
