//! The file: the page, with the record as data in it.

use std::io::{self, Write};
use std::path::Path;

use super::page::page;
use super::record::Record;
use crate::checkpoint::replace_file;
use crate::error::{Result, file_error};

/// What stands before the record. No text of a user's holds it: there `<` is escaped.
const BEFORE: &str = "<script type=\"application/json\" id=\"freeze-report\">";
const AFTER: &str = "</script>";

/// Writes the whole file, or leaves the old one.
pub(super) fn write(path: &Path, record: &Record) -> Result<()> {
    let fault = |source| file_error(path, "write", source);
    let json = serde_json::to_string(record).map_err(|error| fault(error.into()))?;
    // Within a script, only `<` can end it or begin a comment.
    let json = json.replace('<', "\\u003c");
    let page = page(record, &format!("{BEFORE}{json}{AFTER}"));
    let write =
        |to: &mut io::BufWriter<&std::fs::File>| to.write_all(page.as_bytes()).map_err(fault);
    replace_file(path, write, |_| Ok(()))
}

/// Creates the folder of a file, unless it is there.
pub(super) fn create_folder_of(path: &Path) -> Result<()> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
        return Ok(());
    };
    std::fs::create_dir_all(folder).map_err(|source| file_error(folder, "create", source))
}

/// The record of a file that has to be there.
pub(super) fn read_existing(path: &Path) -> Result<Record> {
    let absent = || file_error(path, "read", io::Error::from(io::ErrorKind::NotFound));
    read(path)?.ok_or_else(absent)
}

/// The record of a file that is there.
pub(super) fn read(path: &Path) -> Result<Option<Record>> {
    let fault = |source| file_error(path, "read", source);
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fault(error)),
    };
    let json = text.split_once(BEFORE).and_then(|(_, rest)| rest.split_once(AFTER));
    let Some((json, _)) = json else {
        let why =
            "it is no report of a run, and would be replaced; give another path, or remove it";
        return Err(fault(io::Error::new(io::ErrorKind::InvalidData, why)));
    };
    serde_json::from_str(json).map(Some).map_err(|error| fault(error.into()))
}
