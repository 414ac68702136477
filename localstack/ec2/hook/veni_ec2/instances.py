"""RunInstances, DescribeInstances, TerminateInstances: what they say of interfaces.

Moto runs the instances; the hook makes sure that their interfaces are as EC2
makes them, shows them through the lagging view, and ends them as
DeleteOnTermination says.
"""

from typing import Any

from localstack.services.moto import call_moto, call_moto_with_request

from . import errors, limits
from .allocation import Wish, add, check_limits, grant_ipv4, grant_ipv6
from .call import Call
from .create import wishes
from .history import Record
from .interfaces import attachment_key, extras, instance_network_interface, network_interface
from .region import Region


def run_instances(call: Call) -> Record:
    """Runs the instances if the subnet has an address for each, then completes their interfaces."""
    instance_type = call.get("InstanceType")
    if instance_type and limits.of(instance_type) is None:
        raise errors.invalid_value(f"Invalid value '{instance_type}' for InstanceType.")
    _check_room(call)
    specifications = {_key(s): s for s in call.list("NetworkInterfaces")}
    _check_cards(call, list(specifications))
    answer = call_moto_with_request(call.context, _for_moto(call, specifications))
    for shown in answer["Instances"]:
        instance = call.region.instance(shown["InstanceId"])
        for key, eni in instance.nics.items():
            extras(eni).network_card_index, eni.device_index = divmod(key, attachment_key(0, 1))
            _complete(call.region, instance, eni, specifications.get(key, {}))
        records = [network_interface(eni) for eni in instance.nics.values()]
        shown["NetworkInterfaces"] = [instance_network_interface(record) for record in records]
    return answer


def _key(specification: dict[str, Any]) -> int:
    return attachment_key(int(specification.get("DeviceIndex") or 0), int(specification.get("NetworkCardIndex") or 0))


def _for_moto(call: Call, specifications: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """The request with moto's key in place of the device index: moto knows one network card only."""
    if not specifications:
        return call.request
    rewritten = []
    for key, specification in specifications.items():
        kept = {name: value for name, value in specification.items() if name != "NetworkCardIndex"}
        rewritten.append(kept | {"DeviceIndex": key})
    return call.request | {"NetworkInterfaces": rewritten}


def _check_cards(call: Call, keys: list[int]) -> None:
    """The type has the cards, and each has room for the interfaces asked for.

    :raises: InvalidParameterValue, AttachmentLimitExceeded.
    """
    limit = limits.of(call.get("InstanceType") or "")
    if limit is None:
        return
    cards = [divmod(key, attachment_key(0, 1))[0] for key in keys]
    for card in cards:
        if card >= len(limit.interfaces_by_card):
            raise errors.invalid_value(f"The network card index {card} is not valid for {limit.instance_type}")
        if cards.count(card) > limit.interfaces_by_card[card]:
            raise errors.attachment_limit(cards.count(card), limit.instance_type)


def _check_room(call: Call) -> None:
    """No instance is run unless all can be.

    :raises: InsufficientFreeAddressesInSubnet, InvalidNetworkInterface.InUse and what interfaces ask for.
    """
    count = max(1, call.count("MinCount"))
    needed: dict[str, int] = {}
    specifications = call.list("NetworkInterfaces") or [call.request]
    for specification in specifications:
        if specification.get("NetworkInterfaceId"):
            eni = call.region.interface(specification["NetworkInterfaceId"])
            if eni.attachment_id:
                raise errors.interface_in_use(eni.id)
        elif specification.get("SubnetId"):
            primary, v4, _ = wishes(specification) if specification is not call.request else (None, Wish(), None)
            subnet_id = specification["SubnetId"]
            needed[subnet_id] = needed.get(subnet_id, 0) + count * (1 + v4.count + len(v4.addresses))
    for subnet_id, addresses in needed.items():
        subnet = call.region.subnet(subnet_id)
        if subnet.cidr_block and call.region.ipv4_space(subnet).free_count() < addresses:
            raise errors.subnet_out_of_addresses()


def _complete(region: Region, instance: Any, eni: Any, specification: dict[str, Any]) -> None:
    """What moto leaves out: DeleteOnTermination (true for a new interface), addresses, prefixes."""
    default = not specification.get("NetworkInterfaceId")
    eni.delete_on_termination = bool(specification.get("DeleteOnTermination", default))
    if specification and not specification.get("NetworkInterfaceId"):
        _, v4, v6 = wishes(specification)
        v6.count = max(0, v6.count - len(eni.ipv6_addresses))
        check_limits(instance, eni, v4, v6)
        add(eni, grant_ipv4(region, eni.subnet, v4), grant_ipv6(region, eni.subnet, v6))
    region.record(eni)


def describe_instances(call: Call) -> Record:
    """Moto's answer with the interfaces that the lagging view shows on each instance."""
    answer = call_moto(call.context)
    attached: dict[str, list[Record]] = {}
    for record in call.region.visible():
        if "Attachment" in record:
            attached.setdefault(record["Attachment"]["InstanceId"], []).append(record)
    for reservation in answer.get("Reservations", []):
        for shown in reservation["Instances"]:
            _show_interfaces(shown, attached.get(shown["InstanceId"], []))
    return answer


def _show_interfaces(shown: Record, records: list[Record]) -> None:
    """Interfaces in device order; a terminated instance has none, and no address."""
    if shown["State"]["Name"] == "terminated":
        shown["NetworkInterfaces"] = []
        for name in ("PrivateIpAddress", "PublicIpAddress", "Ipv6Address", "SubnetId", "VpcId"):
            shown.pop(name, None)
        return

    def place(record: Record) -> tuple[int, int]:
        return record["Attachment"]["NetworkCardIndex"], record["Attachment"]["DeviceIndex"]

    records = sorted(records, key=place)
    shown["NetworkInterfaces"] = [instance_network_interface(record) for record in records]
    primary = [record for record in records if place(record) == (0, 0)]
    for address in [a for record in primary for a in record["Ipv6Addresses"]][:1]:
        shown["Ipv6Address"] = address["Ipv6Address"]


def terminate_instances(call: Call) -> Record:
    """Terminates; interfaces with DeleteOnTermination go, the others become available."""
    attached = {
        instance_id: [e for e in call.region.backend.enis.values() if e.instance and e.instance.id == instance_id]
        for instance_id in call.list("InstanceIds")
    }
    answer = call_moto(call.context)
    for interfaces in attached.values():
        for eni in interfaces:
            _end(call.region, eni)
    return answer


def _end(region: Region, eni: Any) -> None:
    """Moto has deleted those with DeleteOnTermination; moto's instance keeps ``nics`` for its own properties."""
    if eni.id not in region.backend.enis:
        return
    instance, nics = eni.instance, dict(eni.instance.nics)
    region.release(eni)
    instance.nics = nics
    region.record(eni)
