//! What the files of a crate use of each other, read off their text.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, File, Item, ItemMod, ItemUse, UseTree, Visibility};

/// One file.
#[derive(Default)]
pub(crate) struct Module {
    /// The files whose items it uses; what it only hands on does not count.
    pub(crate) uses: BTreeSet<String>,
    /// What it imports from the root, which hands it on, and not from its owner.
    pub(crate) from_root: Vec<String>,
    /// The names of what it defines.
    pub(crate) items: Vec<String>,
}

/// Every file of a crate's `src` but tests, by its module's path without `crate`.
pub(crate) fn modules(krate: &str) -> BTreeMap<String, Module> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(krate).join("src");
    let mut files = BTreeMap::new();
    read(&root, &root, &mut files);
    let handed_on: BTreeMap<String, BTreeMap<String, String>> =
        files.iter().map(|(name, file)| (name.clone(), handed_on(file, name))).collect();
    let module = |(name, file): (&String, &File)| {
        let owner = |path: &String| owner(path, &files, &handed_on);
        let named = paths(file, name);
        let is_known = |path: &String| files.contains_key(path.split("::").next().unwrap_or(""));
        let from_root = named.iter().filter(|path| !is_known(path)).cloned().collect();
        let mut uses: BTreeSet<String> = named.iter().filter_map(owner).collect();
        uses.remove(name);
        (name.clone(), Module { uses, from_root, items: items(file) })
    };
    files.iter().map(module).collect()
}

fn read(root: &Path, folder: &Path, files: &mut BTreeMap<String, File>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    entries.sort();
    for path in entries {
        let name = path.strip_prefix(root).expect("below the root").with_extension("");
        let mut segments: Vec<&str> =
            name.iter().map(|part| part.to_str().expect("text")).collect();
        if segments.contains(&"tests") {
            continue;
        }
        if path.is_dir() {
            read(root, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            segments.retain(|segment| !["mod", "lib"].contains(segment));
            let text = fs::read_to_string(&path).expect("text");
            files.insert(segments.join("::"), syn::parse_file(&text).expect("Rust"));
        }
    }
}

fn items(file: &File) -> Vec<String> {
    let named = file.items.iter().filter(|item| match item {
        Item::Use(_) | Item::Mod(_) => false,
        item => !is_test(attributes(item)),
    });
    named.map(|item| format!("{:?}", std::mem::discriminant(item))).collect()
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Struct(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether it is there for tests alone.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let text = attribute.meta.path().get_ident().map(ToString::to_string);
        let list = attribute.meta.require_list().map(|list| list.tokens.to_string());
        text.as_deref() == Some("test")
            || text.as_deref() == Some("cfg")
                && list.is_ok_and(|list| list == "test" || list == "doctest")
    })
}

/// The paths of all that the file of `module` names within the crate, without `crate`.
pub(crate) fn paths(file: &File, module: &str) -> BTreeSet<String> {
    let mut named = Named { module, found: BTreeSet::new() };
    named.visit_file(file);
    named.found
}

struct Named<'a> {
    module: &'a str,
    found: BTreeSet<String>,
}

impl Named<'_> {
    fn see(&mut self, path: &[String]) {
        self.found.extend(absolute(path, self.module));
    }
}

impl<'ast> Visit<'ast> for Named<'_> {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if !is_handed_on(item) {
            leaves(&item.tree, &mut Vec::new(), &mut |path, _| self.see(path));
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        self.see(&segments);
        visit::visit_path(self, path);
    }
}

/// What others see of the module by its `pub use`: names and the paths behind them.
fn handed_on(file: &File, module: &str) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for item in &file.items {
        if let Item::Use(item) = item
            && is_handed_on(item)
        {
            leaves(&item.tree, &mut Vec::new(), &mut |path, name| {
                // A macro is handed on under its own name.
                let inside = || (path.len() > 1).then(|| join(module, &path.join("::")));
                let behind = absolute(path, module).or_else(inside);
                names.extend(behind.map(|behind| (name.to_string(), behind)));
            });
        }
    }
    names
}

fn is_handed_on(item: &ItemUse) -> bool {
    !matches!(item.vis, Visibility::Inherited)
}

/// Every path of an import with the name it is given.
fn leaves(tree: &UseTree, path: &mut Vec<String>, see: &mut dyn FnMut(&[String], &str)) {
    let mut leaf = |ident: &syn::Ident, name: &syn::Ident| {
        let mut whole = path.clone();
        if ident != "self" || whole.is_empty() {
            whole.push(ident.to_string());
        }
        see(&whole, &name.to_string());
    };
    match tree {
        UseTree::Name(name) => leaf(&name.ident, &name.ident),
        UseTree::Rename(rename) => leaf(&rename.ident, &rename.rename),
        UseTree::Glob(_) => see(path, "*"),
        UseTree::Group(group) => group.items.iter().for_each(|item| leaves(item, path, see)),
        UseTree::Path(inner) => {
            path.push(inner.ident.to_string());
            leaves(&inner.tree, path, see);
            path.pop();
        }
    }
}

/// The path within the crate; nothing for paths that begin with a name.
fn absolute(path: &[String], module: &str) -> Option<String> {
    let mut above: Vec<&str> = module.split("::").filter(|segment| !segment.is_empty()).collect();
    let mut rest = path;
    match rest.first().map(String::as_str) {
        Some("crate") => above.clear(),
        Some("self") => {}
        Some("super") => drop(above.pop()),
        _ => return None,
    }
    rest = &rest[1..];
    while let [first, more @ ..] = rest
        && first == "super"
    {
        above.pop();
        rest = more;
    }
    (!rest.is_empty()).then(|| join(&above.join("::"), &rest.join("::")))
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_string() } else { format!("{path}::{name}") }
}

/// The file that defines what lies at `path`.
fn owner(
    path: &str,
    files: &BTreeMap<String, File>,
    handed_on: &BTreeMap<String, BTreeMap<String, String>>,
) -> Option<String> {
    let mut module = String::new();
    for segment in path.split("::") {
        let inside = join(&module, segment);
        if files.contains_key(&inside) {
            module = inside;
        } else if let Some(behind) = handed_on[&module].get(segment) {
            return owner(behind, files, handed_on);
        } else {
            break;
        }
    }
    (!module.is_empty()).then_some(module)
}
