//! The providers that the daemon knows. Each declares in a file of its own, beside, what it
//! is called, what it alone is told, and how it is connected to; one more is one more file
//! and one more line in [`CLOUDS`].

pub(super) mod aws;
mod azure;
mod mock;
#[cfg(any(feature = "aws", feature = "azure"))]
mod patience;

use super::adapter::Adapter;
use crate::config::declare::{Parsed, wrong};
use crate::config::{ProviderChoice, ProviderDeclaration, Providers};

/// A provider as its file describes it.
struct Entry {
    declaration: ProviderDeclaration,
    /// The adapter of a choice; `None` where it is of another provider, or where this
    /// build lacks it.
    adapter: fn(&ProviderChoice) -> Option<Box<dyn Adapter>>,
}

/// Reads the URL of a service, by http or https.
fn url(text: &str, example: &str) -> Parsed<String> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split('/').next());
    if host.is_none_or(str::is_empty) || text.contains(char::is_whitespace) {
        return Err(wrong(text, format_args!("must be a URL, as {example}")));
    }
    Ok(text.to_owned())
}

/// Those of real clouds.
static CLOUDS: &[&Entry] = &[&aws::AWS, &azure::AZURE];

/// All providers, for settings to choose one.
#[must_use]
pub fn providers() -> Providers {
    Providers {
        mock: &mock::MOCK.declaration,
        clouds: CLOUDS.iter().map(|one| &one.declaration).collect(),
    }
}

/// The adapter of the provider that the settings choose.
///
/// # Errors
/// This build does not have it; the settings refuse that before.
pub(super) fn adapter(choice: &ProviderChoice) -> anyhow::Result<Box<dyn Adapter>> {
    let mut all = CLOUDS.iter().copied().chain([&mock::MOCK]);
    let adapter = all.find_map(|one| (one.adapter)(choice));
    adapter
        .ok_or_else(|| anyhow::anyhow!("this build lacks the provider that is chosen: {choice:?}"))
}
