//! Where metrics and introspection are served.

use std::net::SocketAddr;
use std::str::FromStr;

use super::groups::IntrospectionAddress;
use super::parse::{Parsed, wrong};
use super::reader::Reader;
use super::setting::{Setting, read_by, read_if_set, truth};
use super::variable::{Condition, DefaultValue};

pub(super) static VENI_METRICS_ADDRESS: Setting<SocketAddr> = Setting::new(
    "VENI_METRICS_ADDRESS",
    read_by(
        |text| {
            let must_be = "must be an address and a port, as 127.0.0.1:61678 or [::]:61678";
            address(text, must_be)
        },
        DefaultValue::Text("[::]:61678"),
    ),
    "Address of the metrics endpoint.",
)
.needs(&[Condition {
    note: "not used: DISABLE_METRICS is true",
    holds: |now| now.config.metrics.is_some(),
}]);

pub(super) static DISABLE_METRICS: Setting<bool> =
    Setting::new("DISABLE_METRICS", truth(false), "Serve no metrics.");

pub(super) static INTROSPECTION_BIND_ADDRESS: Setting<IntrospectionAddress> = Setting::new(
    "INTROSPECTION_BIND_ADDRESS",
    read_by(
        |text| {
            let must_be = "must be an address and a port, as 127.0.0.1:61679, or unix: and an \
                           absolute path";
            address(text, must_be)
        },
        DefaultValue::Text("127.0.0.1:61679"),
    ),
    "Address of introspection: JSON over HTTP, for people and scripts; also `unix:` and a path.",
)
.needs(&[Condition {
    note: "not used: DISABLE_INTROSPECTION is true",
    holds: |now| now.config.introspection.is_some(),
}]);

pub(super) static DISABLE_INTROSPECTION: Setting<bool> = Setting::new(
    "DISABLE_INTROSPECTION",
    truth(false),
    "Serve no introspection.",
);

pub(super) static VENI_HEALTH_ADDRESS: Setting<Option<SocketAddr>> = Setting::new(
    "VENI_HEALTH_ADDRESS",
    read_if_set(
        |text| {
            let must_be = "must be an address and a port, as 127.0.0.1:50051";
            address(text, must_be).map(Some)
        },
        DefaultValue::InWords("none"),
    ),
    "Address of gRPC health beside the operators' socket, for probes that need one, as \
     `grpc-health-probe -addr=localhost:50051`: 127.0.0.1:50051.",
);

fn address<T: FromStr>(text: &str, must_be: &str) -> Parsed<T> {
    text.parse().map_err(|_| wrong(text, must_be))
}

/// `None` where no metrics are served.
pub(super) fn read_metrics(reader: &mut Reader<'_>) -> Option<SocketAddr> {
    let address = reader.read(&VENI_METRICS_ADDRESS);
    (!reader.read(&DISABLE_METRICS)).then_some(address)
}

/// `None` where no introspection is served.
pub(super) fn read_introspection(reader: &mut Reader<'_>) -> Option<IntrospectionAddress> {
    let address = reader.read(&INTROSPECTION_BIND_ADDRESS);
    (!reader.read(&DISABLE_INTROSPECTION)).then_some(address)
}
