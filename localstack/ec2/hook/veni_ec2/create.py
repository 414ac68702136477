"""CreateNetworkInterface and DeleteNetworkInterface.

Source: API reference of both; "Ensuring idempotency in Amazon EC2 API requests".
"""

import copy
from typing import Any

from . import errors
from .addresses import PREFIX_SIZE, ipv4_number
from .allocation import Grant, Wish, add, grant_ipv4, grant_ipv6
from .call import Call
from .history import Record
from .interfaces import extras
from .knobs import KNOBS
from .region import Region

_GROUPS_PER_INTERFACE = 16


def create_network_interface(call: Call) -> Record:
    """Creates an interface with all it asks for, or nothing; a client token makes it once."""
    token = call.get("ClientToken")
    if not token:
        return {"NetworkInterface": _create(call)}
    request = {k: v for k, v in call.request.items() if k not in ("ClientToken", "DryRun")}
    if token in call.region.client_tokens:
        earlier, answer = call.region.client_tokens[token]
        if earlier != request:
            raise errors.token_mismatch()
        return copy.deepcopy(answer)
    answer = {"NetworkInterface": _create(call), "ClientToken": token}
    call.region.client_tokens[token] = (copy.deepcopy(request), copy.deepcopy(answer))
    return answer


def _create(call: Call) -> Record:
    region = call.region
    subnet = region.subnet(call.get("SubnetId"))
    group_ids = call.list("Groups")
    if len(set(group_ids)) > _GROUPS_PER_INTERFACE:
        raise errors.ec2_error(
            "SecurityGroupsPerInterfaceLimitExceeded",
            "The maximum number of security groups per interface has been reached.",
        )
    region.groups(group_ids, subnet.vpc_id)
    if len(region.backend.enis) >= KNOBS.interfaces_per_region:
        raise errors.ec2_error("NetworkInterfaceLimitExceeded", "The maximum number of network interfaces is reached.")
    primary, v4, v6 = wishes(call.request)
    if subnet.assign_ipv6_address_on_creation in (True, "true") and not v6.slots:
        v6 = Wish(count=1)
    found_primary, found_v4 = _find_ipv4(region, subnet, primary, v4)
    found_v6 = grant_ipv6(region, subnet, v6)
    eni = region.backend.create_network_interface(
        subnet, found_primary, group_ids=group_ids or None, description=call.get("Description"), tags=_tags(call)
    )
    extras(eni).interface_type = call.get("InterfaceType") or "interface"
    add(eni, found_v4, found_v6)
    return region.record(eni)


def wishes(spec: dict[str, Any]) -> tuple[str | None, Wish, Wish]:
    """The primary address (None: any), and the wishes of both families, of an interface's specification.

    :raises: InvalidParameterCombination as the API reference says for each pair.
    """
    listed = [a["PrivateIpAddress"] for a in spec.get("PrivateIpAddresses") or [] if not a.get("Primary")]
    primaries = [a["PrivateIpAddress"] for a in spec.get("PrivateIpAddresses") or [] if a.get("Primary")]
    primaries += [spec["PrivateIpAddress"]] if spec.get("PrivateIpAddress") else []
    if len(primaries) > 1:
        raise errors.invalid_combination("Only one primary private IP address may be specified")
    v4 = Wish(
        int(spec.get("SecondaryPrivateIpAddressCount") or 0),
        listed,
        int(spec.get("Ipv4PrefixCount") or 0),
        [p["Ipv4Prefix"] for p in spec.get("Ipv4Prefixes") or []],
    )
    v6 = Wish(
        int(spec.get("Ipv6AddressCount") or 0),
        [a["Ipv6Address"] for a in spec.get("Ipv6Addresses") or []],
        int(spec.get("Ipv6PrefixCount") or 0),
        [p["Ipv6Prefix"] for p in spec.get("Ipv6Prefixes") or []],
    )
    v4.check()
    v6.check()
    return (primaries[0] if primaries else None), v4, v6


def _find_ipv4(region: Region, subnet: Any, primary: str | None, wish: Wish) -> tuple[str, Grant]:
    """The primary address and the rest out of one view of the subnet; blocks first, as they are scarcer."""
    space = region.ipv4_space(subnet)
    named = grant_ipv4(region, subnet, Wish(addresses=[primary]), space) if primary else Grant()
    if not wish.wants_prefixes and not wish.addresses:
        found = grant_ipv4(region, subnet, Wish(count=wish.count + (0 if primary else 1)), space)
        addresses = named.addresses + found.addresses
        return addresses[0], Grant(addresses[1:])
    found = grant_ipv4(region, subnet, wish, space)
    for prefix in found.prefixes:
        base = ipv4_number(prefix.split("/")[0])
        space.used.update(range(base, base + PREFIX_SIZE))
    if not primary:
        named = grant_ipv4(region, subnet, Wish(count=1), space)
    return named.addresses[0], found


def _tags(call: Call) -> dict[str, str]:
    """Tags of the specification for network interfaces."""
    tags: dict[str, str] = {}
    for specification in call.list("TagSpecifications"):
        if specification.get("ResourceType") != "network-interface":
            raise errors.invalid_value(
                f"'{specification.get('ResourceType')}' is not a valid taggable resource type for this operation."
            )
        tags |= {tag["Key"]: tag.get("Value", "") for tag in specification.get("Tags") or []}
    return tags


def delete_network_interface(call: Call) -> Record:
    """Deletes an interface that is not attached, detaching ones included among the attached."""
    eni = call.region.interface(call.get("NetworkInterfaceId"))
    if eni.attachment_id:
        raise errors.interface_currently_in_use(eni.id)
    call.region.backend.delete_network_interface(eni.id)
    return {}
