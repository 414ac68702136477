//! Aligned tables on a terminal, and texts that fit into its width. Columns are
//! counted as terminals count them, and whatever a cell says stays in its cell.

use unicode_width::UnicodeWidthStr;
use veni_terminal::printable;

/// Blanks between two columns.
const GAP: &str = "  ";

/// Columns that a text takes on a terminal.
pub(crate) fn width_of(text: &str) -> usize {
    text.width()
}

/// A table of rows of text under headings; columns whose headings start with
/// `>` are aligned to the right. Ends with a newline.
pub(crate) fn render(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let heading = |text: &&str| text.trim_start_matches('>').to_uppercase();
    let mut all = vec![headings.iter().map(heading).collect::<Vec<_>>()];
    all.extend(rows);
    for cell in all.iter_mut().flatten() {
        *cell = printable::line(cell).into_owned();
    }
    let width = |column: usize| {
        let cells = all.iter().filter_map(|row| row.get(column));
        cells.map(|cell| width_of(cell)).max().unwrap_or_default()
    };
    let columns: Vec<(bool, usize)> = headings
        .iter()
        .enumerate()
        .map(|(column, heading)| (heading.starts_with('>'), width(column)))
        .collect();
    let mut text = String::new();
    for row in &all {
        let cells = row.iter().zip(&columns).map(|(cell, &(right, width))| {
            let blanks = " ".repeat(width.saturating_sub(width_of(cell)));
            if right {
                format!("{blanks}{cell}")
            } else {
                format!("{cell}{blanks}")
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

/// A text in lines of at most `width` columns, cut between words, and inside
/// one that is longer.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in printable::line(text).split_whitespace() {
        match lines.last_mut() {
            Some(line) if width_of(line) + 1 + width_of(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.extend(pieces(word, width)),
        }
    }
    lines
}

fn pieces(word: &str, width: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for letter in word.chars() {
        let mut longer = pieces.pop().unwrap_or_default();
        longer.push(letter);
        if width_of(&longer) > width && longer.chars().nth(1).is_some() {
            longer.pop();
            pieces.push(longer);
            longer = letter.to_string();
        }
        pieces.push(longer);
    }
    pieces
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
    fn a_name_stays_in_its_cell_whatever_is_in_it() {
        let hostile = "a\u{1b}[31m\n\tb\u{202e}c";
        let text = render(
            &["pod", ">n"],
            [
                vec![hostile.to_owned(), "1".to_owned()],
                vec!["b".to_owned(), "2".to_owned()],
            ],
        );
        assert_eq!(
            text,
            "POD                        N\n\
             a\\u{1b}[31m\\n\\tb\\u{202e}c  1\n\
             b                          2\n"
        );
        assert_eq!(wrap("a\u{1b}b c", 80), ["a\\u{1b}b c"]);
    }

    #[test]
    fn wide_and_combining_characters_keep_the_columns_where_they_are() {
        let rows = [["ポッド", "1"], ["e\u{301}te\u{301}", "2"], ["abcdef", "3"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(
            render(&["name", ">n"], rows),
            "NAME    N\nポッド  1\ne\u{301}te\u{301}     2\nabcdef  3\n"
        );
        assert_eq!(wrap("ポッドポッド", 6), ["ポッド", "ポッド"]);
        assert_eq!(wrap("ポ", 1), ["ポ"]);
    }

    #[test]
    fn columns_are_aligned_and_lines_have_no_blanks_at_their_ends() {
        let rows = [["a", "1"], ["long", "100"]].map(|row| row.map(str::to_owned).to_vec());
        let text = render(&["name", ">count"], rows);
        assert_eq!(text, "NAME  COUNT\na         1\nlong    100\n");
    }
}
