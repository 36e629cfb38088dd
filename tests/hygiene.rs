//! The derive's output compiles and stays silent whatever surrounds it: no prelude, names that mean
//! something else, another path to the library, every lint denied, deprecated types.

#![deny(
    warnings,
    future_incompatible,
    let_underscore,
    nonstandard_style,
    refining_impl_trait,
    rust_2018_idioms,
    rust_2021_compatibility,
    rust_2024_compatibility,
    unused
)]
#![deny(
    absolute_paths_not_starting_with_crate,
    deprecated,
    deprecated_in_future,
    elided_lifetimes_in_paths,
    explicit_outlives_requirements,
    impl_trait_redundant_captures,
    keyword_idents,
    macro_use_extern_crate,
    meta_variable_misuse,
    missing_copy_implementations,
    missing_debug_implementations,
    missing_docs,
    non_ascii_idents,
    private_bounds,
    private_interfaces,
    redundant_lifetimes,
    single_use_lifetimes,
    trivial_bounds,
    trivial_casts,
    trivial_numeric_casts,
    unit_bindings,
    unreachable_pub,
    unused_extern_crates,
    unused_import_braces,
    unused_lifetimes,
    unused_qualifications,
    unused_results,
    variant_size_differences
)]
#![deny(clippy::all, clippy::pedantic, clippy::nursery)]
#![allow(clippy::redundant_pub_crate, clippy::missing_const_for_fn, reason = "of the tests")]
#![forbid(unsafe_code)]

mod hygiene {
    mod lints;
    mod no_prelude;
    mod renamed;
    mod shadowed;
}

/// Seen from outside: the output has docs of its own, and the visibility of the struct.
pub mod shown {
    /// A model.
    #[derive(Debug, freeze_core::Freezable)]
    #[freeze(stages)]
    pub struct Net<T> {
        /// The stem.
        pub layer_a: T,
        /// The body.
        pub layer_b: Vec<T>,
        /// The head.
        pub layer_c: T,
    }

    /// What flows in it.
    #[derive(Debug, freeze_core::Flow)]
    pub struct Hidden {
        /// The states.
        pub states: candle_core::Tensor,
    }
}
