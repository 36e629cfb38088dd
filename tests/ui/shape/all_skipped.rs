use freeze_core::Freezable;

#[derive(Freezable)]
struct Relu {
    #[freeze(skip)]
    slope: f64,
}

fn main() {}
