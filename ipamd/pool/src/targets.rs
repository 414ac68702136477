//! What the pool shall keep at hand: the settings of both clouds' plugins with
//! the meaning they have there.

use veni_nouns::SlotKind;

/// How the size of the pool follows from the number of pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// The AWS plugin's targets. Precedence: `warm_ip` and `minimum_ip` over
    /// `warm_prefix` (prefix mode only) over `warm_eni`; 0 means "not set" for
    /// `warm_ip` and `minimum_ip`, as there.
    Aws {
        /// `WARM_ENI_TARGET`: interfaces full of free addresses.
        warm_eni: u32,
        /// `WARM_IP_TARGET`: free addresses.
        warm_ip: Option<u32>,
        /// `MINIMUM_IP_TARGET`: addresses in all, used ones included.
        minimum_ip: Option<u32>,
        /// `WARM_PREFIX_TARGET`: free prefixes.
        warm_prefix: Option<u32>,
    },
    /// The Azure plugin's pool: whole batches, with a share of one free.
    Azure {
        /// Addresses the pool grows and shrinks by, at least 1.
        batch: u32,
        /// Percent of a batch that is always free.
        request_percent: u32,
        /// Percent of a batch that must be free before anything goes back.
        release_percent: u32,
    },
}

/// The targets of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Targets {
    /// What slots are filled with: prefixes under `ENABLE_PREFIX_DELEGATION`.
    pub mode: SlotKind,
    /// How much to hold.
    pub scheme: Scheme,
    /// Excess goes back when it has lasted this long, in milliseconds.
    pub release_delay_ms: u64,
    /// An interface younger than this is not detached, in milliseconds.
    pub detach_age_ms: u64,
    /// False under `DISABLE_NETWORK_RESOURCE_PROVISIONING`: the pool is neither
    /// grown nor shrunk.
    pub provisioning: bool,
}

/// How long excess lasts before it goes back unless told otherwise.
pub const DEFAULT_RELEASE_DELAY_MS: u64 = 60_000;

/// How old an interface must be to be detached unless told otherwise; the AWS
/// plugin's minimum.
pub const DEFAULT_DETACH_AGE_MS: u64 = 60_000;

impl Targets {
    /// The AWS plugin's defaults: one warm interface, or in prefix mode one
    /// warm prefix.
    #[must_use]
    pub fn aws_default(mode: SlotKind) -> Self {
        let warm_prefix = match mode {
            SlotKind::Address => None,
            SlotKind::Prefix => Some(1),
        };
        Self::with(
            mode,
            Scheme::Aws {
                warm_eni: 1,
                warm_ip: None,
                minimum_ip: None,
                warm_prefix,
            },
        )
    }

    /// The Azure pool's defaults: batches of 16, asked for when less than half
    /// of one is free, given back when one and a half are.
    #[must_use]
    pub fn azure_default(mode: SlotKind) -> Self {
        Self::with(
            mode,
            Scheme::Azure {
                batch: 16,
                request_percent: 50,
                release_percent: 150,
            },
        )
    }

    /// These settings with the default delay and age.
    #[must_use]
    pub fn with(mode: SlotKind, scheme: Scheme) -> Self {
        Self {
            mode,
            scheme,
            release_delay_ms: DEFAULT_RELEASE_DELAY_MS,
            detach_age_ms: DEFAULT_DETACH_AGE_MS,
            provisioning: true,
        }
    }
}
