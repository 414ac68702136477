//! Reads the INI dialect of systemd and NetworkManager, as far as the checks need it:
//! sections, assignments, and files that replace or extend each other across folders
//! (systemd.syntax(7), systemd.network(5)).

use super::Host;

/// A file with its drop-ins: the assignments in the order in which they count.
#[derive(Debug, Default)]
pub(super) struct Ini {
    assignments: Vec<Assignment>,
}

#[derive(Debug)]
struct Assignment {
    section: String,
    key: String,
    value: String,
}

impl Ini {
    pub(super) fn parse(text: &str) -> Self {
        let mut ini = Self::default();
        ini.extend(text);
        ini
    }

    /// Adds the assignments of a later file.
    pub(super) fn extend(&mut self, text: &str) {
        let mut section = String::new();
        for line in text.lines().map(str::trim) {
            if line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                name.trim().clone_into(&mut section);
            } else if let Some((key, value)) = line.split_once('=') {
                self.assignments.push(Assignment {
                    section: section.clone(),
                    key: key.trim().to_owned(),
                    value: value.trim().to_owned(),
                });
            }
        }
    }

    /// The assignments of one section, as `(key, value)`.
    pub(super) fn section<'a>(
        &'a self,
        section: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.assignments
            .iter()
            .filter(move |one| one.section == section)
            .map(|one| (one.key.as_str(), one.value.as_str()))
    }

    /// The sections whose names begin so, each once, in order.
    pub(super) fn sections_like(&self, beginning: &str) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for one in &self.assignments {
            let name = one.section.as_str();
            if name.starts_with(beginning) && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The last value of a key.
    pub(super) fn last(&self, section: &str, key: &str) -> Option<&str> {
        self.assignments
            .iter()
            .rfind(|one| one.section == section && one.key == key)
            .map(|one| one.value.as_str())
    }
}

/// systemd's spellings of "no" (`parse_boolean`).
pub(super) fn is_no(value: &str) -> bool {
    ["0", "no", "n", "false", "f", "off"].contains(&value.to_ascii_lowercase().as_str())
}

/// systemd's spellings of "yes".
pub(super) fn is_yes(value: &str) -> bool {
    ["1", "yes", "y", "true", "t", "on"].contains(&value.to_ascii_lowercase().as_str())
}

/// The files of several folders whose names end so, sorted by name. Of two files with the
/// same name, the one in the earlier folder counts; an empty one hides all others.
pub(super) fn layered(host: &Host, folders: &[String], suffix: &str) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = Vec::new();
    for folder in folders {
        for name in host.names_in(folder) {
            if !name.ends_with(suffix) || files.iter().any(|(known, _)| *known == name) {
                continue;
            }
            if let Some(text) = host.read(&format!("{folder}/{name}")) {
                files.push((name, text));
            }
        }
    }
    files.retain(|(_, text)| !text.is_empty());
    files.sort();
    files
}

/// Shell patterns as fnmatch(3) knows them: `*`, `?` and sets in brackets.
pub(super) fn glob(pattern: &str, text: &str) -> bool {
    fn matches(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            (['*', rest @ ..], _) => (0..=text.len()).any(|skip| matches(rest, &text[skip..])),
            (['?', rest @ ..], [_, others @ ..]) => matches(rest, others),
            (['[', set @ ..], [one, others @ ..]) => {
                let Some(end) = set.iter().skip(1).position(|c| *c == ']').map(|at| at + 1) else {
                    return false;
                };
                in_set(&set[..end], *one) && matches(&set[end + 1..], others)
            }
            ([literal, rest @ ..], [one, others @ ..]) => literal == one && matches(rest, others),
            _ => false,
        }
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    matches(&pattern, &text)
}

fn in_set(set: &[char], one: char) -> bool {
    let (inverted, set) = match set {
        ['!' | '^', rest @ ..] if !rest.is_empty() => (true, rest),
        _ => (false, set),
    };
    let mut found = false;
    let mut rest = set;
    while let [first, tail @ ..] = rest {
        if let ['-', last, after @ ..] = tail {
            found |= (*first..=*last).contains(&one);
            rest = after;
        } else {
            found |= *first == one;
            rest = tail;
        }
    }
    found != inverted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_a_shell_would() {
        for (pattern, text, expected) in [
            ("*", "eth1", true),
            ("en*", "eni0123", true),
            ("en*", "eth1", false),
            ("eth[0-9]*", "eth10", true),
            ("eth[!0]", "eth0", false),
            ("eth[!0]", "eth1", true),
            ("ens?", "ens6", true),
            ("ens?", "ens16", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn a_later_assignment_wins_and_comments_say_nothing() {
        let mut ini = Ini::parse("# [A]\n[A]\nkey=one\n; key=two\n[B]\nkey=three\n");
        ini.extend("[A]\nkey = four\n");
        assert_eq!(ini.last("A", "key"), Some("four"));
        assert_eq!(ini.last("B", "key"), Some("three"));
        assert_eq!(ini.last("C", "key"), None);
    }
}
