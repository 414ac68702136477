//! Requests and answers, independent of how they travel.

use std::collections::BTreeMap;

use serde_json::Value;

/// A request as it arrives.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `GET`, `PUT` or `POST`.
    pub method: String,
    /// Host and port that the caller named: URLs in answers begin with it.
    pub host: String,
    /// The path, as sent.
    pub path: String,
    /// The query, without its question mark.
    pub query: String,
    /// Headers by their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// Returns a header by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Returns a parameter of the query. Its value is as sent: percent-encoding of it is
    /// not undone.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let mut pairs = self.query.split('&').filter_map(|one| one.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// Whether it changes nothing.
    pub(crate) fn reads(&self) -> bool {
        self.method == "GET"
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// HTTP's status.
    pub status: u16,
    /// Headers by name.
    pub headers: Vec<(String, String)>,
    /// JSON, or nothing.
    pub body: Vec<u8>,
}

impl Response {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            headers: vec![(
                "Content-Type".to_owned(),
                "application/json; charset=utf-8".to_owned(),
            )],
            body: body.to_string().into_bytes(),
        }
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// Returns a header by its name, whatever its case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter();
        all.find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}
