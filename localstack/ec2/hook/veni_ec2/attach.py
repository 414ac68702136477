"""AttachNetworkInterface, DetachNetworkInterface, ModifyNetworkInterfaceAttribute.

The state machine: attaching → attached → detaching → gone, each change taking
the time its knob says. The interface is ``in-use`` from the attach call to the
end of ``detaching``; its device index is taken as long.
"""

from typing import Any

from . import clock, errors, knobs, limits
from .allocation import Wish, check_limits
from .call import Call
from .history import Record
from .interfaces import attachment_key, extras
from .region import Region

_GONE = ("shutting-down", "terminated")


def attach_network_interface(call: Call) -> Record:
    """Attaches an available interface at a free device index, within the type's limits."""
    region = call.region
    eni = region.interface(call.get("NetworkInterfaceId"))
    instance = region.instance(call.get("InstanceId"))
    if call.get("DeviceIndex") is None:
        raise errors.missing_parameter("deviceIndex")
    index, card = int(call.get("DeviceIndex")), call.count("NetworkCardIndex")
    if eni.attachment_id:
        raise errors.interface_in_use(eni.id)
    if instance.state in _GONE:
        raise errors.incorrect_instance_state(instance.id)
    if eni.subnet.availability_zone != instance._placement.zone:
        raise errors.invalid_combination(
            "You may not attach a network interface to an instance if they are not in the same availability zone"
        )
    if index < 0:
        raise errors.invalid_value(f"Invalid value '{index}' for deviceIndex")
    check_slot(instance, index, card)
    check_limits(instance, eni, Wish(), Wish())
    attach(region, eni, instance, index, card)
    return {"AttachmentId": eni.attachment_id, "NetworkCardIndex": card}


def check_slot(instance: Any, index: int, card: int) -> None:
    """The card exists, the device index is free and the type has room.

    :raises: InvalidParameterValue, AttachmentLimitExceeded.
    """
    limit = limits.of(instance.instance_type)
    if limit and not 0 <= card < len(limit.interfaces_by_card):
        raise errors.invalid_value(f"The network card index {card} is not valid for {limit.instance_type}")
    if attachment_key(index, card) in instance.nics:
        raise errors.device_index_taken(instance.id, index)
    if limit is None:
        return
    on_card = sum(1 for nic in instance.nics.values() if extras(nic).network_card_index == card)
    if on_card >= limit.interfaces_by_card[card]:
        raise errors.attachment_limit(on_card + 1, limit.instance_type)
    if len(instance.nics) >= limit.interfaces:
        raise errors.attachment_limit(len(instance.nics) + 1, limit.instance_type)


def attach(region: Region, eni: Any, instance: Any, index: int, card: int) -> None:
    """Takes the device index; ``attaching`` until its time is over."""
    more = extras(eni)
    more.network_card_index = card
    instance.attach_eni(eni, attachment_key(index, card))
    eni.device_index = index
    eni.delete_on_termination = False
    seconds = knobs.of(eni.subnet.vpc_id).attach_seconds
    if seconds:
        more.attachment_status = "attaching"
        more.transition_due = clock.now() + seconds
    region.record(eni)


def detach_network_interface(call: Call) -> Record:
    """Starts detaching; the primary interface cannot be detached.

    EC2's answer to a second detach of one attachment is not confirmed:
    IncorrectState is the harder one for a client.
    """
    attachment_id = call.get("AttachmentId") or ""
    found = [e for e in call.region.backend.enis.values() if e.attachment_id == attachment_id]
    if not attachment_id or not found:
        raise errors.attachment_not_found(attachment_id)
    eni = found[0]
    more = extras(eni)
    if eni.device_index == 0 and more.network_card_index == 0 and eni.instance.state not in _GONE:
        raise errors.primary_interface(eni.device_index, more.network_card_index)
    if more.attachment_status == "detaching":
        raise errors.incorrect_state(f"The attachment '{attachment_id}' is being detached already")
    seconds = knobs.of(eni.subnet.vpc_id).detach_seconds
    if seconds:
        more.attachment_status = "detaching"
        more.transition_due = clock.now() + seconds
    else:
        call.region.release(eni)
    call.region.record(eni)
    return {}


def modify_network_interface_attribute(call: Call) -> Record:
    """Changes one attribute: "You can specify only one attribute at a time"."""
    eni = call.region.interface(call.get("NetworkInterfaceId"))
    names = [n for n in ("Attachment", "Description", "Groups", "SourceDestCheck") if call.get(n) is not None]
    if len(names) != 1:
        raise errors.invalid_combination("Exactly one network interface attribute must be specified")
    if names == ["Attachment"]:
        _modify_attachment(eni, call.get("Attachment"))
    elif names == ["Groups"]:
        eni._group_set = call.region.groups(call.list("Groups"), eni.subnet.vpc_id)
    elif names == ["Description"]:
        eni.description = call.get("Description").get("Value") or ""
    else:
        eni.source_dest_check = bool(call.get("SourceDestCheck").get("Value"))
    call.region.record(eni)
    return {}


def _modify_attachment(eni: Any, change: dict[str, Any]) -> None:
    """DeleteOnTermination of the attachment that the interface has now."""
    if not change.get("AttachmentId") or change["AttachmentId"] != eni.attachment_id:
        raise errors.attachment_not_found(change.get("AttachmentId") or "")
    if change.get("DeleteOnTermination") is not None:
        eni.delete_on_termination = bool(change["DeleteOnTermination"])
