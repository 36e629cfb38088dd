use freeze_core::Freezable;

#[derive(Freezable)]
#[freeze(bound = "T")]
struct Net<T> {
    head: T,
}

fn main() {}
