//! A calibration as a table, and what it forecasts in a line.

use std::fmt;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets::UTF8_HORIZONTAL_ONLY};

use super::{Calibration, Forecast, StageCosts, costs::Call};
use crate::error::listed;

/// One row per leaf; an operation without weights counts to the leaf that ran before it.
impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY);
        let header = ["leaf", "kind", "MFLOP", "bytes", "forward", "input", "weights", "kept"];
        table.set_header(header);
        for (index, leaf) in self.leaves.iter().enumerate() {
            let calls: Vec<&Call> =
                self.calls.iter().filter(|call| call.shown_in == Some(index)).collect();
            let mut row = vec![leaf.path.clone(), leaf.kind.clone().into_owned()];
            match leaf.known {
                false => row.push("unknown".to_string()),
                true => row.extend(cells(&calls)),
            }
            table.add_row(row);
        }
        for index in 2..header.len() {
            if let Some(column) = table.column_mut(index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        write!(
            f,
            "{table}\nforward {} in all, loss {}, update {}",
            ms(self.heads.forward + self.calls.iter().map(|call| call.forward).sum::<Duration>()),
            ms(self.heads.backward),
            ms(self.update)
        )
    }
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step_ratio {
            Some(ratio) => write!(f, "a step takes {ratio:.2} of one that trains everything")?,
            None => f.write_str("how long a step takes is unknown")?,
        }
        let Self { gradient_bytes, state_bytes, activation_bytes, .. } = self;
        write!(
            f,
            "; {:.2} MFLOP; gradients {gradient_bytes} bytes, optimizer state {state_bytes}, activations {activation_bytes}",
            self.flops as f64 / 1e6
        )?;
        match &self.unknown[..] {
            [] => Ok(()),
            unknown => write!(f, "; not recorded: {}", listed(unknown)),
        }
    }
}

/// One row per stage, with the effect of a cache of its output and of recomputing it.
impl fmt::Display for StageCosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY);
        let header = [
            "stage",
            "state",
            "forward",
            "output",
            "kept",
            "cached: bytes a sample",
            "saves",
            "recomputed: saves",
            "costs",
        ];
        table.set_header(header);
        for (index, stage) in self.stages.iter().enumerate() {
            let is_frozen = self.boundary.is_none_or(|boundary| index < boundary);
            table.add_row([
                stage.path.clone(),
                match self.boundary == Some(index) {
                    true => "boundary".to_string(),
                    false => (if is_frozen { "frozen" } else { "behind it" }).to_string(),
                },
                ms(stage.forward),
                stage.output_bytes.to_string(),
                stage.kept_bytes.to_string(),
                self.record_bytes(index).to_string(),
                ms(self.cached_time(index)),
                self.recomputed_bytes(index).to_string(),
                ms(stage.forward),
            ]);
        }
        for index in 2..header.len() {
            if let Some(column) = table.column_mut(index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        write!(f, "{table}\n{} samples of {} bytes in all", self.batch, self.input_bytes())
    }
}

fn cells(calls: &[&Call]) -> [String; 6] {
    let time = |of: fn(&Call) -> Duration| ms(calls.iter().map(|call| of(call)).sum());
    let count = |of: fn(&Call) -> usize| calls.iter().map(|call| of(call)).sum::<usize>();
    let flops: u64 = calls.iter().map(|call| call.flops.forward).sum();
    [
        format!("{:.2}", flops as f64 / 1e6),
        count(|call| call.moved).to_string(),
        time(|call| call.forward),
        time(|call| call.input),
        time(|call| call.weight),
        count(|call| call.output).to_string(),
    ]
}

fn ms(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}
