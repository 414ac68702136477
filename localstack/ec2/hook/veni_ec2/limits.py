"""Limits of instance types, out of LocalStack's own DescribeInstanceTypes data.

EC2 documents them under "Maximum IP addresses per network interface"; the
numbers are what the real DescribeInstanceTypes answered when moto was built.
"""

import dataclasses

from moto.ec2.models.instance_types import INSTANCE_TYPES


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one instance may have."""

    instance_type: str
    interfaces: int
    """Interfaces over all network cards."""
    interfaces_by_card: tuple[int, ...]
    ipv4_per_interface: int
    ipv6_per_interface: int
    prefixes_supported: bool
    """Prefix delegation needs the Nitro system: a Nitro hypervisor or bare metal."""


def of(instance_type: str) -> Limits | None:
    """The type's limits, or None for a type that the data does not hold (no limit applies then)."""
    data = INSTANCE_TYPES.get(instance_type)
    if data is None:
        return None
    network = data["NetworkInfo"]
    cards = sorted(network["NetworkCards"], key=lambda card: card["NetworkCardIndex"])
    return Limits(
        instance_type=instance_type,
        interfaces=network["MaximumNetworkInterfaces"],
        interfaces_by_card=tuple(card["MaximumNetworkInterfaces"] for card in cards),
        ipv4_per_interface=network["Ipv4AddressesPerInterface"],
        ipv6_per_interface=network.get("Ipv6AddressesPerInterface", 0),
        prefixes_supported=data.get("Hypervisor") == "nitro" or bool(data.get("BareMetal")),
    )
