//! Aligned tables on a terminal, and text wrapped to its width. Counts columns as
//! terminals do (wide characters take two). Control characters of a cell cannot leave
//! the cell.

use unicode_width::UnicodeWidthStr;
use veni_terminal::printable;

/// Blanks between two columns.
const GAP: &str = "  ";

/// Columns that every terminal has room for, as far as tables go.
const TABLE: usize = 100;
/// Columns that a cell keeps, however long others are.
const NARROWEST: usize = 8;

/// Columns that a text takes on a terminal.
pub(crate) fn width_of(text: &str) -> usize {
    text.width()
}

/// A table of rows of text under headings; columns whose headings start with
/// `>` are aligned to the right. Ends with a newline.
pub(crate) fn render(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    render_within(headings, rows, None)
}

/// The same in lines of so many columns, where a number is given: the longest cells are cut
/// in their middle, because names that belong together begin alike.
pub(crate) fn render_within(
    headings: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
    most: Option<usize>,
) -> String {
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
    let mut widths: Vec<usize> = (0..headings.len()).map(width).collect();
    if let Some(most) = most {
        narrow(&mut widths, most);
        for row in &mut all {
            for (cell, width) in row.iter_mut().zip(&widths) {
                *cell = shortened(cell, *width);
            }
        }
    }
    let right = headings.iter().map(|heading| heading.starts_with('>'));
    let columns: Vec<(bool, usize)> = right.zip(widths).collect();
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

/// Takes columns from the widest until all fit; none gets narrower than [`NARROWEST`].
fn narrow(widths: &mut [usize], most: usize) {
    let gaps = GAP.len() * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > most {
        let widest = widths.iter_mut().max_by_key(|width| **width);
        match widest.filter(|width| **width > NARROWEST) {
            Some(width) => *width -= 1,
            None => return,
        }
    }
}

/// A text of at most so many columns: what is too long loses its middle.
fn shortened(text: &str, width: usize) -> String {
    if width_of(text) <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let take = |letters: &mut dyn Iterator<Item = char>, room: usize| {
        let mut taken = String::new();
        for letter in letters {
            taken.push(letter);
            if width_of(&taken) > room {
                taken.pop();
                break;
            }
        }
        taken
    };
    let begin = take(&mut text.chars(), room / 2);
    let end = take(&mut text.chars().rev(), room - room / 2);
    let end: String = end.chars().rev().collect();
    format!("{begin}…{end}")
}

/// Columns that a table may have: what the terminal has, and at least a hundred; `None`
/// where standard output is no terminal, so that scripts get whole names.
pub(crate) fn table_width() -> Option<usize> {
    terminal_width().map(|width| width.max(TABLE))
}

/// Columns of the terminal on standard output; `None` when that is not a terminal.
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
    fn long_names_lose_their_middle_until_the_table_fits() {
        let pod = format!("shop/{}-7d4b9c6f5-x2x4z", "checkout".repeat(20));
        let row = |pod: &str| {
            [
                "fd00:1234:5678:9abc:def0:1234:5678:9abc/128",
                "eni5ac5088bbee",
                "ready",
                "42.2 ms",
            ]
            .iter()
            .fold(vec![pod.to_owned()], |mut row, cell| {
                row.push((*cell).to_owned());
                row
            })
        };
        let headings = ["pod", "addresses", "host link", "state", ">add took"];
        let text = render_within(&headings, [row(&pod), row("shop/web")], Some(TABLE));
        assert!(text.lines().all(|line| width_of(line) <= TABLE), "{text}");
        assert!(text.lines().any(|line| width_of(line) == TABLE), "{text}");
        assert!(text.contains("…") && text.contains("x2x4z"), "{text}");
        assert!(
            text.contains("eni5ac5088bbee") && text.contains("shop/web "),
            "{text}"
        );
        assert!(render_within(&headings, [row(&pod)], None).contains(&pod));
        assert_eq!(shortened("ポッドポッド", 8), "ポ…ッド");
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
