//! Which cloud manages the node, of those that can be chosen.

use std::sync::Arc;

use super::choice::{ProviderChoice, ProviderSettings};
use super::reader::Reader;
use super::setting::{Setting, required};
use super::variable::{Condition, Variable};

pub(super) static VENI_PROVIDER: Setting<String> = Setting::new(
    "VENI_PROVIDER",
    required(
        |text| Ok(text.to_owned()),
        String::new,
        "must be set: aws on EC2, azure on Azure; mock is a cloud inside this process, and no \
         network carries its addresses",
    ),
    "Which cloud manages the node's interfaces: aws or azure in builds with that feature, or \
     mock, for tests.",
);

/// Custom networking is to be had.
pub(super) const WITH_CUSTOM_NETWORKING: Condition = Condition {
    note: "used only with VENI_PROVIDER=aws",
    holds: |now| now.config.provider.has_custom_networking(),
};

/// A provider as its own file declares it: what it is called, and what it alone is told.
#[derive(Debug)]
pub struct ProviderDeclaration {
    /// What `VENI_PROVIDER` calls it.
    pub(crate) name: &'static str,
    /// Why this build cannot use it; `None` where it can.
    pub(crate) lacking: Option<&'static str>,
    /// Whether pods may live in the subnets that ENIConfigs name.
    pub(crate) custom_networking: bool,
    /// The settings that it alone is told, in the order of the documentation.
    pub(crate) variables: &'static [&'static Variable],
    /// Reads them; the host's name stands in for names that are not set.
    pub(crate) read: fn(&mut Reader<'_>, &str) -> Arc<dyn ProviderSettings>,
}

/// All providers that settings may choose.
#[derive(Debug, Clone)]
pub struct Providers {
    /// The one for tests.
    pub(crate) mock: &'static ProviderDeclaration,
    /// Those of real clouds.
    pub(crate) clouds: Vec<&'static ProviderDeclaration>,
}

/// What each provider is told. All are read, so that a mistake shows whichever is chosen.
pub(super) struct ReadProviders {
    mock: ReadProvider,
    clouds: Vec<ReadProvider>,
}

/// One of them.
struct ReadProvider {
    choice: ProviderChoice,
    lacking: Option<&'static str>,
}

impl ReadProviders {
    /// Reads what each is told.
    pub(super) fn new(reader: &mut Reader<'_>, providers: &Providers, host_name: &str) -> Self {
        let mut read = |declaration: &ProviderDeclaration| ReadProvider {
            choice: ProviderChoice {
                name: declaration.name,
                custom_networking: declaration.custom_networking,
                settings: (declaration.read)(reader, host_name),
            },
            lacking: declaration.lacking,
        };
        let clouds = providers.clouds.iter().copied();
        Self {
            clouds: clouds.map(&mut read).collect(),
            mock: read(providers.mock),
        }
    }

    fn all(&self) -> impl Iterator<Item = &ReadProvider> {
        std::iter::once(&self.mock).chain(&self.clouds)
    }
    /// The one that is chosen. The mock cloud stands in for one that cannot be.
    pub(super) fn choose(self, reader: &mut Reader<'_>) -> ProviderChoice {
        let name = reader.read(&VENI_PROVIDER);
        let found = self.all().find(|one| one.choice.name == name);
        let problem = match found.map(|one| one.lacking) {
            Some(None) => None,
            Some(Some(lacking)) => Some(lacking.to_owned()),
            // That it is not set at all has been told.
            None if name.is_empty() => None,
            None => Some(format!("must be one of {}", self.names())),
        };
        let chosen = found.filter(|_| problem.is_none());
        let chosen = chosen.map(|one| one.choice.clone());
        if let Some(problem) = problem {
            reader.problem(&VENI_PROVIDER, &name, problem);
        }
        chosen.unwrap_or(self.mock.choice)
    }

    /// `mock, aws`: those that this build can use.
    fn names(&self) -> String {
        let usable = self.all().filter(|one| one.lacking.is_none());
        let names: Vec<&str> = usable.map(|one| one.choice.name).collect();
        names.join(", ")
    }
}
