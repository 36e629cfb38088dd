//! The table in colours, for a terminal.

use std::ffi::OsStr;
use std::io::IsTerminal;

use super::Summary;
use crate::plan::LeafState;

const TRAINED: &str = "\x1b[32m";
const AT_ANOTHER_RATE: &str = "\x1b[33m";
const FROZEN: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

impl Summary {
    /// The table in colours by state, if standard output is a terminal and the environment variable `NO_COLOR` is
    /// not set; otherwise as [`Display`](std::fmt::Display) prints it, as into a pipe or a file.
    ///
    /// `println!("{}", model.summary()?.for_terminal())`
    pub fn for_terminal(&self) -> String {
        let no_color = std::env::var_os("NO_COLOR");
        match is_coloured(std::io::stdout().is_terminal(), no_color.as_deref()) {
            true => self.coloured(),
            false => self.to_string(),
        }
    }

    /// Whole lines have a colour, so that the widths of columns stay.
    fn coloured(&self) -> String {
        let mut leaves = self.rows.iter();
        let mut colour = None;
        let mut text = String::new();
        for line in self.to_string().lines() {
            // Behind the header, and behind each leaf.
            if line.starts_with(['═', '─']) {
                let is_behind_header = line.starts_with('═') || colour.is_some();
                colour = is_behind_header.then(|| leaves.next()).flatten().map(|(leaf, state)| {
                    match state {
                        LeafState::Frozen => FROZEN,
                        _ if !leaf.is_trainable() => PLAIN,
                        LeafState::Trained { lr_scale } if *lr_scale == 1.0 => TRAINED,
                        LeafState::Trained { .. } => AT_ANOTHER_RATE,
                    }
                });
                text += line;
            } else {
                match colour {
                    Some(colour) => text += &format!("{colour}{line}{PLAIN}"),
                    None => text += line,
                }
            }
            text.push('\n');
        }
        text.trim_end().to_string()
    }
}

fn is_coloured(is_terminal: bool, no_color: Option<&OsStr>) -> bool {
    is_terminal && no_color.is_none_or(OsStr::is_empty)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use candle_nn::{VarBuilder, VarMap, linear};

    use super::*;
    use crate::model::{Freezable, Freezer};

    #[test]
    fn each_state_has_its_colour() -> crate::error::Result<()> {
        let map = VarMap::new();
        let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
        let layer = |name| linear(2, 2, vb.pp(name));
        let mut net = Freezer::new(vec![layer("a")?, layer("b")?, layer("c")?])?;
        let mut plan = net.plan().clone();
        plan.freeze("0")?;
        plan.train("1", 0.5)?;
        net.apply(&plan, &mut [])?;
        let summary = net.summary()?;
        let coloured = summary.coloured();
        let of = |path: &str| {
            let line = coloured.lines().find(|line| line.contains(&format!("   {path}   ")));
            line.and_then(|line| line.split_once(' ')).map(|(colour, _)| colour)
        };
        assert_eq!(["0", "1", "2"].map(of), [Some(FROZEN), Some(AT_ANOTHER_RATE), Some(TRAINED)]);
        let mut without = coloured.clone();
        for colour in [FROZEN, AT_ANOTHER_RATE, TRAINED, PLAIN] {
            without = without.replace(colour, "");
        }
        assert_eq!(without, summary.to_string());
        assert!(!net.whole().summary()?.to_string().contains('\x1b'));
        Ok(())
    }

    #[test]
    fn only_a_terminal_has_colours() {
        let rows = [
            (false, None, false),
            (true, None, true),
            (true, Some("1"), false),
            (true, Some(""), true),
            (false, Some(""), false),
        ];
        for (is_terminal, no_color, expected) in rows {
            assert_eq!(is_coloured(is_terminal, no_color.map(OsStr::new)), expected);
        }
    }
}
