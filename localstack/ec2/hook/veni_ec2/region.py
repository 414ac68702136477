"""One account's EC2 in one region: moto's backend, a lock, the history.

Every operation of the hook holds the lock, so a rule is checked and applied
as one step, as EC2 does.
"""

import ipaddress
import math
import random
import threading
from collections.abc import Iterable
from typing import Any

from moto.ec2.models import ec2_backends

from . import changes, clock, errors, knobs
from .addresses import PREFIX_SIZE, Ipv4Space, Ipv6Space, ipv4_number
from .history import History, Record
from .interfaces import attachment_key, extras, network_interface

_registry_lock = threading.Lock()


class Region:
    """State of the hook beside one moto backend; it vanishes with the backend."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self.lock = threading.RLock()
        self.history = History()
        #: Client token → (request, answer), for CreateNetworkInterface.
        self.client_tokens: dict[str, tuple[Any, Record]] = {}
        #: Addresses that /_veni/fill has taken out of a subnet.
        self.filled: dict[str, set[int]] = {}
        self.random = random.Random(knobs.KNOBS.seed or None)

    # -- looking up ---------------------------------------------------------

    def interface(self, interface_id: str | None) -> Any:
        """The interface, as a mutation finds it.

        :raises: InvalidNetworkInterfaceID.NotFound, also while a new interface is not visible yet.
        """
        if not interface_id:
            raise errors.missing_parameter("networkInterfaceId")
        eni = self.backend.enis.get(interface_id)
        if eni is None or clock.now() < extras(eni).created_at + knobs.of(eni.subnet.vpc_id).create_visibility_seconds:
            raise errors.interface_not_found(interface_id)
        return eni

    def subnet(self, subnet_id: str | None) -> Any:
        """:raises: InvalidSubnetID.NotFound."""
        if not subnet_id:
            raise errors.missing_parameter("subnetId")
        for subnets in self.backend.subnets.values():
            if subnet_id in subnets:
                return subnets[subnet_id]
        raise errors.subnet_not_found(subnet_id)

    def instance(self, instance_id: str | None) -> Any:
        """:raises: InvalidInstanceID.NotFound."""
        instance = self.backend.get_instance_by_id(instance_id) if instance_id else None
        if instance is None:
            raise errors.instance_not_found(instance_id or "")
        return instance

    def groups(self, group_ids: list[str], vpc_id: str) -> list[Any]:
        """The security groups, which must exist and belong to the VPC."""
        found = []
        for group_id in dict.fromkeys(group_ids):
            group = self.backend.get_security_group_from_id(group_id)
            if group is None:
                raise errors.group_not_found(group_id)
            if group.vpc_id != vpc_id:
                raise errors.group_of_other_network()
            found.append(group)
        return found

    def networks_named_in(self, request: Any) -> set[str]:
        """The VPCs that a request names, or parts of which it names."""
        if isinstance(request, dict):
            return self.networks_named_in(list(request.values()))
        if isinstance(request, list):
            return {vpc_id for value in request for vpc_id in self.networks_named_in(value)}
        if not isinstance(request, str):
            return set()
        if request in self.backend.vpcs:
            return {request}
        if request in self.backend.enis:
            return {self.backend.enis[request].subnet.vpc_id}
        parts = [subnets[request] for subnets in self.backend.subnets.values() if request in subnets]
        if request.startswith("sg-"):
            parts.append(self.backend.get_security_group_from_id(request))
        if request.startswith("i-"):
            parts.append(self.backend.get_instance_by_id(request))
        return {part.vpc_id for part in parts if part is not None and part.vpc_id}

    # -- addresses ----------------------------------------------------------

    def ipv4_space(self, subnet: Any) -> Ipv4Space:
        """What is used in the subnet now."""
        interfaces = [eni for eni in self.backend.enis.values() if eni.subnet.id == subnet.id]
        addresses = (a["PrivateIpAddress"] for eni in interfaces for a in eni.private_ip_addresses)
        prefixes = (p for eni in interfaces for p in extras(eni).ipv4_prefixes)
        return self._space(subnet, addresses, prefixes)

    def ipv4_space_of(self, subnet: Any, records: list[Record]) -> Ipv4Space:
        """What is used in the subnet when these are its interfaces."""
        addresses = (a["PrivateIpAddress"] for record in records for a in record["PrivateIpAddresses"])
        prefixes = (p["Ipv4Prefix"] for record in records for p in record["Ipv4Prefixes"])
        return self._space(subnet, addresses, prefixes)

    def _space(self, subnet: Any, addresses: Iterable[str], prefixes: Iterable[str]) -> Ipv4Space:
        space = Ipv4Space(ipaddress.IPv4Network(subnet.cidr_block), set(self.filled.get(subnet.id, ())))
        space.used.update(ipv4_number(address) for address in addresses)
        for prefix in prefixes:
            base = ipv4_number(prefix.split("/")[0])
            space.used.update(range(base, base + PREFIX_SIZE))
        for reservation in subnet._cidr_reservations:
            if reservation.cidr.version == 4:
                is_prefix = reservation.reservation_type == "prefix"
                kept = space.prefix_reservations if is_prefix else space.explicit_reservations
                kept.append(reservation.cidr)
        return space

    def ipv6_space(self, subnet: Any) -> Ipv6Space:
        """What is used in the subnet's /64 now.

        :raises: InvalidParameterValue when the subnet has none.
        """
        blocks = subnet.ipv6_cidr_block_association_set
        if not blocks:
            raise errors.invalid_value(f"The subnet '{subnet.id}' has no IPv6 CIDR block associated with it.")
        space = Ipv6Space(ipaddress.IPv6Network(blocks[0]["ipv6CidrBlock"]))
        for eni in self.backend.enis.values():
            if eni.subnet.id == subnet.id:
                space.used.update(int(ipaddress.IPv6Address(a)) for a in eni.ipv6_addresses)
                prefixes = (ipaddress.IPv6Network(p) for p in extras(eni).ipv6_prefixes)
                space.used_prefixes.update(int(p.network_address) >> 48 for p in prefixes)
        return space

    # -- recording and time -------------------------------------------------

    def record(self, eni: Any, at: float | None = None) -> Record:
        """Notes what the interface looks like from now on."""
        record = network_interface(eni)
        self.history.record(eni.id, clock.now() if at is None else at, record)
        changes.changed(eni.subnet.vpc_id)
        return record

    def forget(self, interface_id: str) -> None:
        """Notes the interface's deletion."""
        self.backend.tags.pop(interface_id, None)
        last = self.history.version(interface_id, math.inf)
        self.history.record(interface_id, clock.now(), None)
        changes.changed(last["VpcId"] if last else None)

    def visible(self) -> list[Record]:
        """The interfaces as a Describe sees them now."""
        now = clock.now()
        return self.history.as_of(lambda vpc_id: now - knobs.of(vpc_id).describe_lag_seconds)

    def settle(self) -> None:
        """Ends every ``attaching`` and ``detaching`` whose time has come."""
        now = clock.now()
        due = [e for e in self.backend.enis.values() if (extras(e).transition_due or now + 1) <= now]
        for eni in sorted(due, key=lambda e: extras(e).transition_due or 0.0):
            self._end_transition(eni)

    def next_due(self) -> float | None:
        """When the next ``attaching`` or ``detaching`` ends, on the hook's clock."""
        due = (extras(eni).transition_due for eni in self.backend.enis.values())
        return min((moment for moment in due if moment is not None), default=None)

    def _end_transition(self, eni: Any) -> None:
        more = extras(eni)
        at, more.transition_due = more.transition_due, None
        if more.attachment_status == "detaching":
            self.release(eni)
        else:
            more.attachment_status = "attached"
        self.record(eni, at)

    def release(self, eni: Any) -> None:
        """Takes the interface off its instance; the caller records it."""
        more = extras(eni)
        if eni.instance:
            eni.instance.nics.pop(attachment_key(eni.device_index, more.network_card_index), None)
        eni.instance = eni.attachment_id = eni.attach_time = eni.device_index = None
        eni.status = "available"
        eni.delete_on_termination = False
        more.attachment_status, more.network_card_index, more.transition_due = "", 0, None


def region_of(backend: Any) -> Region:
    """The hook's state beside a moto backend."""
    with _registry_lock:
        if not hasattr(backend, "veni_region"):
            backend.veni_region = Region(backend)
        return backend.veni_region


def find_region(account_id: str, region_name: str) -> Region:
    """The region of an account, made when it is first used."""
    return region_of(ec2_backends[account_id][region_name])


def known_regions() -> list[tuple[str, str, Region]]:
    """(account, region name, state) of every region the hook has seen."""
    found = []
    for account_id, regions in list(ec2_backends.items()):
        for name, backend in list(regions.items()):
            if hasattr(backend, "veni_region"):
                found.append((account_id, name, backend.veni_region))
    return found
