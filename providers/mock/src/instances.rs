//! Limits of the few instance types that tests and the lab use. The AWS
//! figures are EC2's published ones, the Azure ones the documented 256 slots
//! per network interface.

use veni_provider::Limits;

/// Type, interfaces, IPv4 slots per interface, IPv6 slots per interface, virtual CPUs.
const TABLE: &[(&str, u32, u32, u32, u32)] = &[
    ("t3.nano", 2, 2, 2, 2),
    ("t3.micro", 2, 2, 2, 2),
    ("t3.small", 3, 4, 4, 2),
    ("t3.medium", 3, 6, 6, 2),
    ("t3.large", 3, 12, 12, 2),
    ("t3.xlarge", 4, 15, 15, 4),
    ("m5.large", 3, 10, 10, 2),
    ("m5.xlarge", 4, 15, 15, 4),
    ("m5.2xlarge", 4, 15, 15, 8),
    ("m5.4xlarge", 8, 30, 30, 16),
    ("m5.12xlarge", 8, 30, 30, 48),
    ("c5.large", 3, 10, 10, 2),
    ("c5.xlarge", 4, 15, 15, 4),
    ("c5.4xlarge", 8, 30, 30, 16),
    ("c5.18xlarge", 15, 50, 50, 72),
    ("Standard_D2s_v5", 2, 256, 256, 2),
    ("Standard_D4s_v5", 2, 256, 256, 4),
    ("Standard_D8s_v5", 4, 256, 256, 8),
    ("Standard_D16s_v5", 8, 256, 256, 16),
];

/// The limits of a type; `None` when it is not in the table.
pub fn limits(instance_type: &str) -> Option<Limits> {
    let row = TABLE.iter().find(|row| row.0 == instance_type)?;
    Some(Limits {
        interfaces: row.1,
        ipv4_per_interface: row.2,
        ipv6_per_interface: row.3,
        vcpus: row.4,
    })
}

/// The types in the table.
pub fn known() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|row| row.0)
}
