//! One request and its answer: tokens, refusals, the tree. Uses no socket, and no clock
//! except for the life of tokens.

use std::time::Duration;

use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode};

use super::documents::Validity;
use super::tokens::{LONGEST_LIFE, Tokens};
use super::tree::{self, LATEST, is_version};
use super::view::{Instance, View};

/// Header of a token's life, in requests for tokens and in answers.
pub(super) const LIFE: &str = "x-aws-ec2-metadata-token-ttl-seconds";
/// Header of a token.
const TOKEN: &str = "x-aws-ec2-metadata-token";
/// A header that proxies add. EC2 refuses such requests for a token, because they may come
/// from outside of the instance.
const FORWARDED: &str = "x-forwarded-for";

/// The caller, and what the service knows at this moment.
#[derive(Debug)]
pub(super) struct Situation<'a> {
    pub(super) view: &'a View,
    pub(super) instance: &'a Instance,
    pub(super) over_ipv6: bool,
    /// Absent while tokens are refused.
    pub(super) tokens: Option<&'a Tokens>,
    pub(super) validity: Validity,
}

/// What goes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) text: String,
    /// How long the request's or the answer's token still lives, seconds.
    pub(super) token_life: Option<u64>,
    /// Hops that the answer may travel; `None` is the system's default.
    pub(super) hop_limit: Option<u8>,
}

impl Answer {
    fn good(text: String) -> Self {
        Self {
            text,
            ..Self::refused(StatusCode::OK)
        }
    }

    /// Repeats the status in the body, for readers that look only there.
    fn refused(status: StatusCode) -> Self {
        Self {
            status,
            text: status.to_string(),
            token_life: None,
            hop_limit: None,
        }
    }

    /// The service is out of order.
    pub(super) fn unavailable() -> Self {
        Self::refused(StatusCode::SERVICE_UNAVAILABLE)
    }

    /// No instance has the address that asks.
    pub(super) fn unknown_peer() -> Self {
        Self::refused(StatusCode::NOT_FOUND)
    }
}

/// The answer to a request of an instance.
pub(super) fn answer(situation: &Situation<'_>, request: &Parts) -> Answer {
    let options = &situation.instance.options;
    if !options.enabled || (situation.over_ipv6 && !options.ipv6) {
        return Answer::refused(StatusCode::FORBIDDEN);
    }
    match request.method {
        Method::PUT => Answer {
            hop_limit: Some(options.hop_limit.max(1)),
            ..put(situation, request.uri.path(), &request.headers)
        },
        Method::GET | Method::HEAD => get(situation, request.uri.path(), &request.headers),
        _ => Answer::refused(StatusCode::METHOD_NOT_ALLOWED),
    }
}

/// Makes a token. Only `latest` makes them.
fn put(situation: &Situation<'_>, path: &str, headers: &HeaderMap) -> Answer {
    let version = path.strip_prefix('/').and_then(|path| {
        let version = path.strip_suffix("/api/token")?;
        is_version(version).then_some(version)
    });
    if version.is_none() {
        return Answer::refused(StatusCode::METHOD_NOT_ALLOWED);
    }
    let (Some(LATEST), Some(tokens), None) = (version, situation.tokens, headers.get(FORWARDED))
    else {
        return Answer::refused(StatusCode::FORBIDDEN);
    };
    let life = headers.get(LIFE).and_then(|value| value.to_str().ok());
    let life = life.and_then(|text| text.trim().parse().ok());
    let Some(life @ 1..=LONGEST_LIFE) = life else {
        return Answer::refused(StatusCode::BAD_REQUEST);
    };
    let token = tokens.issue(&situation.instance.id, Duration::from_secs(life));
    Answer {
        token_life: Some(life),
        ..Answer::good(token)
    }
}

fn get(situation: &Situation<'_>, path: &str, headers: &HeaderMap) -> Answer {
    let instance = situation.instance;
    let life = match headers.get(TOKEN) {
        None if instance.options.tokens_required => {
            return Answer::refused(StatusCode::UNAUTHORIZED);
        }
        None => None,
        Some(token) => {
            let token = token.to_str().unwrap_or_default();
            let life = situation
                .tokens
                .and_then(|all| all.life(&instance.id, token));
            let Some(life) = life else {
                return Answer::refused(StatusCode::UNAUTHORIZED);
            };
            Some(life)
        }
    };
    if path.trim_end_matches('/') == "/latest/api/token" {
        return Answer::refused(StatusCode::METHOD_NOT_ALLOWED);
    }
    let found = tree::answer(situation.view, &instance.id, path, situation.validity);
    let answer = found.map_or_else(|| Answer::refused(StatusCode::NOT_FOUND), Answer::good);
    Answer {
        token_life: life.map(|life| life.as_secs()),
        ..answer
    }
}
