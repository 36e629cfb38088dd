//! A calibration as a table.

use std::fmt;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets::UTF8_HORIZONTAL_ONLY};

use super::{Calibration, costs::Call};

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
            let mut row = vec![leaf.path.clone(), leaf.kind.to_string()];
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
