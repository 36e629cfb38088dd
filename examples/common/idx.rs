//! The IDX format of MNIST and Fashion-MNIST, gzipped or not.
//!
//! A big-endian header with the magic number and the dimensions, then one byte per pixel or label:
//! `00000803 count rows columns pixels..` and `00000801 count labels..`.

use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::Result;

/// The height and the width of an image.
pub(crate) const SIDE: usize = 28;
/// The number of classes: labels are 0 to 9.
pub(crate) const CLASSES: usize = 10;

const IMAGES: u32 = 0x0803;
const LABELS: u32 = 0x0801;
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Images with their labels, as bytes.
#[derive(Debug)]
pub(crate) struct Split {
    /// One byte per pixel, [`SIDE`] x [`SIDE`] per image, row by row.
    pub(crate) pixels: Vec<u8>,
    /// One class per image, below [`CLASSES`].
    pub(crate) labels: Vec<u8>,
}

/// Reads `{name}-images-idx3-ubyte` and `{name}-labels-idx1-ubyte`, each as it is or as `.gz`, from
/// a folder.
///
/// # Errors
///
/// One line: the file, what was found, what to do.
pub(crate) fn read_split(folder: &Path, name: &str) -> Result<Split> {
    let images = find(folder, &format!("{name}-images-idx3-ubyte"))?;
    let labels = find(folder, &format!("{name}-labels-idx1-ubyte"))?;
    let open = |path: &Path| match File::open(path) {
        Ok(file) => Ok(BufReader::new(file)),
        Err(error) => Err(format!("{}: {error}; make it readable", path.display())),
    };
    let (images_name, labels_name) = (images.display().to_string(), labels.display().to_string());
    parse_split((&images_name, open(&images)?), (&labels_name, open(&labels)?))
}

/// Reads both files of a split, each given with its name for messages.
///
/// # Errors
///
/// As [`read_split`].
pub(crate) fn parse_split(
    (images_name, images): (&str, impl Read),
    (labels_name, labels): (&str, impl Read),
) -> Result<Split> {
    let pixels = parse_images(images_name, images)?;
    let labels = parse_labels(labels_name, labels)?;
    let count = pixels.len() / (SIDE * SIDE);
    if labels.len() != count {
        let found = labels.len();
        let text = format!("{labels_name}: {found} labels, but {images_name} has {count} images");
        return Err(format!("{text}; take both files from the same download").into());
    }
    Ok(Split { pixels, labels })
}

/// The file called `name` or `name.gz`.
fn find(folder: &Path, name: &str) -> Result<PathBuf> {
    let candidates = [folder.join(name), folder.join(format!("{name}.gz"))];
    candidates.into_iter().find(|path| path.exists()).ok_or_else(|| {
        let folder = folder.display();
        format!("{folder}: no {name} or {name}.gz; put the four published IDX files there").into()
    })
}

fn parse_images(name: &str, bytes: impl Read) -> Result<Vec<u8>> {
    let mut bytes = unpack(name, bytes)?;
    let [count, rows, columns] = header(name, &mut bytes, IMAGES)?;
    if (rows as usize, columns as usize) != (SIDE, SIDE) {
        let wanted = format!("use the {SIDE} x {SIDE} ones of Fashion-MNIST or MNIST");
        return Err(format!("{name}: images of {rows} x {columns}; {wanted}").into());
    }
    body(name, bytes, u64::from(count) * (SIDE * SIDE) as u64, count, "images")
}

fn parse_labels(name: &str, bytes: impl Read) -> Result<Vec<u8>> {
    let mut bytes = unpack(name, bytes)?;
    let [count] = header(name, &mut bytes, LABELS)?;
    let labels = body(name, bytes, u64::from(count), count, "labels")?;
    match labels.iter().position(|label| usize::from(*label) >= CLASSES) {
        None => Ok(labels),
        Some(at) => {
            let found = format!("label {} at position {at}, expected 0 to 9", labels[at]);
            Err(format!("{name}: {found}; use Fashion-MNIST or MNIST").into())
        }
    }
}

/// The content, unpacked if it starts like a gzip file, whatever its name.
fn unpack<'r>(name: &str, mut bytes: impl Read + 'r) -> Result<Box<dyn Read + 'r>> {
    let mut start = Vec::new();
    bytes.by_ref().take(2).read_to_end(&mut start).map_err(|error| unreadable(name, &error))?;
    let packed = start == GZIP;
    let whole = Cursor::new(start).chain(bytes);
    Ok(match packed {
        true => Box::new(MultiGzDecoder::new(BufReader::new(whole))),
        false => Box::new(whole),
    })
}

/// Checks the magic number and returns the `N` dimensions after it.
fn header<const N: usize>(name: &str, bytes: &mut impl Read, magic: u32) -> Result<[u32; N]> {
    let length = 4 * (N + 1);
    let mut start = Vec::new();
    let read = bytes.take(length as u64).read_to_end(&mut start);
    read.map_err(|error| unreadable(name, &error))?;
    let (words, _) = start.as_chunks::<4>();
    let words: Vec<u32> = words.iter().map(|word| u32::from_be_bytes(*word)).collect();
    if let Some(found) = words.first().filter(|found| **found != magic) {
        let found = match *found {
            IMAGES => "holds images, expected labels".to_string(),
            LABELS => "holds labels, expected images".to_string(),
            other => format!("begins with {other:08x}, expected {magic:08x}"),
        };
        return Err(format!("{name}: {found}; use the IDX file published by this name").into());
    }
    let dimensions = words.get(1..).and_then(|dimensions| dimensions.try_into().ok());
    dimensions.ok_or_else(|| {
        let found = start.len();
        let text = format!("{found} bytes, shorter than the {length} of an IDX header");
        format!("{name}: {text}; download it again").into()
    })
}

/// Exactly `length` bytes. Memory is allocated as bytes arrive, not by the header's claim.
fn body(name: &str, bytes: impl Read, length: u64, count: u32, what: &str) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    // One byte more, to find out whether the file is too long.
    let read = bytes.take(length + 1).read_to_end(&mut body);
    read.map_err(|error| unreadable(name, &error))?;
    let claim = format!("the {length} of the {count} {what} in its header");
    match (body.len() as u64).cmp(&length) {
        _ if count == 0 => Err(format!("{name}: no {what}; download it again").into()),
        std::cmp::Ordering::Equal => Ok(body),
        std::cmp::Ordering::Less => {
            let found = body.len();
            Err(format!("{name}: ends after {found} bytes of {claim}; download it again").into())
        }
        std::cmp::Ordering::Greater => {
            Err(format!("{name}: goes on after {claim}; download it again").into())
        }
    }
}

fn unreadable(name: &str, error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            format!("{name}: the gzip data ends too soon; download it again")
        }
        std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData => {
            format!("{name}: broken gzip data ({error}); download it again")
        }
        _ => format!("{name}: {error}; give a readable file"),
    }
}
