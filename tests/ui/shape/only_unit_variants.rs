use freeze_core::Freezable;

#[derive(Freezable)]
enum Act {
    Relu,
    Gelu,
}

fn main() {}
