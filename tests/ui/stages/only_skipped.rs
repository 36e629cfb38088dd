use freeze_core::Freezable;

#[derive(Freezable)]
#[freeze(stages)]
struct Net {
    #[freeze(skip)]
    width: usize,
}

fn main() {}
