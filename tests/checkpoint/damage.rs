//! Files that are cut off, or claim what is not there.

use freeze_core::{Error, Result};
use proptest::test_runner::TestCaseError;

use crate::craft::{Parts, file};
use crate::rig::{Kind, Run, When};

fn saved() -> Result<(tempfile::TempDir, Run, Vec<u8>)> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run.safetensors");
    let mut run = Run::of_width(2, Kind::AdamW, When::OneMoreByEpoch, 1)?;
    run.train(5, |_| Ok(()))?;
    run.save(&path)?;
    let bytes = std::fs::read(&path).expect("the file");
    Ok((dir, Run::of_width(2, Kind::AdamW, When::OneMoreByEpoch, 2)?, bytes))
}

/// Every file that is shorter or longer than it was, by any number of bytes.
#[test]
fn a_file_of_another_length_is_damaged() -> Result<()> {
    let (dir, mut run, bytes) = saved()?;
    let path = dir.path().join("cut");
    let before = run.trace()?;
    for len in 0..bytes.len() {
        std::fs::write(&path, &bytes[..len]).expect("a file");
        assert!(matches!(run.resume(&path), Err(Error::Damaged { .. })), "{len}");
    }
    for more in [1, 8, 1000] {
        std::fs::write(&path, [&bytes[..], &vec![0; more]].concat()).expect("a file");
        assert!(matches!(run.resume(&path), Err(Error::Damaged { .. })), "{more}");
    }
    assert_eq!(run.trace()?, before);
    Ok(())
}

/// Every single bit of the file, flipped alone: an error, or the same run.
#[test]
fn no_flipped_bit_passes() -> Result<(), TestCaseError> {
    let (dir, mut run, bytes) = saved().expect("a file");
    let path = dir.path().join("flipped");
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let before = run.trace().expect("a trace");
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(&path, &flipped).expect("a file");
        let result = run.resume(&path);
        assert!(result.is_err(), "byte {at} of {header} + {}", bytes.len() - header);
    }
    assert_eq!(run.trace().expect("a trace"), before);
    Ok(())
}

#[test]
fn a_header_cannot_claim_what_is_not_there() -> Result<()> {
    let (dir, mut run, bytes) = saved()?;
    let path = dir.path().join("crafted");
    let mut refused = |bytes: Vec<u8>, says: &str| {
        std::fs::write(&path, bytes).expect("a file");
        let error = run.resume(&path).expect_err(says);
        assert!(error.to_string().contains(says), "`{says}` is not in: {error}");
    };
    for claim in [u64::MAX, u64::MAX - 7, 1 << 40, 100_000_001, bytes.len() as u64 - 7] {
        let mut absurd = bytes.clone();
        absurd[..8].copy_from_slice(&claim.to_le_bytes());
        refused(absurd, &format!("its header claims {claim} bytes"));
    }
    let parts = Parts::of(&bytes);
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut parts = parts.clone();
        change(&mut parts.header["model/head.bias"]);
        parts.to_bytes()
    };
    let max = usize::MAX;
    refused(with(&|i| i["shape"] = serde_json::json!([max, 2])), "absurd shape");
    refused(with(&|i| i["shape"] = serde_json::json!([0, max, 2])), "absurd shape");
    refused(with(&|i| i["shape"] = serde_json::json!([max / 2])), "its header");
    refused(with(&|i| i["shape"] = serde_json::json!([-1])), "its header");
    refused(with(&|i| i["dtype"] = "F4096".into()), "its header");
    refused(with(&|i| i["data_offsets"] = serde_json::json!([0, max])), "its header");
    refused(with(&|i| i["data_offsets"] = serde_json::json!([max, 0])), "its header");
    refused(with(&|i| i["data_offsets"] = serde_json::json!([0, 4])), "its header");
    let one = r#""a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
    refused(file(format!("{{{one}}}").as_bytes(), &[]), "claims 1 bytes of tensors, it has 0");
    refused(file(format!("{{{one},{one}}}").as_bytes(), &[0]), "lists `a` twice");
    refused(file(br#"{"__metadata__":{},"__metadata__":{}}"#, &[]), "duplicate field");
    refused(file("[".repeat(100_000).as_bytes(), &[]), "its header");
    refused(file(&[0xff; 16], &[]), "its header");
    refused(file(b"", &[]), "its header");
    Ok(())
}
