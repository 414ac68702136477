//! Aligned tables on a terminal.

/// Blanks between two columns.
const GAP: &str = "  ";

/// A table of rows of text under headings; columns whose headings start with
/// `>` are aligned to the right. Ends with a newline.
pub(crate) fn render(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut all = vec![
        headings
            .iter()
            .map(|text| text.trim_start_matches('>').to_uppercase())
            .collect::<Vec<_>>(),
    ];
    all.extend(rows);
    let width = |column: usize| {
        let cells = all.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let columns: Vec<(bool, usize)> = headings
        .iter()
        .enumerate()
        .map(|(column, heading)| (heading.starts_with('>'), width(column)))
        .collect();
    let mut text = String::new();
    for row in &all {
        let cells = row.iter().zip(&columns).map(|(cell, &(right, width))| {
            if right {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        let line = cells.collect::<Vec<_>>().join(GAP);
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
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
