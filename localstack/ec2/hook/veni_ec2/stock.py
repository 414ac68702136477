"""Changes to moto itself, where instances and interfaces come into being.

RunInstances makes its interfaces deep inside moto. Four of moto's methods are
wrapped so that those interfaces, too, get free addresses, a well-formed MAC,
the hook's extras and a place in the history.
"""

import functools
import ipaddress
import random
from collections.abc import Callable
from typing import Any

from moto.ec2.models.elastic_network_interfaces import NetworkInterfaceBackend
from moto.ec2.models.instances import Instance
from moto.ec2.models.subnets import Subnet

from .allocation import Grant, Wish, add, grant_ipv4, grant_ipv6
from .interfaces import Extras, extras
from .region import region_of


def install() -> None:
    """Wraps moto's methods; called once."""
    _wrap(NetworkInterfaceBackend, "create_network_interface", _create)
    _wrap(NetworkInterfaceBackend, "delete_network_interface", _delete)
    _wrap(Instance, "attach_eni", _attach)
    _wrap(Subnet, "get_available_subnet_ip", _next_address)
    _wrap(Subnet, "request_ip", _named_address)
    Subnet.available_ip_address_count = property(_free_count)


def _wrap(owner: type, name: str, wrapper: Callable[..., Any]) -> None:
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return wrapper(original, *args, **kwargs)

    setattr(owner, name, wrapped)


def _create(original: Callable[..., Any], backend: Any, subnet: Any, address: Any, *rest: Any, **more: Any) -> Any:
    """An interface with one address that is free; anything further is the caller's to add."""
    region = region_of(backend)
    with region.lock:
        subnet = region.subnet(subnet) if isinstance(subnet, str) else subnet
        ipv6_count = more.pop("ipv6_address_count", None) or 0
        if not address:
            address = grant_ipv4(region, subnet, Wish(count=1)).addresses[0]
        eni = original(backend, subnet, address, *rest, **more)
        eni.veni = Extras()
        eni.mac_address = _mac_address(backend)
        eni.private_ip_addresses = [{"Primary": True, "PrivateIpAddress": eni.private_ip_address}]
        eni._group_set = list(dict.fromkeys(eni._group_set))
        if ipv6_count:
            add(eni, Grant(), grant_ipv6(region, subnet, Wish(count=int(ipv6_count))))
        region.record(eni)
        return eni


def _mac_address(backend: Any) -> str:
    """A locally administered unicast MAC that no other interface has, starting with 02 or 06 as EC2's do."""
    taken = {eni.mac_address for eni in backend.enis.values()}
    while True:
        octets = [random.choice((0x02, 0x06))] + [random.randrange(256) for _ in range(5)]
        mac = ":".join(f"{octet:02x}" for octet in octets)
        if mac not in taken:
            return mac


def _delete(original: Callable[..., Any], backend: Any, eni_id: str) -> Any:
    region = region_of(backend)
    with region.lock:
        answer = original(backend, eni_id)
        region.forget(eni_id)
        return answer


def _attach(original: Callable[..., Any], instance: Any, eni: Any, device_index: int) -> Any:
    """Attached at once; AttachNetworkInterface adds the time it takes."""
    region = region_of(instance.ec2_backend)
    with region.lock:
        answer = original(instance, eni, device_index)
        extras(eni).attachment_status = "attached"
        region.record(eni)
        return answer


def _next_address(_original: Callable[..., Any], subnet: Any, instance: Any) -> str:
    region = region_of(subnet.ec2_backend)
    with region.lock:
        return grant_ipv4(region, subnet, Wish(count=1)).addresses[0]


def _named_address(_original: Callable[..., Any], subnet: Any, ip: str, instance: Any) -> None:
    """Raises as EC2 does for an address outside, reserved or in use."""
    region = region_of(subnet.ec2_backend)
    with region.lock:
        grant_ipv4(region, subnet, Wish(addresses=[str(ipaddress.ip_address(ip))]))


def _free_count(subnet: Any) -> int:
    region = region_of(subnet.ec2_backend)
    with region.lock:
        return region.ipv4_space(subnet).free_count()
