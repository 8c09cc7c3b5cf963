//! Figures as a table for people, its columns as wide as what they hold.

use std::fmt;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table as Lines};

/// A table whose first column is a name and whose others are figures.
#[derive(Debug)]
pub(crate) struct Table(Lines);

impl Table {
    pub(crate) fn new<const N: usize>(columns: [&str; N]) -> Self {
        let mut lines = Lines::new();
        lines.load_style(ASCII_MARKDOWN).set_header(columns);
        for column in lines.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        Self(lines)
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.0.add_row(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
