//! The same models in PyTorch: `benches/peer` has its side, and a script that fetches it.

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// PyTorch in a process of its own, which waits for a line and answers with a turn's times.
pub(crate) struct Peer {
    process: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// What it calls itself.
    pub(crate) name: String,
}

/// The median seconds of the steps of a turn.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) backward: f64,
    pub(crate) step: f64,
}

impl Peer {
    /// Starts `script` of `benches/peer`; says what is missing where it cannot be.
    pub(crate) fn start(script: &str) -> Result<Self, String> {
        Self::start_with(script, &rayon::current_num_threads().to_string())
    }

    /// As [`start`](Self::start), with another argument than the number of threads.
    pub(crate) fn start_with(script: &str, argument: &str) -> Result<Self, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder =
            std::env::var_os("PEER_FOLDER").map_or(root.join("benches/peer"), PathBuf::from);
        let python =
            std::env::var_os("PEER_PYTHON").map_or(root.join("target/peer/python"), PathBuf::from);
        let missing = |why: &dyn std::fmt::Display| {
            let python = python.display();
            format!(
                "no PyTorch ({python}: {why}); run `bash benches/peer/setup.sh`, or set PEER_PYTHON"
            )
        };
        let mut process = Command::new(&python)
            .arg(folder.join(script))
            .arg(argument)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| missing(&error))?;
        let (Some(asks), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(missing(&"it has no input and output"));
        };
        let (answers, name) = (BufReader::new(answers), String::new());
        let mut peer = Self { process, asks, answers, name };
        peer.name = peer.line().map_err(|error| missing(&error))?;
        Ok(peer)
    }

    /// `steps` steps of `model` with so much of it frozen, after one that warms up.
    pub(crate) fn take(&mut self, model: &str, depth: &str, steps: usize) -> io::Result<Times> {
        let [_, backward, _, step] = self.ask(&format!("{model}\t{depth}\t{steps}"))?;
        // Its threads go on waiting for work for a while.
        std::thread::sleep(Duration::from_millis(50));
        Ok(Times { backward, step })
    }

    /// The numbers that a line is answered with.
    pub(crate) fn ask<const N: usize>(&mut self, line: &str) -> io::Result<[f64; N]> {
        writeln!(self.asks, "{line}")?;
        let answer = self.line()?;
        let numbers: Vec<f64> = answer.split('\t').filter_map(|word| word.parse().ok()).collect();
        let wrong = |_| io::Error::other(format!("expected {N} numbers, found `{answer}`"));
        numbers.try_into().map_err(wrong)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.answers.read_line(&mut line)? {
            0 => Err(io::Error::other("it ended")),
            _ => Ok(line.trim_end().to_string()),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
