use freeze_core::Freezable;

#[derive(Freezable)]
struct Down<L> {
    layer: L,
    inner: Option<Box<Up<L>>>,
}

#[derive(Freezable)]
struct Up<L> {
    layer: L,
    inner: Option<Box<Down<L>>>,
}

fn main() {}
