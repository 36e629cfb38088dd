//! PyTorch in a process of its own, which waits for a line and answers with a turn's times.

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::contestant::Times;

pub(crate) struct Peer {
    process: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts `benches/peer/cuda.py` by the Python that PEER_PYTHON names; says what is missing where it cannot be.
    pub(crate) fn start(tf32: bool) -> Result<Self, String> {
        let python = std::env::var_os("PEER_PYTHON").ok_or("PEER_PYTHON is not set")?;
        let folder = std::env::var_os("PEER_FOLDER").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peer"),
            PathBuf::from,
        );
        let mut process = Command::new(python)
            .arg(folder.join("cuda.py"))
            .arg(if tf32 { "tf32" } else { "f32" })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let (Some(asks), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("it has no input and output".into());
        };
        let mut peer = Self { process, asks, answers: BufReader::new(answers) };
        println!("{}", peer.line().map_err(|error| error.to_string())?);
        Ok(peer)
    }

    /// One turn of `steps` steps with so many stages frozen.
    pub(crate) fn take(
        &mut self,
        model: &str,
        frozen: usize,
        steps: usize,
        compiled: bool,
    ) -> io::Result<Times> {
        writeln!(self.asks, "{model}\t{frozen}\t{steps}\t{}", u8::from(compiled))?;
        let line = self.line()?;
        let times: Vec<f64> = line.split('\t').filter_map(|time| time.parse().ok()).collect();
        match times[..] {
            [forward, backward, update, step, peak] => {
                Ok(Times { forward, backward, update, step, peak })
            }
            _ => Err(io::Error::other(format!("expected five numbers, found `{line}`"))),
        }
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
