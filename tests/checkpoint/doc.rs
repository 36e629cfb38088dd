//! The tables of docs/RELIABILITY.md, which tests make.

use std::path::Path;

/// Compares what stands between two markers with what should. `FREEZE_BLESS=1` writes it there.
pub fn has(marker: &str, table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/RELIABILITY.md");
    let text = std::fs::read_to_string(&path).expect("the page");
    let (begin, end) = (format!("<!-- {marker}: begin -->\n"), format!("<!-- {marker}: end -->"));
    let found = text.split_once(&begin).and_then(|(before, rest)| {
        let (found, after) = rest.split_once(&end)?;
        Some((before, found, after))
    });
    let (before, found, after) = found.unwrap_or_else(|| panic!("no markers of `{marker}`"));
    if found != table && std::env::var_os("FREEZE_BLESS").is_some() {
        let text = [before, &begin, table, &end, after].concat();
        return std::fs::write(&path, text).expect("the page");
    }
    assert_eq!(found, table, "docs/RELIABILITY.md has another table; write it with FREEZE_BLESS=1");
}
