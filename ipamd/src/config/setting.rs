//! A setting as its subsystem declares it, once: name, value with its default, effect,
//! and what it needs to have one. A declaration is the only way to read a variable.
//!
//! Declarations are statics beside the function that reads them; `variables.rs` lists
//! them in the order of the documentation.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::parse::{self, Parsed, whole_number};
use super::variable::{
    Condition, Decided, DecidedBy, DefaultValue, Disposition, Situation, Variable,
};

/// One setting, whose value the daemon uses as a `T`.
#[derive(Debug, Clone)]
pub(crate) struct Setting<T: 'static> {
    pub(crate) variable: Variable,
    kind: Kind<T>,
    absent: Option<fn() -> T>,
}

/// Values of one kind, and what holds where nothing is set.
#[derive(Debug)]
pub(crate) struct Value<T: 'static> {
    kind: Kind<T>,
    default: DefaultValue,
    /// The value where nothing is set; `None` reads the default as if it were set.
    absent: Option<fn() -> T>,
}

/// How a text becomes a value.
#[derive(Debug, Clone)]
pub(crate) enum Kind<T: 'static> {
    /// A truth value.
    Truth(fn(bool) -> T),
    /// A whole number of a range.
    Whole(RangeInclusive<u32>, fn(u32) -> T),
    /// One of these words.
    OneOf(&'static [(&'static str, T)]),
    /// What a function reads.
    ReadBy(fn(&str) -> Parsed<T>),
}

/// A truth value.
pub(crate) const fn truth(default: bool) -> Value<bool> {
    Value {
        kind: Kind::Truth(|value| value),
        default: DefaultValue::Truth(default),
        absent: None,
    }
}

/// A truth value, or none; `words` say what then holds.
pub(crate) const fn truth_if_set(words: &'static str) -> Value<Option<bool>> {
    optional(Kind::Truth(Some), DefaultValue::InWords(words))
}

/// A whole number of a range.
pub(crate) const fn whole(range: RangeInclusive<u32>, default: u32) -> Value<u32> {
    assert_within(&range, default);
    Value {
        kind: Kind::Whole(range, |number| number),
        default: DefaultValue::Number(default),
        absent: None,
    }
}

/// A whole number of a range, or none; `words` say what then holds.
pub(crate) const fn whole_if_set(
    range: RangeInclusive<u32>,
    words: &'static str,
) -> Value<Option<u32>> {
    optional(Kind::Whole(range, Some), DefaultValue::InWords(words))
}

/// As [`whole_if_set`], of a number that operators also switch off by 0.
pub(crate) const fn whole_above_zero(
    range: RangeInclusive<u32>,
    words: &'static str,
) -> Value<Option<u32>> {
    let some = |number| (number > 0).then_some(number);
    optional(Kind::Whole(range, some), DefaultValue::InWords(words))
}

/// Whole seconds of a range.
pub(crate) const fn seconds(range: RangeInclusive<u32>, default: u32) -> Value<Duration> {
    assert_within(&range, default);
    Value {
        kind: Kind::Whole(range, |number| Duration::from_secs(number as u64)),
        default: DefaultValue::Number(default),
        absent: None,
    }
}

/// Whole seconds of a range, or none; `words` say what then holds.
pub(crate) const fn seconds_if_set(
    range: RangeInclusive<u32>,
    words: &'static str,
) -> Value<Option<Duration>> {
    let some = |number: u32| Some(Duration::from_secs(number.into()));
    optional(Kind::Whole(range, some), DefaultValue::InWords(words))
}

/// One of several words.
pub(crate) const fn one_of<T>(
    words: &'static [(&'static str, T)],
    default: &'static str,
) -> Value<T> {
    Value {
        kind: Kind::OneOf(words),
        default: DefaultValue::Text(default),
        absent: None,
    }
}

/// Any text.
pub(crate) const fn text(default: &'static str) -> Value<String> {
    read_by(|text| Ok(text.to_owned()), DefaultValue::Text(default))
}

/// Any text, or none; `words` say what then holds.
pub(crate) const fn text_if_set(words: &'static str) -> Value<Option<String>> {
    read_if_set(
        |text| Ok(Some(text.to_owned())),
        DefaultValue::InWords(words),
    )
}

