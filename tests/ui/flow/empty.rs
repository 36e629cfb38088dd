use freeze_core::Flow;

#[derive(Flow)]
struct Hidden;

fn main() {}
