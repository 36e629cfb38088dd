use freeze_core::Freezable;

type Alias<T> = Tree<T>;

#[derive(Freezable)]
struct Tree<T> {
    value: T,
    children: Vec<Alias<T>>,
}

fn main() {}
