use freeze_core::Freezable;

#[derive(Freezable)]
union Bits {
    int: u32,
    float: f32,
}

fn main() {}
