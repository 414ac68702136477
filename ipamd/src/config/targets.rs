//! How much the pool holds.

use std::time::Duration;

use veni_pool::SlotKind;

use super::groups::{CloudProfile, TargetSettings};
use super::parse::{Parsed, whole_number};
use super::reader::Reader;
use super::setting::{Setting, read_if_set, seconds, truth, whole, whole_above_zero, whole_if_set};
use super::variable::{Condition, Decided, DefaultValue, Situation};

/// The largest target that is not taken for a mistake.
pub(crate) const MOST_ADDRESSES: u32 = 100_000;

pub(super) static WARM_ENI_TARGET: Setting<u32> = Setting::new(
    "WARM_ENI_TARGET",
    whole(0..=MOST_ADDRESSES, 1),
    "Whole spare interfaces to hold; not used when an address target is set or with prefix \
     delegation.",
)
.needs(&[OF_AWS, NO_WARM_IP, NO_MINIMUM_IP, WITH_ADDRESSES]);

pub(super) static WARM_IP_TARGET: Setting<Option<u32>> = Setting::new(
    "WARM_IP_TARGET",
    whole_above_zero(0..=MOST_ADDRESSES, "unset"),
    "Free addresses to hold; wins over WARM_ENI_TARGET and WARM_PREFIX_TARGET.",
)
.needs(&[OF_AWS]);

pub(super) static MINIMUM_IP_TARGET: Setting<Option<u32>> = Setting::new(
    "MINIMUM_IP_TARGET",
    whole_above_zero(0..=MOST_ADDRESSES, "unset"),
    "Addresses to hold in total, used or not; wins over WARM_ENI_TARGET and WARM_PREFIX_TARGET.",
)
.needs(&[OF_AWS]);

pub(super) static WARM_PREFIX_TARGET: Setting<Option<u32>> = Setting::new(
    "WARM_PREFIX_TARGET",
    whole_if_set(0..=MOST_ADDRESSES, "1 with prefix delegation"),
    "Free prefixes to hold; only with prefix delegation.",
)
.needs(&[OF_AWS, NO_WARM_IP, NO_MINIMUM_IP, WITH_PREFIXES])
.unset_means(|now| {
    Some(if with_prefixes(now) {
        Decided::new(WARM_PREFIXES, "default")
    } else {
        Decided::new("unset", "default")
    })
});

pub(super) static ENABLE_PREFIX_DELEGATION: Setting<bool> = Setting::new(
    "ENABLE_PREFIX_DELEGATION",
    truth(false),
    "Hold /28 prefixes in place of single addresses.",
)
.overruled_by(|now| {
    let kind = &now.facts?.instance_type;
    let refused = wants_prefixes(now) && !with_prefixes(now);
    refused.then(|| Decided::new(false, format!("{kind} takes no prefixes")))
});

pub(super) static MAX_ENI: Setting<Option<u32>> = Setting::new(
    "MAX_ENI",
    read_if_set(max_eni, DefaultValue::InWords("the instance type's limit")),
    "Most interfaces to use, the primary one included; only a number below the type's limit \
     counts.",
)
.overruled_by(|now| {
    let facts = now.facts?;
    let (wanted, limit) = (now.config.targets.max_eni, facts.max_interfaces);
    let counts = wanted.is_some_and(|wanted| wanted < limit);
    (!counts).then(|| Decided::new(limit, format!("limit of {}", facts.instance_type)))
});

pub(super) static MAX_PODS: Setting<Option<u32>> = Setting::new(
    "MAX_PODS",
    whole_if_set(1..=MOST_ADDRESSES, "what the interfaces allow"),
    "Most pods of the node; the pool does not grow beyond. Where it is not set and the cluster's \
     API tells fewer allocatable pods, those.",
)
.unset_means(|now| {
    let facts = now.facts?;
    let by = format!("interfaces of {}", facts.instance_type);
    Some(Decided::new(facts.max_pods, by))
});

pub(super) static DISABLE_NETWORK_RESOURCE_PROVISIONING: Setting<bool> = Setting::new(
    "DISABLE_NETWORK_RESOURCE_PROVISIONING",
    truth(false),
    "Use what the interfaces hold; never ask the cloud for a change.",
)
.overruled_by(|now| {
    let by = now.config.provider.hands_off()?;
    Some(Decided::new(true, by))
});

pub(super) static AWS_MANAGE_ENIS_NON_SCHEDULABLE: Setting<bool> = Setting::new(
    "AWS_MANAGE_ENIS_NON_SCHEDULABLE",
    truth(false),
    "While the node is unschedulable, attach interfaces to spare and detach interfaces as on any \
     node; otherwise none is detached, and one is attached only for a pod that waits.",
);

pub(super) static VENI_POOL_BATCH: Setting<u32> = Setting::new(
    "VENI_POOL_BATCH",
    whole(1..=256, 16),
    "Azure: addresses to ask for at once.",
)
.needs(&[OF_AZURE]);

pub(super) static VENI_POOL_REQUEST_PERCENT: Setting<u32> = Setting::new(
    "VENI_POOL_REQUEST_PERCENT",
    whole(1..=100, 50),
    "Azure: ask for a batch when fewer free addresses than this share of a batch are left.",
)
.needs(&[OF_AZURE]);

