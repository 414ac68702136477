//! Text from elsewhere (names of pods, a cloud's messages, the kernel's names) in
//! a form that cannot steer a terminal. Pure.
//!
//! Escaped are control characters, with which a name could move the cursor, set
//! the window's title or forge a line; and the format characters of Unicode that
//! cannot be seen, of which some turn the order of what follows round
//! (CVE-2021-42574).

use std::borrow::Cow;
use std::fmt::Write;

/// Whether a character is shown as what it is, and changes nothing else.
fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// As a part of one line: `\n`, `\t`, `\u{1b}` stand for what they name.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, is_harmless, |escaped, c| {
        escaped.extend(c.escape_default());
    })
}

/// As lines: newlines and tabs stay.
pub fn lines(text: &str) -> Cow<'_, str> {
    let stays = |c: char| matches!(c, '\n' | '\t') || is_harmless(c);
    escaped(text, stays, |escaped, c| escaped.extend(c.escape_default()))
}

/// JSON that means the same. Outside of its strings JSON has no character but
/// newlines that is escaped here.
pub fn json(json: &str) -> Cow<'_, str> {
    let stays = |c: char| c == '\n' || is_harmless(c);
    escaped(json, stays, |escaped, c| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a string does not fail.
            let _done = write!(escaped, "\\u{unit:04x}");
        }
    })
}

fn escaped(
    text: &str,
    stays: impl Fn(char) -> bool,
    escape: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    if text.chars().all(&stays) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if stays(c) {
            escaped.push(c);
        } else {
            escape(&mut escaped, c);
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clears the screen, forges a line, turns the order round, hides.
    const HOSTILE: &str =
        "a\u{1b}[2J\n\tb\r\u{9b}31m\u{7f}\u{202e}c\u{2066}\u{200b}\u{2028}\u{e0041}";

    #[test]
    fn a_part_of_a_line_has_nothing_that_steers_a_terminal() {
        assert_eq!(
            line(HOSTILE),
            r"a\u{1b}[2J\n\tb\r\u{9b}31m\u{7f}\u{202e}c\u{2066}\u{200b}\u{2028}\u{e0041}"
        );
    }

    #[test]
    fn lines_keep_their_ends_and_nothing_else() {
        assert_eq!(lines("a\n\tb\n"), "a\n\tb\n");
        assert_eq!(lines("a\u{1b}\r\nb"), "a\\u{1b}\\r\nb");
    }

    #[test]
    fn what_people_write_stays_as_it_is() {
        for text in [
            "shop/web-0",
            "Größe",
            "ポッド",
            "e\u{301}",
            "a \\ \"b\"",
            "",
        ] {
            assert!(matches!(line(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn every_control_character_of_unicode_is_escaped() {
        for c in ('\0'..=char::MAX).filter(|c| c.is_control()) {
            let text = line(&c.to_string()).into_owned();
            assert!(text.len() > 1 && text.is_ascii(), "{c:?}");
        }
    }

    #[test]
    fn json_means_the_same_and_has_nothing_that_steers_a_terminal() {
        assert_eq!(json("{\n  \"a\": \"b\"\n}"), "{\n  \"a\": \"b\"\n}");
        assert_eq!(json("\"\u{9b}\u{202e}\""), "\"\\u009b\\u202e\"");
        assert_eq!(json("\"\u{e0041}\""), "\"\\udb40\\udc41\"");
    }
}
