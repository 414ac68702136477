"""RunInstances, DescribeInstances, TerminateInstances: what they say of interfaces.

Moto runs the instances; the hook makes sure that their interfaces are as EC2
makes them, shows them through the lagging view, and ends them as
DeleteOnTermination says.
"""

from typing import Any

from localstack.services.moto import call_moto

from . import errors
from .allocation import Wish, add, check_limits, grant_ipv4, grant_ipv6
from .attach import check_slot
from .call import Call
from .create import wishes
from .history import Record
from .interfaces import attachment_key, extras, instance_network_interface, network_interface
from .region import Region


def run_instances(call: Call) -> Record:
    """Runs the instances if the subnet has an address for each, then completes their interfaces."""
    _check_room(call)
    answer = call_moto(call.context)
    specifications = {int(s.get("DeviceIndex") or 0): s for s in call.list("NetworkInterfaces")}
    for shown in answer["Instances"]:
        instance = call.region.instance(shown["InstanceId"])
        for eni in list(instance.nics.values()):
            _complete(call.region, instance, eni, specifications.get(eni.device_index, {}))
        records = [network_interface(eni) for eni in instance.nics.values()]
        shown["NetworkInterfaces"] = [instance_network_interface(record) for record in records]
    return answer


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
    """What moto leaves out: the card, DeleteOnTermination (true for a new interface), addresses, prefixes."""
    card = int(specification.get("NetworkCardIndex") or 0)
    if card:
        index = eni.device_index
        instance.nics.pop(index)
        check_slot(instance, index, card)
        instance.nics[attachment_key(index, card)] = eni
        extras(eni).network_card_index = card
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
        for name in ("PrivateIpAddress", "PublicIpAddress", "SubnetId", "VpcId"):
            shown.pop(name, None)
        return

    def place(record: Record) -> tuple[int, int]:
        return record["Attachment"]["NetworkCardIndex"], record["Attachment"]["DeviceIndex"]

    shown["NetworkInterfaces"] = [instance_network_interface(r) for r in sorted(records, key=place)]


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
