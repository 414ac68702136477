//! Session tokens. A token belongs to one instance and has an end; the service keeps no
//! list of them. The token itself says whose it is and when it ends, under a keyed hash.
//! A revocation replaces the key.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

/// Longest life of a token, seconds.
pub(super) const LONGEST_LIFE: u64 = 21_600;

/// Makes and checks tokens.
#[derive(Debug)]
pub(super) struct Tokens {
    key: RandomState,
    began: Instant,
}

impl Tokens {
    pub(super) fn new() -> Self {
        Self {
            key: RandomState::new(),
            began: Instant::now(),
        }
    }

    /// A token for an instance that ends after a life.
    pub(super) fn issue(&self, instance: &str, life: Duration) -> String {
        let ends = (self.began.elapsed() + life).as_millis();
        format!("{ends:016x}{:016x}", self.seal(instance, ends))
    }

    /// How long a token of an instance still lives; `None` when it is of another
    /// instance, or has ended, or was not made here.
    pub(super) fn life(&self, instance: &str, token: &str) -> Option<Duration> {
        let (ends, seal) = token.split_at_checked(16)?;
        let (ends, seal) = (hexadecimal(ends)?, hexadecimal(seal)?);
        if seal != self.seal(instance, u128::from(ends)) {
            return None;
        }
        let left = Duration::from_millis(ends).checked_sub(self.began.elapsed())?;
        (!left.is_zero()).then_some(left)
    }

    fn seal(&self, instance: &str, ends: u128) -> u64 {
        self.key.hash_one((instance, ends))
    }
}

/// Exactly sixteen digits, so that a token has only one spelling.
fn hexadecimal(digits: &str) -> Option<u64> {
    let good = digits.len() == 16
        && digits
            .bytes()
            .all(|one| matches!(one, b'0'..=b'9' | b'a'..=b'f'));
    good.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}
