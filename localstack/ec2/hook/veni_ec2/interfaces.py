"""A network interface: moto's object, what the hook adds to it, how EC2 shows it.

The state lives in moto's ``NetworkInterface`` so that the operations the hook
leaves alone see the same; what moto has no field for hangs on it as ``Extras``.
"""

import dataclasses
import itertools
from typing import Any

from . import clock
from .history import Record

_sequence = itertools.count(1)


@dataclasses.dataclass
class Extras:
    """What EC2 knows of an interface and moto does not."""

    created_at: float = dataclasses.field(default_factory=clock.now)
    sequence: int = dataclasses.field(default_factory=lambda: next(_sequence))
    ipv4_prefixes: list[str] = dataclasses.field(default_factory=list)
    ipv6_prefixes: list[str] = dataclasses.field(default_factory=list)
    interface_type: str = "interface"
    network_card_index: int = 0
    attachment_status: str = ""
    #: When ``attaching`` or ``detaching`` ends, on the hook's clock.
    transition_due: float | None = None


def extras(eni: Any) -> Extras:
    """The hook's part of an interface."""
    return eni.veni


def secondary_addresses(eni: Any) -> list[str]:
    """Private IPv4 addresses without the primary one, in order of assignment."""
    return [a["PrivateIpAddress"] for a in eni.private_ip_addresses if not a["Primary"]]


def ipv4_slots(eni: Any) -> int:
    """Slots used of the limit: addresses, the primary one included, and prefixes."""
    return len(eni.private_ip_addresses) + len(extras(eni).ipv4_prefixes)


def ipv6_slots(eni: Any) -> int:
    """Slots used of the IPv6 limit."""
    return len(eni.ipv6_addresses) + len(extras(eni).ipv6_prefixes)


def attachment_key(device_index: int, card: int) -> int:
    """Where moto's ``instance.nics`` keeps it: device indexes are unique per network card."""
    return card * 1000 + device_index


def dns_name(eni: Any, address: str) -> str:
    """The private name EC2 derives from an address."""
    region = eni.ec2_backend.region_name
    suffix = "ec2.internal" if region == "us-east-1" else f"{region}.compute.internal"
    return f"ip-{address.replace('.', '-')}.{suffix}"


def network_interface(eni: Any) -> Record:
    """EC2's NetworkInterface structure."""
    more = extras(eni)
    record: Record = {
        "NetworkInterfaceId": eni.id,
        "SubnetId": eni.subnet.id,
        "VpcId": eni.subnet.vpc_id,
        "AvailabilityZone": eni.subnet.availability_zone,
        "Description": eni.description,
        "OwnerId": eni.owner_id,
        "RequesterManaged": False,
        "InterfaceType": more.interface_type,
        "Status": "in-use" if eni.attachment_id else "available",
        "SourceDestCheck": eni.source_dest_check,
        "Groups": [{"GroupId": g.id, "GroupName": g.name} for g in eni._group_set],
        "TagSet": [{"Key": t["key"], "Value": t["value"]} for t in eni.get_tags()],
        **_addresses(eni),
    }
    if eni.attachment_id:
        record["Attachment"] = attachment(eni) | {
            "InstanceId": eni.instance.id,
            "InstanceOwnerId": eni.instance.owner_id,
        }
    return record


def _addresses(eni: Any) -> Record:
    """The part that says MAC, addresses and prefixes; the same in both structures."""
    more = extras(eni)
    return {
        "MacAddress": eni.mac_address,
        "PrivateIpAddress": eni.private_ip_address,
        "PrivateDnsName": dns_name(eni, eni.private_ip_address),
        "PrivateIpAddresses": [
            {
                "Primary": a["Primary"],
                "PrivateIpAddress": a["PrivateIpAddress"],
                "PrivateDnsName": dns_name(eni, a["PrivateIpAddress"]),
            }
            for a in eni.private_ip_addresses
        ],
        "Ipv4Prefixes": [{"Ipv4Prefix": p} for p in more.ipv4_prefixes],
        "Ipv6Addresses": [{"Ipv6Address": a, "IsPrimaryIpv6": False} for a in eni.ipv6_addresses],
        "Ipv6Prefixes": [{"Ipv6Prefix": p} for p in more.ipv6_prefixes],
    }


def attachment(eni: Any) -> Record:
    """The attachment without the instance, as DescribeInstances shows it."""
    return {
        "AttachTime": eni.attach_time,
        "AttachmentId": eni.attachment_id,
        "DeleteOnTermination": eni.delete_on_termination,
        "DeviceIndex": eni.device_index,
        "NetworkCardIndex": extras(eni).network_card_index,
        "Status": extras(eni).attachment_status,
    }


_INSTANCE_FIELDS = (
    "Description Groups InterfaceType MacAddress NetworkInterfaceId OwnerId PrivateDnsName PrivateIpAddress "
    "PrivateIpAddresses SourceDestCheck Status SubnetId VpcId Ipv4Prefixes Ipv6Addresses Ipv6Prefixes"
).split()


def instance_network_interface(record: Record) -> Record:
    """EC2's InstanceNetworkInterface structure (DescribeInstances) out of a NetworkInterface."""
    shown = {name: record[name] for name in _INSTANCE_FIELDS}
    parts = ("AttachTime", "AttachmentId", "DeleteOnTermination", "DeviceIndex", "NetworkCardIndex", "Status")
    shown["Attachment"] = {name: record["Attachment"][name] for name in parts}
    return shown
