//! Reading takes no more memory than the module's documentation says, whatever the file claims.

use std::path::Path;

use freeze_core::Result;
use freeze_core::checkpoint::{load_weights, verify};

use crate::ALLOCATOR;
use crate::child::{argument, command};
use crate::craft::{Parts, file, state_alone};
use crate::rig::{Kind, Run, When};

/// Names, paths, messages, buffers.
const CONSTANT: usize = 256 << 10;

/// The bound: the tensors, the largest of them once more, 64 bytes for each byte of the header.
fn bound(file: &[u8]) -> usize {
    let header = u64::from_le_bytes(file[..8].try_into().expect("eight bytes"));
    let header = (header as usize).min(file.len());
    let tensors = file.len() - header;
    let largest = match tensors > 1000 {
        true => Parts::of(file).header.values().map(size).max().unwrap_or_default(),
        false => 0,
    };
    tensors + largest + 64 * header + CONSTANT
}

fn size(info: &serde_json::Value) -> usize {
    let [start, end] = [0, 1].map(|i| info["data_offsets"][i].as_u64().unwrap_or_default());
    (end - start) as usize
}

/// Files whose headers cost the most for their size.
fn greedy() -> Vec<(&'static str, Vec<u8>)> {
    let n = 200_000;
    let zeros = vec!["0"; n].join(",");
    let ones = vec!["1"; n].join(",");
    let info = |shape: &str| format!(r#"{{"dtype":"U8","shape":[{shape}],"data_offsets":[0,0]}}"#);
    let tensors: Vec<String> = (0..n / 20).map(|i| format!(r#""{i:x}":{}"#, info("0"))).collect();
    let texts: Vec<String> = (0..n / 5).map(|i| format!(r#""{i:x}":"""#)).collect();
    let metrics = vec![r#"{"name":"","last":1.0}"#; n / 20];
    let dropouts: Vec<String> =
        (0..n / 20).map(|i| format!(r#""{i:x}":{{"seed":0,"position":0}}"#)).collect();
    let state = |dropouts: &str, schedule: &str, metrics: &str| {
        state_alone(&format!(
            r#"{{"written_by":"","layout":{{"tensors":{{}},"ties":{{}}}},
            "dropouts":{{"states":{{{dropouts}}},"shared":{{}}}},"plan":[],"base_plan":[],
            "batch_norm":"as_caller","progress":{{"epoch":0,"epochs":0,"step":0,"steps":0}},
            "samples":0,"optimizers":[],"policy":{{"describe":"","state":{schedule}}},
            "metrics":[{metrics}],"gathered":null,"checksums":{{}},
            "in_base":null,"base_id":null}}"#
        ))
    };
    let absurd = |claim: u64| [&claim.to_le_bytes()[..], &[b'{'; 64]].concat();
    vec![
        ("an absurd length", absurd(u64::MAX)),
        ("a large length", absurd(99_999_999)),
        ("a long shape", file(format!(r#"{{"a":{}}}"#, info(&zeros)).as_bytes(), &[])),
        ("a long shape of ones", file(format!(r#"{{"a":{}}}"#, info(&ones)).as_bytes(), &[])),
        ("many tensors", file(format!("{{{}}}", tensors.join(",")).as_bytes(), &[])),
        (
            "many texts",
            file(format!(r#"{{"__metadata__":{{{}}}}}"#, texts.join(",")).as_bytes(), &[]),
        ),
        ("a long list in the state", state("", &format!("[{zeros}]"), "")),
        ("lists in lists in the state", state("", &format!("[{}]", vec!["[0]"; n].join(",")), "")),
        ("many dropouts", state(&dropouts.join(","), "null", "")),
        ("many metrics", state("", "null", &metrics.join(","))),
    ]
}

#[test]
fn the_bound_on_memory_holds() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let mut files = greedy();
    let whole = dir.path().join("whole");
    Run::of_width(600, Kind::AdamW, When::LinearByEpoch, 1)?.save(&whole)?;
    files.push(("a whole checkpoint", std::fs::read(&whole).expect("the file")));
    for (what, bytes) in files {
        let path = dir.path().join("file");
        std::fs::write(&path, &bytes).expect("a file");
        let output = command("memory::reads_one_file", &path).output().expect("a child");
        let text = String::from_utf8_lossy(&output.stdout);
        let peak = text.split("peak ").nth(1).and_then(|rest| rest.split(' ').next());
        let peak: usize = peak.and_then(|n| n.parse().ok()).unwrap_or_else(|| {
            panic!("{what}: {text} {}", String::from_utf8_lossy(&output.stderr))
        });
        let (file, bound) = (bytes.len(), bound(&bytes));
        println!("{what}: file {file}, peak {peak}, bound {bound}");
        assert!(peak <= bound, "{what}: {peak} bytes for a file of {file}, more than {bound}");
    }
    Ok(())
}

#[test]
#[ignore = "the process whose memory is counted"]
fn reads_one_file() {
    let Some(path) = argument() else { return };
    let read = |path: &Path| (verify(path).is_ok(), load_weights(path).is_ok());
    // `max_allocated` counts from the start of the process, which has done nothing big so far.
    let before = ALLOCATOR.max_allocated();
    let taken = read(&path);
    let peak = ALLOCATOR.max_allocated().saturating_sub(before);
    println!("peak {peak} {taken:?}");
}
