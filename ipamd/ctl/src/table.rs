//! Aligned tables on a terminal.

use comfy_table::{CellAlignment, Table, presets};

/// A table of rows of text under headings; columns whose headings start with
/// `>` are aligned to the right. Ends with a newline.
pub(crate) fn render(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(headings.iter().map(|text| text.trim_start_matches('>').to_uppercase()));
    for row in rows {
        table.add_row(row);
    }
    for (index, heading) in headings.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, 2));
            if heading.starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    let lines = table.lines();
    lines.map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_blanks_at_their_ends() {
        let rows = [["a", "1"], ["long", "100"]].map(|row| row.map(str::to_owned).to_vec());
        let text = render(&["name", ">count"], rows);
        assert_eq!(text, "NAME  COUNT\na         1\nlong    100\n");
    }
}
