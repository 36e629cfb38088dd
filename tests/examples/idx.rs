//! The IDX reader takes what is published, and says what is wrong with anything else.

use std::io::{Read, Write};

use flate2::{Compression, write::GzEncoder};

use crate::common::idx::{SIDE, Split, parse_split, read_split};

const PIXELS: usize = SIDE * SIDE;

fn images(magic: u32, count: u32, rows: u32, columns: u32, bytes: usize) -> Vec<u8> {
    let header = [magic, count, rows, columns].into_iter().flat_map(u32::to_be_bytes);
    header.chain((0..bytes).map(|i| i as u8)).collect()
}

fn labels(magic: u32, count: u32, labels: &[u8]) -> Vec<u8> {
    let header = [magic, count].into_iter().flat_map(u32::to_be_bytes);
    header.chain(labels.iter().copied()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn parse(images: &[u8], labels: &[u8]) -> Result<Split, String> {
    parse_split(("IMAGES", images), ("LABELS", labels)).map_err(|error| error.to_string())
}

#[test]
fn good_files_are_read_packed_or_not() {
    let (images, labels) = (images(0x803, 2, 28, 28, 2 * PIXELS), labels(0x801, 2, &[9, 0]));
    for (images, labels) in [
        (images.clone(), labels.clone()),
        (gzip(&images), labels.clone()),
        (images.clone(), gzip(&labels)),
        (gzip(&images), gzip(&labels)),
    ] {
        let split = parse(&images, &labels).unwrap();
        let expected: Vec<u8> = (0..2 * PIXELS).map(|i| i as u8).collect();
        assert_eq!(split.pixels, expected);
        assert_eq!(split.labels, [9, 0]);
    }
}

/// A name, the two files, and what the error says.
type Fault = (&'static str, Vec<u8>, Vec<u8>, &'static [&'static str]);

#[test]
fn each_fault_has_its_own_line() {
    let good_images = images(0x803, 2, 28, 28, 2 * PIXELS);
    let good_labels = labels(0x801, 2, &[9, 0]);
    let packed = gzip(&good_images);
    let mut garbled = packed.clone();
    garbled[10..40].fill(0xff);
    let rows: &[Fault] = &[
        ("empty", vec![], good_labels.clone(), &["IMAGES: 0 bytes", "16 of an IDX header"]),
        ("one byte", vec![0], good_labels.clone(), &["IMAGES: 1 bytes"]),
        ("header cut", good_images[..15].to_vec(), good_labels.clone(), &["IMAGES: 15 bytes"]),
        ("label header cut", good_images.clone(), good_labels[..7].to_vec(), &["LABELS: 7 bytes"]),
        (
            "pixels cut",
            good_images[..16 + 2 * PIXELS - 1].to_vec(),
            good_labels.clone(),
            &["IMAGES: ends after 1567 bytes of the 1568 of the 2 images", "download it again"],
        ),
        (
            "one byte more",
            images(0x803, 2, 28, 28, 2 * PIXELS + 1),
            good_labels.clone(),
            &["IMAGES: goes on after the 1568"],
        ),
        (
            "the largest claim",
            images(0x803, u32::MAX, 28, 28, PIXELS),
            good_labels.clone(),
            &["IMAGES: ends after 784 bytes of the 3367254359280 of the 4294967295 images"],
        ),
        (
            "the largest claim of labels",
            good_images.clone(),
            labels(0x801, u32::MAX, &[1, 2]),
            &["LABELS: ends after 2 bytes of the 4294967295 of the 4294967295 labels"],
        ),
        ("no image", images(0x803, 0, 28, 28, 0), good_labels.clone(), &["IMAGES: no images"]),
        (
            "other numbers",
            images(0xdead_beef, 2, 28, 28, 2 * PIXELS),
            good_labels.clone(),
            &["IMAGES: begins with deadbeef, expected 00000803"],
        ),
        ("swapped", good_labels.clone(), good_images.clone(), &["IMAGES: holds labels"]),
        ("images twice", good_images.clone(), good_images.clone(), &["LABELS: holds images"]),
        (
            "larger images",
            images(0x803, 2, 32, 32, 2 * 32 * 32),
            good_labels.clone(),
            &["IMAGES: images of 32 x 32", "28 x 28"],
        ),
        (
            "absurd images",
            images(0x803, 1, u32::MAX, u32::MAX, 10),
            good_labels.clone(),
            &["IMAGES: images of 4294967295 x 4294967295"],
        ),
        (
            "fewer labels",
            good_images.clone(),
            labels(0x801, 1, &[9]),
            &["LABELS: 1 labels, but IMAGES has 2 images", "same download"],
        ),
        (
            "a label of ten",
            good_images.clone(),
            labels(0x801, 2, &[9, 10]),
            &["LABELS: label 10 at position 1, expected 0 to 9"],
        ),
        (
            "packed and cut",
            packed[..packed.len() / 2].to_vec(),
            good_labels.clone(),
            &["IMAGES: the gzip data ends too soon", "download it again"],
        ),
        ("packed and garbled", garbled, good_labels.clone(), &["IMAGES: broken gzip data"]),
        (
            "packed twice",
            gzip(&packed),
            good_labels.clone(),
            &["IMAGES: begins with 1f8b0800, expected 00000803"],
        ),
    ];
    for (name, images, labels, expected) in rows {
        let error = parse(images, labels).expect_err(name);
        for text in *expected {
            assert!(error.contains(text), "{name}: {error}");
        }
        assert!(!error.contains('\n') && !error.ends_with('.'), "{name}: {error}");
        assert!(error.contains("; "), "{name} says what to do: {error}");
    }
}

/// A reader that never ends is read no further than one byte past what the header promises.
#[test]
fn an_endless_file_is_not_read_to_its_end() {
    let header = images(0x803, 2, 28, 28, 0);
    let endless = std::io::Cursor::new(header).chain(std::io::repeat(7));
    let fault = parse_split(("IMAGES", endless), ("LABELS", &[][..])).unwrap_err().to_string();
    assert!(fault.contains("goes on after"), "{fault}");
}

#[test]
fn a_folder_is_searched_for_both_names() {
    let folder = tempfile::tempdir().unwrap();
    let fault = || read_split(folder.path(), "t10k").unwrap_err().to_string();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();

    assert!(fault().contains("no t10k-images-idx3-ubyte or t10k-images-idx3-ubyte.gz"));
    write("t10k-images-idx3-ubyte.gz", &gzip(&images(0x803, 1, 28, 28, PIXELS)));
    assert!(fault().contains("no t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte.gz"));
    write("t10k-labels-idx1-ubyte", &labels(0x801, 1, &[3]));
    assert_eq!(read_split(folder.path(), "t10k").unwrap().labels, [3]);
    // Unpacked by hand but named as before, and the other way round.
    write("t10k-images-idx3-ubyte.gz", &images(0x803, 1, 28, 28, PIXELS));
    write("t10k-labels-idx1-ubyte", &gzip(&labels(0x801, 1, &[4])));
    assert_eq!(read_split(folder.path(), "t10k").unwrap().labels, [4]);
    // A folder of that name instead of a file.
    std::fs::create_dir(folder.path().join("t10k-images-idx3-ubyte")).unwrap();
    assert!(fault().contains("t10k-images-idx3-ubyte: "), "{}", fault());
}
