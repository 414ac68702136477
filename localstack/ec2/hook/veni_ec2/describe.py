"""DescribeNetworkInterfaces, DescribeSubnets, DescribeInstanceTypes.

All read the lagging view, so that Describe may show less, or more, than the
mutations before it have made ("Eventual consistency", EC2 developer guide).
"""

from typing import Any

from localstack.services.moto import call_moto_with_request
from moto.ec2.models.instance_types import INSTANCE_TYPES

from . import errors, filters, paging
from .call import Call
from .filters import field
from .history import Record
from .knobs import KNOBS

_INTERFACE_FILTERS = {
    "addresses.primary": field("PrivateIpAddresses", "Primary"),
    "addresses.private-ip-address": field("PrivateIpAddresses", "PrivateIpAddress"),
    "attachment.attachment-id": field("Attachment", "AttachmentId"),
    "attachment.delete-on-termination": field("Attachment", "DeleteOnTermination"),
    "attachment.device-index": field("Attachment", "DeviceIndex"),
    "attachment.instance-id": field("Attachment", "InstanceId"),
    "attachment.instance-owner-id": field("Attachment", "InstanceOwnerId"),
    "attachment.network-card-index": field("Attachment", "NetworkCardIndex"),
    "attachment.status": field("Attachment", "Status"),
    "availability-zone": field("AvailabilityZone"),
    "description": field("Description"),
    "group-id": field("Groups", "GroupId"),
    "group-name": field("Groups", "GroupName"),
    "interface-type": field("InterfaceType"),
    "ipv4-prefixes.ipv4-prefix": field("Ipv4Prefixes", "Ipv4Prefix"),
    "ipv6-addresses.ipv6-address": field("Ipv6Addresses", "Ipv6Address"),
    "ipv6-prefixes.ipv6-prefix": field("Ipv6Prefixes", "Ipv6Prefix"),
    "mac-address": field("MacAddress"),
    "network-interface-id": field("NetworkInterfaceId"),
    "owner-id": field("OwnerId"),
    "private-dns-name": field("PrivateDnsName"),
    "private-ip-address": field("PrivateIpAddresses", "PrivateIpAddress"),
    "requester-managed": field("RequesterManaged"),
    "source-dest-check": field("SourceDestCheck"),
    "status": field("Status"),
    "subnet-id": field("SubnetId"),
    "vpc-id": field("VpcId"),
}

_SUBNET_FILTERS = {
    "availability-zone": field("AvailabilityZone"),
    "availabilityZone": field("AvailabilityZone"),
    "availability-zone-id": field("AvailabilityZoneId"),
    "availabilityZoneId": field("AvailabilityZoneId"),
    "available-ip-address-count": field("AvailableIpAddressCount"),
    "cidr": field("CidrBlock"),
    "cidr-block": field("CidrBlock"),
    "cidrBlock": field("CidrBlock"),
    "default-for-az": field("DefaultForAz"),
    "defaultForAz": field("DefaultForAz"),
    "ipv6-cidr-block-association.ipv6-cidr-block": field("Ipv6CidrBlockAssociationSet", "Ipv6CidrBlock"),
    "ipv6-native": field("Ipv6Native"),
    "map-public-ip-on-launch": field("MapPublicIpOnLaunch"),
    "owner-id": field("OwnerId"),
    "state": field("State"),
    "subnet-id": field("SubnetId"),
    "vpc-id": field("VpcId"),
}

_TYPE_FILTERS = {
    "bare-metal": field("BareMetal"),
    "current-generation": field("CurrentGeneration"),
    "hypervisor": field("Hypervisor"),
    "instance-type": field("InstanceType"),
    "network-info.ipv4-addresses-per-interface": field("NetworkInfo", "Ipv4AddressesPerInterface"),
    "network-info.ipv6-supported": field("NetworkInfo", "Ipv6Supported"),
    "network-info.maximum-network-cards": field("NetworkInfo", "MaximumNetworkCards"),
    "network-info.maximum-network-interfaces": field("NetworkInfo", "MaximumNetworkInterfaces"),
    "processor-info.supported-architecture": field("ProcessorInfo", "SupportedArchitectures"),
    "vcpu-info.default-vcpus": field("VCpuInfo", "DefaultVCpus"),
}

_TYPES_PER_PAGE = 100

#: Filters by which EC2 finds interfaces without a look at all of them.
_FAST_FILTERS = frozenset(
    ("group-id", "mac-address", "private-dns-name", "private-ip-address", "subnet-id", "vpc-id")
)


