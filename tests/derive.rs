//! Every shape that `#[derive(Freezable)]` takes, and what the impl does: the order and the paths of
//! the leaves, what the type alone decides, what a view freezes and what it keeps.

mod walks;

mod derive {
    mod attributes;
    mod bounds;
    mod common;
    mod containers;
    mod declared;
    mod declared_training;
    mod enums;
    mod flow;
    mod generics;
    mod laws;
    mod layout;
    mod recursive;
    mod staged;
    mod stages;
    mod structs;
}