pub(super) static VENI_POOL_RELEASE_PERCENT: Setting<u32> = Setting::new(
    "VENI_POOL_RELEASE_PERCENT",
    whole(1..=1000, 150),
    "Azure: give a batch back when more free addresses than this share of a batch are left.",
)
.needs(&[OF_AZURE]);

pub(super) static VENI_RELEASE_DELAY: Setting<Duration> = Setting::new(
    "VENI_RELEASE_DELAY",
    seconds(0..=86_400, 60),
    "Seconds that an excess must last before anything is given back.",
);

pub(super) static VENI_DETACH_AGE: Setting<Duration> = Setting::new(
    "VENI_DETACH_AGE",
    seconds(0..=86_400, 60),
    "Seconds that an interface is kept at least before it may be detached.",
);

/// The free prefixes to hold where their number is not set.
const WARM_PREFIXES: u32 = 1;

/// Azure's targets take the place of these; which apply is known once the cloud has
/// described the node.
const OF_AWS: Condition = Condition {
    note: "used only with AWS",
    holds: |now| {
        now.facts
            .is_none_or(|facts| facts.profile == CloudProfile::Aws)
    },
};

/// Likewise, the other way round.
const OF_AZURE: Condition = Condition {
    note: "used only with Azure",
    holds: |now| {
        now.facts
            .is_none_or(|facts| facts.profile == CloudProfile::Azure)
    },
};

const NO_WARM_IP: Condition = Condition {
    note: "not used: WARM_IP_TARGET is set",
    holds: |now| now.config.targets.warm_ip.is_none(),
};

const NO_MINIMUM_IP: Condition = Condition {
    note: "not used: MINIMUM_IP_TARGET is set",
    holds: |now| now.config.targets.minimum_ip.is_none(),
};

const WITH_ADDRESSES: Condition = Condition {
    note: "not used: ENABLE_PREFIX_DELEGATION is true",
    holds: |now| !with_prefixes(now),
};

const WITH_PREFIXES: Condition = Condition {
    note: "used only with ENABLE_PREFIX_DELEGATION=true",
    holds: with_prefixes,
};

fn wants_prefixes(now: &Situation<'_>) -> bool {
    now.config.targets.mode == SlotKind::Prefix
}

/// Whether prefixes are held: wanted, and taken by the instance type as far as known.
fn with_prefixes(now: &Situation<'_>) -> bool {
    wants_prefixes(now) && now.facts.is_none_or(|facts| facts.prefixes)
}

/// -1 and 0 mean "not set", as operators know it.
fn max_eni(text: &str) -> Parsed<Option<u32>> {
    if text == "-1" {
        return Ok(None);
    }
    let number = whole_number(text, &(0..=MOST_ADDRESSES))?;
    Ok((number > 0).then_some(number))
}

/// `hands_off`: the chosen provider is told to change nothing.
pub(super) fn read(reader: &mut Reader<'_>, hands_off: bool) -> TargetSettings {
    let prefixes = reader.read(&ENABLE_PREFIX_DELEGATION);
    let warm_ip = reader.read(&WARM_IP_TARGET);
    let minimum_ip = reader.read(&MINIMUM_IP_TARGET);
    let warm_prefix = reader.read(&WARM_PREFIX_TARGET);
    if prefixes && warm_prefix == Some(0) && warm_ip.is_none() && minimum_ip.is_none() {
        reader.problem(
            &WARM_PREFIX_TARGET,
            "0",
            "with ENABLE_PREFIX_DELEGATION one of WARM_PREFIX_TARGET, WARM_IP_TARGET and \
             MINIMUM_IP_TARGET must be above 0",
        );
    }
    let (request_percent, release_percent) = read_percents(reader);
    TargetSettings {
        mode: if prefixes {
            SlotKind::Prefix
        } else {
            SlotKind::Address
        },
        warm_eni: reader.read(&WARM_ENI_TARGET),
        warm_ip,
        minimum_ip,
        warm_prefix: prefixes.then(|| warm_prefix.unwrap_or(WARM_PREFIXES)),
        max_eni: reader.read(&MAX_ENI),
        max_pods: reader.read(&MAX_PODS),
        batch: reader.read(&VENI_POOL_BATCH),
        request_percent,
        release_percent,
        release_delay: reader.read(&VENI_RELEASE_DELAY),
        detach_age: reader.read(&VENI_DETACH_AGE),
        provisioning: !reader.read(&DISABLE_NETWORK_RESOURCE_PROVISIONING) && !hands_off,
        manages_unschedulable: reader.read(&AWS_MANAGE_ENIS_NON_SCHEDULABLE),
    }
}

/// Below which share of a batch another is asked for, and above which one is given back.
fn read_percents(reader: &mut Reader<'_>) -> (u32, u32) {
    let request = reader.read(&VENI_POOL_REQUEST_PERCENT);
    let release = reader.read(&VENI_POOL_RELEASE_PERCENT);
    let least = request + 100;
    if release < least {
        reader.problem(
            &VENI_POOL_RELEASE_PERCENT,
            &release.to_string(),
            format_args!(
                "must be at least VENI_POOL_REQUEST_PERCENT + 100 = {least}, or a batch would be \
                 given back as soon as it has come"
            ),
        );
    }
    (request, release)
}