def describe_network_interfaces(call: Call) -> Record:
    """Interfaces by id or by filter. Ids and MaxResults exclude each other."""
    wanted = call.list("NetworkInterfaceIds")
    if wanted and call.get("MaxResults") is not None:
        raise errors.invalid_combination(
            "The parameter networkInterfaceIds cannot be used with the parameter maxResults"
        )
    records = sorted(call.region.visible(), key=lambda record: record["NetworkInterfaceId"])
    _check_paging(call, len(records))
    if wanted:
        known = {record["NetworkInterfaceId"] for record in records}
        for interface_id in wanted:
            if interface_id not in known:
                raise errors.interface_not_found(interface_id)
        records = [record for record in records if record["NetworkInterfaceId"] in wanted]
    records = filters.apply(records, call.list("Filters"), _INTERFACE_FILTERS)
    shown, token = paging.page(
        records, lambda r: r["NetworkInterfaceId"], call.get("MaxResults"), call.get("NextToken"), (5, 1000)
    )
    return {"NetworkInterfaces": shown, "NextToken": token}


def _check_paging(call: Call, interfaces: int) -> None:
    """"If you have a large number of network interfaces, the operation fails unless you use pagination or …".

    :raises: OperationNotPermitted.
    """
    paged = any(call.get(name) is not None for name in ("MaxResults", "NextToken"))
    fast = any(entry.get("Name") in _FAST_FILTERS for entry in call.list("Filters"))
    if interfaces > KNOBS.interfaces_without_paging and not (paged or fast or call.list("NetworkInterfaceIds")):
        raise errors.not_paged()


def describe_subnets(call: Call) -> Record:
    """Moto's subnets with a true number of free addresses, filters and paging."""
    wanted = call.list("SubnetIds")
    for subnet_id in wanted:
        call.region.subnet(subnet_id)
    subnets = call_moto_with_request(call.context, _narrowed(call))["Subnets"]
    by_subnet: dict[str, list[Record]] = {}
    for record in call.region.visible():
        by_subnet.setdefault(record["SubnetId"], []).append(record)
    for shown in subnets:
        subnet = call.region.subnet(shown["SubnetId"])
        if subnet.cidr_block:
            space = call.region.ipv4_space_of(subnet, by_subnet.get(subnet.id, []))
            shown["AvailableIpAddressCount"] = space.free_count()
    subnets = sorted(subnets, key=lambda s: s["SubnetId"])
    subnets = filters.apply(subnets, call.list("Filters"), _SUBNET_FILTERS)
    subnets, token = paging.page(
        subnets, lambda s: s["SubnetId"], call.get("MaxResults"), call.get("NextToken"), (5, 1000)
    )
    return {"Subnets": subnets, "NextToken": token}


def _narrowed(call: Call) -> Record:
    """The part of the request that moto gets: it is slow with all subnets and does not know all filters."""
    request = {"SubnetIds": call.list("SubnetIds"), "Filters": []}
    request["Filters"] = [f for f in call.list("Filters") if f.get("Name") in ("vpc-id", "subnet-id")]
    return {name: value for name, value in request.items() if value}


def describe_instance_types(call: Call) -> Record:
    """Types in pages of 100; a named type that EC2 does not have is an error."""
    wanted = call.list("InstanceTypes")
    unknown = [name for name in wanted if name not in INSTANCE_TYPES]
    if unknown:
        raise errors.ec2_error(
            "InvalidInstanceType", f"The following supplied instance types do not exist: [{', '.join(unknown)}]"
        )
    types = [INSTANCE_TYPES[name] for name in sorted(wanted or INSTANCE_TYPES)]
    types = filters.apply(types, call.list("Filters"), _TYPE_FILTERS)
    size = call.get("MaxResults")
    if size is not None:
        paging.page([], str, size, None, (5, 100))
    shown, token = paging.page(
        types, lambda t: t["InstanceType"], size or _TYPES_PER_PAGE, call.get("NextToken"), (1, 100)
    )
    shape = call.context.operation.output_shape.members["InstanceTypes"].member
    return {"InstanceTypes": [_only_known(t, shape) for t in shown], "NextToken": token}


def _only_known(value: Any, shape: Any) -> Any:
    """The value without fields that this LocalStack's API model does not have; it would warn of each."""
    if shape.type_name == "structure":
        return {name: _only_known(v, shape.members[name]) for name, v in value.items() if name in shape.members}
    if shape.type_name == "list":
        return [_only_known(item, shape.member) for item in value]
    return value
