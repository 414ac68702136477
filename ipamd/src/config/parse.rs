//! Texts of the environment that several subsystems read in the same way.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use ipnet::IpNet;

/// A text, or the part of it that is wrong, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) text: String,
    pub(crate) reason: String,
}

/// A value, or all that is wrong with its text.
pub(crate) type Parsed<T> = Result<T, Vec<Wrong>>;

/// One thing is wrong.
pub(crate) fn wrong(text: &str, reason: impl Display) -> Vec<Wrong> {
    let (text, reason) = (text.to_owned(), reason.to_string());
    vec![Wrong { text, reason }]
}

/// A truth value in the spellings that Kubernetes manifests use.
pub(crate) fn truth(text: &str) -> Parsed<bool> {
    match text {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(false),
        _ => Err(wrong(text, "must be true or false")),
    }
}

/// A whole number of a range.
pub(crate) fn whole_number(text: &str, range: &RangeInclusive<u32>) -> Parsed<u32> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| {
        let (low, high) = (range.start(), range.end());
        wrong(
            text,
            format_args!("must be a whole number from {low} to {high}"),
        )
    })
}

/// One of several words.
pub(crate) fn one_of<T: Clone>(text: &str, choices: &[(&str, T)]) -> Parsed<T> {
    let found = choices.iter().find(|(word, _)| *word == text);
    found.map(|(_, value)| value.clone()).ok_or_else(|| {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        wrong(text, format_args!("must be one of {}", words.join(", ")))
    })
}

/// A path from the root.
pub(crate) fn absolute_path(text: &str) -> Parsed<PathBuf> {
    let path = PathBuf::from(text);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(wrong(text, "must be an absolute path"))
    }
}

/// Ranges of addresses, separated by commas. Every wrong one is named.
pub(crate) fn ranges(text: &str) -> Parsed<Vec<IpNet>> {
    ranges_that(text, |_| None)
}

/// Likewise, of ranges for which `refuse` has no reason against.
pub(crate) fn ranges_that(
    text: &str,
    refuse: impl Fn(&IpNet) -> Option<&'static str>,
) -> Parsed<Vec<IpNet>> {
    let items = text.split(',').map(str::trim);
    let (mut ranges, mut problems) = (Vec::<IpNet>::new(), Vec::new());
    for item in items.filter(|item| !item.is_empty()) {
        match item.parse() {
            Ok(range) => ranges.push(range),
            Err(_) => problems.extend(wrong(
                item,
                "must be a range of addresses, as 10.0.0.0/16 or fd00::/64",
            )),
        }
    }
    for range in &ranges {
        let reason = refuse(range);
        problems.extend(reason.map_or_else(Vec::new, |reason| wrong(&range.to_string(), reason)));
    }
    if problems.is_empty() {
        Ok(ranges)
    } else {
        Err(problems)
    }
}
