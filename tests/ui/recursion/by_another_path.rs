use freeze_core::Freezable;

#[derive(Freezable)]
struct Tree<T> {
    value: T,
    children: Vec<self::Tree<T>>,
}

fn main() {}
