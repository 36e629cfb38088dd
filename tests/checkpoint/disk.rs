//! A full disk and places that cannot be written: a clear error, and the old checkpoint intact.

use std::fs;
use std::path::Path;

use freeze_core::checkpoint::Manager;
use freeze_core::{Error, Result};

use crate::child::{argument, command};
use crate::rig::{Kind, Run, When};

fn run(seed: u64) -> Result<Run> {
    Run::of_width(64, Kind::AdamW, When::LinearByEpoch, seed)
}

fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).expect("the folder").count()
}

/// Root could replace `/dev/null` by a file.
#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_replaced_by_one() -> Result<()> {
    use std::os::unix::fs::FileTypeExt;

    let dir = tempfile::tempdir().expect("a folder");
    let pipe = dir.path().join("pipe.safetensors");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let error = run(1)?.save(&pipe).expect_err("a pipe").to_string();
    assert!(error.contains("it is not a file"), "{error}");
    assert!(fs::symlink_metadata(&pipe).expect("the pipe").file_type().is_fifo());
    assert_eq!(entries(dir.path()), 1);
    Ok(())
}

/// The disk is full after 8 blocks: a limit on the size of files, and no signal for it, as for a
/// write to a full disk. A shell sets both, so that no unsafe call is needed.
#[cfg(unix)]
#[test]
fn a_full_disk_is_an_error_and_the_old_file_stays() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run.safetensors");
    run(1)?.save(&path)?;
    let old = fs::read(&path).expect("the old file");
    assert!(old.len() > 8 * 1024);
    let child = command("disk::saves_on_a_full_disk", &path);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\""]);
    shell.arg(child.get_program()).args(child.get_args());
    shell.envs(child.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let output = shell.output().expect("a child");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text} {}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("cannot write") && text.contains("File too large"), "{text}");
    assert_eq!(fs::read(&path).expect("the old file"), old);
    assert_eq!(entries(dir.path()), 1);
    run(2)?.resume(&path)?;
    Ok(())
}

#[test]
#[ignore = "the process whose disk is full"]
fn saves_on_a_full_disk() -> Result<()> {
    let Some(path) = argument() else { return Ok(()) };
    let error = run(2)?.save(&path).expect_err("a full disk");
    assert!(matches!(error, Error::File { .. }));
    println!("{error}");
    Ok(())
}

#[test]
fn a_place_that_cannot_be_written_is_an_error() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let (file, folder) = (dir.path().join("file"), dir.path().join("folder"));
    fs::write(&file, b"old").and_then(|()| fs::create_dir(&folder)).expect("a file, a folder");
    let mut run = run(1)?;
    for (path, says) in [
        (file.join("run.safetensors"), "not a directory"),
        (dir.path().join("none").join("run.safetensors"), "No such file"),
        (folder.clone(), "is a directory"),
        (dir.path().join(".."), "does not name a file"),
    ] {
        let error = run.save(&path).expect_err(says);
        assert!(
            matches!(&error, Error::File { path: at, .. } if *at == path.display().to_string())
        );
        assert!(error.to_string().contains(says), "{error}");
    }
    assert_eq!((fs::read(&file).expect("the file"), entries(dir.path())), (b"old".to_vec(), 2));
    assert_eq!(entries(&folder), 0);
    assert!(Manager::new(file.join("runs")).is_err());
    Ok(())
}

/// What cannot be read as a file at all.
#[test]
fn a_place_that_cannot_be_read_is_an_error() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder");
    let mut run = run(1)?;
    for (path, says) in [
        (dir.path().to_path_buf(), "it is not a file"),
        (dir.path().join("none"), "No such file"),
        ("/dev/zero".into(), "it is not a file"),
    ] {
        let error = run.resume(&path).expect_err(says);
        assert!(matches!(error, Error::File { .. }));
        assert!(error.to_string().contains(says), "{error}");
    }
    Ok(())
}

/// A new file may be read by whoever may read the process's other new files.
#[cfg(unix)]
#[test]
fn a_checkpoint_has_the_permissions_of_any_new_file() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().expect("a folder");
    let (saved, any) = (dir.path().join("run.safetensors"), dir.path().join("any"));
    run(1)?.save(&saved)?;
    fs::write(&any, b"").expect("a file");
    let mode = |path| fs::metadata(path).map(|data| data.permissions().mode()).expect("a file");
    assert_eq!(mode(&saved), mode(&any));
    Ok(())
}
