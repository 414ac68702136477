//! The provider that is chosen, and what it alone is told.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

/// What a provider alone is told, as its file reads it.
pub trait ProviderSettings: Any + Debug + Send + Sync {
    /// The setting by which nothing is ever changed in the cloud; `None` where it may be.
    fn hands_off(&self) -> Option<&'static str> {
        None
    }

    /// Whether whoever reaches instance metadata may change the cloud as the node does, so
    /// that pods' way there is closed unless the settings say otherwise.
    fn metadata_gives_its_rights(&self) -> bool {
        false
    }
}

/// The provider that is chosen, and what it is told.
#[derive(Debug, Clone)]
pub struct ProviderChoice {
    pub(super) name: &'static str,
    pub(super) custom_networking: bool,
    pub(super) settings: Arc<dyn ProviderSettings>,
}

impl ProviderChoice {
    /// What `VENI_PROVIDER` calls it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it alone is told; `None` where that is of another type.
    #[must_use]
    pub fn settings<T: ProviderSettings>(&self) -> Option<&T> {
        let settings: &dyn Any = &*self.settings;
        settings.downcast_ref()
    }

    /// The setting by which nothing is ever changed in the cloud.
    pub(super) fn hands_off(&self) -> Option<&'static str> {
        self.settings.hands_off()
    }

    /// Whether whoever reaches instance metadata may change the cloud as the node does.
    pub(super) fn metadata_gives_its_rights(&self) -> bool {
        self.settings.metadata_gives_its_rights()
    }

    /// Whether pods may live in the subnets that ENIConfigs name.
    pub(super) fn has_custom_networking(&self) -> bool {
        self.custom_networking
    }
}
