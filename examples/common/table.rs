//! Tables with lines above and below, none between rows.

use comfy_table::{CellAlignment, LineStyle, Row, Table, presets::UTF8_HORIZONTAL_ONLY};

/// An empty table; all columns but the first are aligned to the right.
pub(crate) fn table(header: impl Into<Row>) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
