//! Each folder of the core uses only those below it, and no two files use each other; nor in the derive.

mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use imports::{Module, modules};

/// The folders and files of `freeze-core/src`, from the ground up; `docs/ARCHITECTURE.md` says what each
/// is for.
const FLOORS: [&str; 19] = [
    "error",
    "bits",
    "kernel",
    "parallel",
    "cuda",
    "plan",
    "model",
    "nn",
    "init",
    "optim",
    "audit",
    "forecast",
    "recompute",
    "policy",
    "cache",
    "checkpoint",
    "load",
    "train",
    "models",
];

static CORE: LazyLock<BTreeMap<String, Module>> = LazyLock::new(|| modules("freeze-core"));

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| Some(*floor) == module.split("::").next())
}

#[test]
fn no_import_runs_up() {
    let mut up = Vec::new();
    for (name, Module { uses, .. }) in &*CORE {
        let Some(from) = floor(name) else {
            assert!(
                ["", "__private"].contains(&name.as_str()),
                "`{name}` has no floor: see FLOORS"
            );
            continue;
        };
        let above = uses.iter().filter(|used| floor(used).is_none_or(|to| to > from));
        up.extend(above.map(|used| format!("{name} uses {used}")));
    }
    assert!(up.is_empty(), "imports that run up:\n{}", up.join("\n"));
}

#[test]
fn no_two_files_use_each_other() {
    for (krate, modules) in [("freeze-core", &*CORE), ("freeze-derive", &modules("freeze-derive"))]
    {
        let reached: BTreeMap<&str, BTreeSet<&str>> =
            modules.keys().map(|name| (name.as_str(), reached(modules, name))).collect();
        let circle = |name: &&str| -> BTreeSet<&str> {
            reached[*name].iter().copied().filter(|other| reached[*other].contains(name)).collect()
        };
        let circles: BTreeSet<BTreeSet<&str>> = reached.keys().map(circle).collect();
        let circles: Vec<String> = (circles.iter().filter(|circle| !circle.is_empty()))
            .map(|circle| format!("{circle:?}"))
            .collect();
        assert!(
            circles.is_empty(),
            "files of {krate} that use each other:\n{}",
            circles.join("\n")
        );
    }
}

/// The files that a file uses, and those that they use.
fn reached<'a>(modules: &'a BTreeMap<String, Module>, from: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&str> = modules[from].uses.iter().map(String::as_str).collect();
    while let Some(name) = next.pop() {
        if reached.insert(name) {
            next.extend(modules[name].uses.iter().map(String::as_str));
        }
    }
    reached
}

#[test]
fn imports_are_from_the_owner() {
    let named = CORE.iter().filter(|(name, _)| !name.is_empty());
    let through: Vec<_> = named.filter(|(_, module)| !module.from_root.is_empty()).collect();
    let line =
        |(name, module): &(&String, &Module)| format!("{name}: {}", module.from_root.join(", "));
    let lines: Vec<String> = through.iter().map(line).collect();
    assert!(lines.is_empty(), "imports through the root:\n{}", lines.join("\n"));
}

#[test]
fn the_root_defines_nothing() {
    assert_eq!(CORE[""].items, Vec::<String>::new());
}

#[test]
fn an_import_is_found_wherever_it_stands() {
    let text = "
        use crate::plan::{FreezePlan, LeafState as State};
        use super::view;
        #[cfg(test)]
        mod tests { use crate::train::Training; }
        fn f() -> crate::error::Result<()> { self::inner::g(); Ok(()) }
    ";
    let file = syn::parse_file(text).expect("Rust");
    let found = imports::paths(&file, "model::freezer");
    let expected = [
        "error::Result",
        "model::freezer::inner::g",
        "model::view",
        "plan::FreezePlan",
        "plan::LeafState",
    ];
    assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
}
