//! Aligned tables on a terminal, and texts that fit into its width.

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

/// Columns of the terminal that standard output goes to; `None` when it is none.
pub(crate) fn terminal_width() -> Option<usize> {
    let (width, _) = terminal_size::terminal_size_of(std::io::stdout())?;
    Some(width.0.into())
}

/// A text in lines of at most `width` characters, cut between words, and inside
/// one that is longer.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.extend(pieces(word, width)),
        }
    }
    lines
}

fn pieces(word: &str, width: usize) -> Vec<String> {
    let letters: Vec<char> = word.chars().collect();
    letters
        .chunks(width.max(1))
        .map(String::from_iter)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_words_and_inside_long_ones() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("a verylongword b", 5), ["a", "veryl", "ongwo", "rd b"]);
        assert!(wrap("", 5).is_empty());
    }

    #[test]
    fn columns_are_aligned_and_lines_have_no_blanks_at_their_ends() {
        let rows = [["a", "1"], ["long", "100"]].map(|row| row.map(str::to_owned).to_vec());
        let text = render(&["name", ">count"], rows);
        assert_eq!(text, "NAME  COUNT\na         1\nlong    100\n");
    }
}
