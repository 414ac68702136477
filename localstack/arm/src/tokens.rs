//! Access tokens: whose they are and how long they are good for.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::message::Request;
use crate::refusal::Refusal;

#[derive(Debug)]
struct Token {
    principal: String,
    expires: Instant,
}

/// All tokens that were ever given.
#[derive(Debug, Default)]
pub(crate) struct Tokens(BTreeMap<String, Token>);

impl Tokens {
    pub(crate) fn give(&mut self, principal: &str, life: Duration, now: Instant) -> String {
        let text = format!("token-{}-of-{principal}", self.0.len() + 1);
        let token = Token {
            principal: principal.to_owned(),
            expires: now + life,
        };
        self.0.insert(text.clone(), token);
        text
    }

    /// No token given so far is good any more.
    pub(crate) fn expire_all(&mut self, now: Instant) {
        for token in self.0.values_mut() {
            token.expires = token.expires.min(now);
        }
    }

    pub(crate) fn given(&self) -> usize {
        self.0.len()
    }

    /// Who asks.
    /// <https://learn.microsoft.com/rest/api/azure/#create-the-request>
    pub(crate) fn principal(&self, request: &Request, now: Instant) -> Result<String, Refusal> {
        let header = request.header("authorization");
        let Some(text) = header.and_then(|text| text.strip_prefix("Bearer ")) else {
            let message = "Authentication failed. The 'Authorization' header is missing.";
            return Err(Refusal::new(401, "AuthenticationFailed", message));
        };
        match self.0.get(text) {
            Some(token) if now < token.expires => Ok(token.principal.clone()),
            Some(_) => Err(Refusal::new(
                401,
                "ExpiredAuthenticationToken",
                "The access token expiry UTC time is earlier than current UTC time.",
            )),
            None => Err(Refusal::new(
                401,
                "InvalidAuthenticationToken",
                "The access token is invalid.",
            )),
        }
    }
}
