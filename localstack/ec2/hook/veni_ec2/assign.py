"""Assign and Unassign of IPv4 and IPv6 addresses and prefixes.

Each call is granted as a whole or not at all, and answers what is new only
("Existing IPv6 addresses … are not included", AssignIpv6Addresses).
"""

from typing import Any

from . import errors
from .addresses import ipv4_number
from .allocation import Grant, Wish, add, check_limits, grant_ipv4, grant_ipv6
from .call import Call
from .history import Record
from .interfaces import extras, secondary_addresses


def assign_private_ip_addresses(call: Call) -> Record:
    """Secondary IPv4 addresses or /28 prefixes, by number or by name."""
    eni = call.region.interface(call.get("NetworkInterfaceId"))
    wish = Wish(
        call.count("SecondaryPrivateIpAddressCount"),
        call.list("PrivateIpAddresses"),
        call.count("Ipv4PrefixCount"),
        call.list("Ipv4Prefixes"),
    )
    _check(wish)
    check_limits(eni.instance, eni, wish, Wish())
    owners = _reassigned(call, eni, wish)
    space = call.region.ipv4_space(eni.subnet)
    space.used.difference_update(ipv4_number(address) for address in owners)
    grant = grant_ipv4(call.region, eni.subnet, wish, space)
    for address, owner in owners.items():
        _remove_address(owner, address)
        call.region.record(owner)
    add(eni, grant, Grant())
    call.region.record(eni)
    return {
        "NetworkInterfaceId": eni.id,
        "AssignedPrivateIpAddresses": [{"PrivateIpAddress": a} for a in grant.addresses],
        "AssignedIpv4Prefixes": [{"Ipv4Prefix": p} for p in grant.prefixes],
    }


def assign_ipv6_addresses(call: Call) -> Record:
    """IPv6 addresses or /80 prefixes, by number or by name."""
    eni = call.region.interface(call.get("NetworkInterfaceId"))
    wish = Wish(
        call.count("Ipv6AddressCount"),
        call.list("Ipv6Addresses"),
        call.count("Ipv6PrefixCount"),
        call.list("Ipv6Prefixes"),
    )
    _check(wish)
    check_limits(eni.instance, eni, Wish(), wish)
    grant = grant_ipv6(call.region, eni.subnet, wish)
    add(eni, Grant(), grant)
    call.region.record(eni)
    return {
        "NetworkInterfaceId": eni.id,
        "AssignedIpv6Addresses": grant.addresses,
        "AssignedIpv6Prefixes": grant.prefixes,
    }


def unassign_private_ip_addresses(call: Call) -> Record:
    """Secondary addresses and prefixes that the interface has; never the primary address."""
    eni = call.region.interface(call.get("NetworkInterfaceId"))
    addresses, prefixes = call.list("PrivateIpAddresses"), call.list("Ipv4Prefixes")
    if not addresses and not prefixes:
        raise errors.missing_parameter("privateIpAddress")
    if eni.private_ip_address in addresses:
        raise errors.primary_address(eni.private_ip_address)
    known = set(secondary_addresses(eni))
    if not set(addresses) <= known or not set(prefixes) <= set(extras(eni).ipv4_prefixes):
        raise errors.not_assigned(eni.id)
    for address in set(addresses):
        _remove_address(eni, address)
    extras(eni).ipv4_prefixes = [p for p in extras(eni).ipv4_prefixes if p not in prefixes]
    call.region.record(eni)
    return {}


def unassign_ipv6_addresses(call: Call) -> Record:
    """IPv6 addresses and prefixes that the interface has."""
    eni = call.region.interface(call.get("NetworkInterfaceId"))
    addresses, prefixes = call.list("Ipv6Addresses"), call.list("Ipv6Prefixes")
    if not addresses and not prefixes:
        raise errors.missing_parameter("ipv6Addresses")
    if not set(addresses) <= set(eni.ipv6_addresses) or not set(prefixes) <= set(extras(eni).ipv6_prefixes):
        raise errors.not_assigned(eni.id)
    eni.ipv6_addresses = [a for a in eni.ipv6_addresses if a not in addresses]
    extras(eni).ipv6_prefixes = [p for p in extras(eni).ipv6_prefixes if p not in prefixes]
    call.region.record(eni)
    return {"NetworkInterfaceId": eni.id, "UnassignedIpv6Addresses": addresses, "UnassignedIpv6Prefixes": prefixes}


def _check(wish: Wish) -> None:
    wish.check()
    if not wish.slots:
        raise errors.ec2_error("MissingParameter", "Either addresses, prefixes or a number of them must be specified")


def _reassigned(call: Call, eni: Any, wish: Wish) -> dict[str, Any]:
    """AllowReassignment: named addresses that leave another interface as its secondary ones."""
    if not call.get("AllowReassignment"):
        return {}
    others = (e for e in call.region.backend.enis.values() if e.id != eni.id and e.subnet.id == eni.subnet.id)
    return {a: other for other in others for a in secondary_addresses(other) if a in wish.addresses}


def _remove_address(eni: Any, address: str) -> None:
    eni.private_ip_addresses = [a for a in eni.private_ip_addresses if a["PrivateIpAddress"] != address]
