//! Faults by schedule: which requests meet one, after how many, how often, and what happens.

use std::time::Duration;

use crate::message::Request;

/// Which requests are meant.
#[derive(Debug, Clone, Default)]
pub struct Matcher {
    /// `GET` or `PUT`; any where empty.
    pub method: String,
    /// What the path contains, whatever its case; anything where empty.
    pub path: String,
}

impl Matcher {
    /// Requests with this method whose path contains a text.
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_ascii_lowercase(),
        }
    }

    fn means(&self, request: &Request) -> bool {
        let method = self.method.is_empty() || self.method == request.method;
        method && request.path.to_ascii_lowercase().contains(&self.path)
    }
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultKind {
    /// It is refused and changes nothing.
    Refuse {
        /// HTTP's status.
        status: u16,
        /// The error's code.
        code: String,
        /// The header `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// It is carried out, and the connection breaks before the answer.
    LoseAnswer,
    /// The connection breaks before it arrives.
    LoseRequest,
    /// A write is accepted, and its operation fails with this code.
    FailOperation {
        /// The error's code.
        code: String,
    },
    /// Somebody else writes the same NIC just before: a configuration is added by another
    /// name, so that the etag changes.
    Rival,
    /// It takes so much longer.
    Delay(Duration),
}

/// A fault that is to come.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Which requests are meant.
    pub of: Matcher,
    /// So many of them pass before.
    pub skip: u32,
    /// So many of them meet it.
    pub times: u32,
    /// What happens.
    pub kind: FaultKind,
}

impl Fault {
    /// The next request of a kind meets it.
    #[must_use]
    pub fn next(of: Matcher, kind: FaultKind) -> Self {
        Self {
            of,
            skip: 0,
            times: 1,
            kind,
        }
    }

    /// It is met so often.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }
}

/// All faults that are to come. A request meets the first that means it.
#[derive(Debug, Default)]
pub(crate) struct Schedule(Vec<Fault>);

impl Schedule {
    pub(crate) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(crate) fn meet(&mut self, request: &Request) -> Option<FaultKind> {
        let place = self.0.iter().position(|one| one.of.means(request))?;
        let fault = &mut self.0[place];
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        let kind = fault.kind.clone();
        fault.times = fault.times.saturating_sub(1);
        if fault.times == 0 {
            self.0.remove(place);
        }
        Some(kind)
    }
}
