//! What `#[derive(Freezable)]` says about a faulty input. One fault a case; bless with
//! `TRYBUILD=overwrite cargo test --test ui` and read what it wrote.

#[test]
fn ui() {
    trybuild::TestCases::new().compile_fail("*/*.rs");
}
