use freeze_core::Freezable;

#[derive(Freezable)]
#[freeze(frozen)]
union Net {
    width: usize,
}

fn main() {}
