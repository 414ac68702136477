//! Refusals, in ARM's form: a status and `{"error": {"code", "message"}}`.
//! <https://github.com/microsoft/api-guidelines/blob/vNext/azure/Guidelines.md#handling-errors>

use std::time::Duration;

use serde_json::{Value, json};

use crate::message::Response;

/// Why something is refused, at once or at the end of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
    /// A second, more exact code in `details`.
    pub(crate) detail: Option<&'static str>,
    pub(crate) retry_after: Option<Duration>,
}

impl Refusal {
    pub(crate) fn new(status: u16, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
            detail: None,
            retry_after: None,
        }
    }

    #[must_use]
    pub(crate) fn detailed(mut self, detail: &'static str) -> Self {
        self.detail = Some(detail);
        self
    }

    #[must_use]
    pub(crate) fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// `ResourceNotFound`.
    pub(crate) fn not_found(id: &str) -> Self {
        let message = format!("The Resource '{id}' was not found.");
        Self::new(404, "ResourceNotFound", message)
    }

    /// The object in an answer or an operation.
    pub(crate) fn error(&self) -> Value {
        let details: Vec<Value> = self
            .detail
            .iter()
            .map(|code| json!({"code": code, "message": self.message}))
            .collect();
        json!({"code": self.code, "message": self.message, "details": details})
    }

    pub(crate) fn response(&self) -> Response {
        let answer = Response::json(self.status, &json!({"error": self.error()}));
        match self.retry_after {
            // Whole seconds, rounded up: RFC 9110, 10.2.3.
            Some(wait) => answer.with("Retry-After", wait.as_millis().div_ceil(1000)),
            None => answer,
        }
    }
}