/// What a function reads; of the default, too.
pub(crate) const fn read_by<T>(read: fn(&str) -> Parsed<T>, default: DefaultValue) -> Value<T> {
    Value {
        kind: Kind::ReadBy(read),
        default,
        absent: None,
    }
}

/// What a function reads, or none; the default says what then holds.
pub(crate) const fn read_if_set<T>(
    read: fn(&str) -> Parsed<Option<T>>,
    default: DefaultValue,
) -> Value<Option<T>> {
    optional(Kind::ReadBy(read), default)
}

/// What must be set, or the daemon does not start, for a reason; `stand_in` is used to
/// check the other settings all the same.
pub(crate) const fn required<T>(
    read: fn(&str) -> Parsed<T>,
    stand_in: fn() -> T,
    reason: &'static str,
) -> Value<T> {
    Value {
        kind: Kind::ReadBy(read),
        default: DefaultValue::MustBeSet(reason),
        absent: Some(stand_in),
    }
}

/// What is only checked.
pub(crate) const fn checked(kind: Kind<()>, default: DefaultValue) -> Value<()> {
    Value {
        kind,
        default,
        absent: Some(|| ()),
    }
}

const fn optional<T>(kind: Kind<Option<T>>, default: DefaultValue) -> Value<Option<T>> {
    Value {
        kind,
        default,
        absent: Some(|| None),
    }
}

/// Keeps a default out of its range from being compiled.
const fn assert_within(range: &RangeInclusive<u32>, default: u32) {
    assert!(*range.start() <= default && default <= *range.end());
}

impl<T> Setting<T> {
    /// A setting that is followed, whatever else is set.
    pub(crate) const fn new(name: &'static str, value: Value<T>, effect: &'static str) -> Self {
        Self {
            variable: Variable {
                name,
                default: value.default,
                effect,
                disposition: Disposition::Honoured,
                needs: &[],
                decided: DecidedBy::Nothing,
            },
            kind: value.kind,
            absent: value.absent,
        }
    }

    /// It has an effect only where all of these hold. Of those that do not, operators
    /// are told the first.
    pub(crate) const fn needs(mut self, conditions: &'static [Condition]) -> Self {
        self.variable.needs = conditions;
        self
    }

    /// Where it is not set, this decides the value in force.
    pub(crate) const fn unset_means(
        mut self,
        decide: fn(&Situation<'_>) -> Option<Decided>,
    ) -> Self {
        self.variable.decided = DecidedBy::WhenUnset(decide);
        self
    }

    /// Even where it is set, this may decide the value in force.
    pub(crate) const fn overruled_by(
        mut self,
        decide: fn(&Situation<'_>) -> Option<Decided>,
    ) -> Self {
        self.variable.decided = DecidedBy::Always(decide);
        self
    }

    /// It is not followed.
    pub(crate) const fn not_honoured(mut self, disposition: Disposition) -> Self {
        self.variable.disposition = disposition;
        self
    }
}

impl<T: Clone> Setting<T> {
    /// The same with another smallest number, up to its default, where another setting
    /// asks for it.
    pub(crate) fn at_least(&self, low: u32) -> Self {
        let mut narrowed = self.clone();
        if let Kind::Whole(range, _) = &mut narrowed.kind {
            *range = low..=*range.end();
        }
        narrowed
    }

    /// The value of a text.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn parse(&self, text: &str) -> Parsed<T> {
        match &self.kind {
            Kind::Truth(make) => parse::truth(text).map(make),
            Kind::Whole(range, make) => whole_number(text, range).map(make),
            Kind::OneOf(words) => parse::one_of(text, words),
            Kind::ReadBy(read) => read(text),
        }
    }

    /// A text that has been read as operators see it: truth values in one spelling,
    /// everything else as it is set.
    pub(crate) fn spelling(&self, text: &str) -> String {
        match (&self.kind, parse::truth(text)) {
            (Kind::Truth(_), Ok(value)) => value.to_string(),
            _ => text.to_owned(),
        }
    }

    /// The value where nothing is set.
    pub(crate) fn default_value(&self) -> T {
        match self.absent {
            Some(absent) => absent(),
            None => self
                .parse(&self.variable.default.to_string())
                .expect("a test reads the default of every setting"),
        }
    }
}
