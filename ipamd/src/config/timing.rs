//! How long things may take.

use std::time::Duration;

use super::groups::Timing;
use super::reader::Reader;
use super::setting::{Setting, seconds, seconds_if_set};

pub(super) static IP_COOLDOWN_PERIOD: Setting<Duration> = Setting::new(
    "IP_COOLDOWN_PERIOD",
    seconds(0..=86_400, 30),
    "Seconds before an address that a pod has left may be given to another.",
);

pub(super) static VENI_ADD_WAIT: Setting<Duration> = Setting::new(
    "VENI_ADD_WAIT",
    // The kubelet gives a sandbox four minutes.
    seconds(0..=200, 60),
    "Seconds that an ADD waits for an address when the pool is empty.",
);

pub(super) static VENI_AUDIT_INTERVAL: Setting<Duration> = Setting::new(
    "VENI_AUDIT_INTERVAL",
    seconds(1..=3600, 10),
    "Seconds between two comparisons of journal and kernel.",
);

pub(super) static VENI_INVENTORY_INTERVAL: Setting<Option<Duration>> = Setting::new(
    "VENI_INVENTORY_INTERVAL",
    seconds_if_set(
        1..=86_400,
        "3600 where the node sees its interfaces by itself, else 600",
    ),
    "Seconds between two looks at the cloud's inventory when nothing changes.",
);

/// What a cloud that is eventually consistent takes at most, but for an outage: Amazon
/// advises to repeat a Describe with growing pauses, for minutes.
const DOUBT_TIME_SECONDS: u32 = 120;

pub(super) static VENI_DOUBT_TIME: Setting<Duration> = Setting::new(
    "VENI_DOUBT_TIME",
    seconds(1..=3600, DOUBT_TIME_SECONDS),
    "Seconds apart that two inventories must both lack an address, a prefix or an interface \
     before it is dropped, at least twice the time that the cloud says its changes take to show. \
     Until then pods keep what they have of it, and no other pod gets any.",
);

pub(super) static VENI_LOCAL_VIEW_INTERVAL: Setting<Duration> = Setting::new(
    "VENI_LOCAL_VIEW_INTERVAL",
    seconds(1..=3600, 30),
    "Seconds between two looks at what the node sees of its interfaces without a cloud call \
     (AWS: instance metadata); a change leads to a look at the inventory.",
);

pub(super) static VENI_CLOUD_DEADLINE: Setting<Duration> = Setting::new(
    "VENI_CLOUD_DEADLINE",
    seconds(1..=600, 60),
    "Seconds that one cloud call may take.",
);

pub(super) static VENI_DENIED_RETRY: Setting<Duration> = Setting::new(
    "VENI_DENIED_RETRY",
    seconds(1..=3600, 30),
    "Seconds until a change is tried again that the cloud has refused for want of a permission, \
     or as wrong for good. Doubles with each refusal of the same kind of change, up to 300, or \
     to the value when that is more.",
);

pub(super) static VENI_SUBNET_RETRY: Setting<Duration> = Setting::new(
    "VENI_SUBNET_RETRY",
    // As long as the AWS plugin waits.
    seconds(1..=3600, 120),
    "Seconds until an exhausted subnet is tried again, unless it is seen before that it has room.",
);

pub(super) fn read(reader: &mut Reader<'_>) -> Timing {
    Timing {
        cooldown: reader.read(&IP_COOLDOWN_PERIOD),
        add_wait: reader.read(&VENI_ADD_WAIT),
        audit: reader.read(&VENI_AUDIT_INTERVAL),
        inventory: reader.read(&VENI_INVENTORY_INTERVAL),
        local_view: reader.read(&VENI_LOCAL_VIEW_INTERVAL),
        cloud_deadline: reader.read(&VENI_CLOUD_DEADLINE),
        denied_retry: reader.read(&VENI_DENIED_RETRY),
        subnet_retry: reader.read(&VENI_SUBNET_RETRY),
        doubt: reader.read(&VENI_DOUBT_TIME),
    }
}
