//! Label selectors, as the API defines LabelSelector.

use super::{Labels, api};

/// Which labels an object must have: all requirements at once, so that an empty selector selects
/// every object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

/// One demand on an object's labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// The label is there and has one of the values.
    In(String, Vec<String>),
    /// The label is absent or has none of the values.
    NotIn(String, Vec<String>),
    /// The label is there.
    Exists(String),
    /// The label is absent.
    DoesNotExist(String),
}

impl Selector {
    /// Selects what meets all `requirements`.
    pub fn new(requirements: Vec<Requirement>) -> Self {
        Self { requirements }
    }

    /// Selects every object.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements
            .iter()
            .all(|requirement| requirement.holds(labels))
    }

    /// Errors: a pair of the field below the selector, and the reason.
    pub(super) fn try_new(raw: api::LabelSelector) -> Result<Self, (String, String)> {
        let labels = raw.match_labels.unwrap_or_default();
        let mut requirements: Vec<_> = labels
            .into_iter()
            .map(|(key, value)| Requirement::In(key, vec![value]))
            .collect();
        let expressions = raw.match_expressions.unwrap_or_default();
        for (index, expression) in expressions.into_iter().enumerate() {
            let requirement = Requirement::try_new(expression).map_err(|(field, reason)| {
                (format!("matchExpressions[{index}].{field}"), reason)
            })?;
            requirements.push(requirement);
        }
        Ok(Self { requirements })
    }
}

impl Requirement {
    fn holds(&self, labels: &Labels) -> bool {
        match self {
            Self::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Self::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Self::Exists(key) => labels.contains_key(key),
            Self::DoesNotExist(key) => !labels.contains_key(key),
        }
    }

    fn try_new(raw: api::LabelSelectorRequirement) -> Result<Self, (&'static str, String)> {
        let values = raw.values.unwrap_or_default();
        if raw.key.is_empty() {
            return Err(("key", "must be the name of a label".to_owned()));
        }
        let operator = raw.operator.as_str();
        match (operator, values.is_empty()) {
            ("In", false) => Ok(Self::In(raw.key, values)),
            ("NotIn", false) => Ok(Self::NotIn(raw.key, values)),
            ("Exists", true) => Ok(Self::Exists(raw.key)),
            ("DoesNotExist", true) => Ok(Self::DoesNotExist(raw.key)),
            ("In" | "NotIn", true) => Err(("values", format!("must not be empty with {operator}"))),
            ("Exists" | "DoesNotExist", false) => {
                Err(("values", format!("must be empty with {operator}")))
            }
            _ => Err((
                "operator",
                format!("must be In, NotIn, Exists or DoesNotExist; it is {operator:?}"),
            )),
        }
    }
}
