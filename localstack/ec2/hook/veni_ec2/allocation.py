"""What an interface is asked to get, and giving it out of its subnet.

CreateNetworkInterface, RunInstances and the Assign operations share this: a
``Wish`` is parsed from the request, checked against the instance type's
limits, granted out of the subnet's free space as a whole or not at all, and
only then added to the interface.
"""

import dataclasses
import ipaddress
from typing import Any

from . import errors, limits
from .addresses import PREFIX_SIZE, Ipv4Space, Ipv6Space, ipv4, ipv4_prefix, ipv6, ipv6_prefix
from .interfaces import extras, ipv4_slots, ipv6_slots
from .knobs import KNOBS
from .region import Region


@dataclasses.dataclass
class Wish:
    """Addresses and prefixes asked for, by number or by name; one IP family."""

    count: int = 0
    addresses: list[str] = dataclasses.field(default_factory=list)
    prefix_count: int = 0
    prefixes: list[str] = dataclasses.field(default_factory=list)

    @property
    def slots(self) -> int:
        """Slots of the interface's limit that it takes: a prefix counts as one address."""
        return self.count + len(self.addresses) + self.prefix_count + len(self.prefixes)

    @property
    def wants_prefixes(self) -> bool:
        """True when the Nitro system is needed."""
        return bool(self.prefix_count or self.prefixes)

    def check(self) -> None:
        """"You can't specify" of the API reference: exactly one way of asking, and something asked for.

        :raises: InvalidParameterCombination; InvalidParameterValue for a number below zero.
        """
        if min(self.count, self.prefix_count) < 0:
            raise errors.invalid_value("The number of addresses or prefixes must not be negative")
        ways = [bool(w) for w in (self.count, self.addresses, self.prefix_count, self.prefixes)]
        if sum(ways) > 1:
            raise errors.invalid_combination(
                "Only one of a number of addresses, addresses, a number of prefixes, and prefixes may be specified"
            )


@dataclasses.dataclass
class Grant:
    """What was found for a wish; nothing has changed yet."""

    addresses: list[str] = dataclasses.field(default_factory=list)
    prefixes: list[str] = dataclasses.field(default_factory=list)


def grant_ipv4(region: Region, subnet: Any, wish: Wish, space: Ipv4Space | None = None) -> Grant:
    """Free IPv4 addresses or prefixes of the subnet for the wish.

    :raises: InsufficientFreeAddressesInSubnet, InsufficientCidrBlocks, InvalidParameterValue
        (at capacity), InvalidIPAddress.InUse.
    """
    space = space or region.ipv4_space(subnet)
    if wish.addresses or wish.prefixes:
        return Grant(
            [ipv4(_explicit_address(space, a)) for a in wish.addresses],
            [ipv4_prefix(_explicit_block(space, p)) for p in wish.prefixes],
        )
    if wish.prefix_count:
        return Grant(prefixes=[ipv4_prefix(b) for b in _free_blocks(region, space, wish.prefix_count)])
    chosen = space.choose_addresses(wish.count, region.random, KNOBS.address_order)
    if chosen is None:
        raise errors.subnet_out_of_addresses()
    return Grant(addresses=[ipv4(a) for a in chosen])


def _free_blocks(region: Region, space: Ipv4Space, count: int) -> list[int]:
    """Free /28 blocks. EC2 tells a full subnet from a fragmented one by its error code."""
    blocks = space.choose_blocks(count, region.random, KNOBS.address_order)
    if blocks is not None:
        return blocks
    reserved = sum(block.num_addresses for block in space.prefix_reservations)
    if space.free_count() + reserved < count * PREFIX_SIZE:
        raise errors.subnet_at_capacity()
    raise errors.subnet_out_of_blocks()


def _explicit_address(space: Ipv4Space, text: str) -> int:
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        raise errors.invalid_value(f"invalid value for parameter address: {text}") from None
    if address not in space.network:
        raise errors.address_outside(text)
    number = int(address)
    if space.is_reserved(number):
        raise errors.address_reserved(text)
    if number in space.used:
        raise errors.address_in_use(text)
    space.used.add(number)
    return number


def _explicit_block(space: Ipv4Space, text: str) -> int:
    """A named /28. EC2's text for a block that is not free is not confirmed."""
    try:
        block = ipaddress.IPv4Network(text)
    except ValueError:
        raise errors.invalid_value(f"invalid value for parameter prefix: {text}") from None
    if block.prefixlen != 28 or not block.subnet_of(space.network):
        raise errors.invalid_value(f"The prefix {text} is not a /28 of the subnet")
    base = int(block.network_address)
    if not space.block_is_free(base):
        raise errors.invalid_value(f"The prefix {text} is in use or holds reserved addresses")
    space.used.update(range(base, base + PREFIX_SIZE))
    return base


def grant_ipv6(region: Region, subnet: Any, wish: Wish) -> Grant:
    """IPv6 addresses or /80 prefixes of the subnet for the wish."""
    if not wish.slots:
        return Grant()
    space = region.ipv6_space(subnet)
    return Grant(
        [_explicit_ipv6(space, a) for a in wish.addresses]
        + [ipv6(a) for a in space.choose_addresses(wish.count, region.random)],
        [_explicit_ipv6_block(space, p) for p in wish.prefixes]
        + [ipv6_prefix(b) for b in space.choose_blocks(wish.prefix_count, region.random)],
    )


def _explicit_ipv6(space: Ipv6Space, text: str) -> str:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        raise errors.invalid_value(f"invalid value for parameter address: {text}") from None
    if address not in space.network:
        raise errors.address_outside(text)
    if space.is_reserved(int(address)):
        raise errors.address_reserved(text)
    if not space.is_free(int(address)):
        raise errors.address_in_use(text)
    space.used.add(int(address))
    return str(address)


def _explicit_ipv6_block(space: Ipv6Space, text: str) -> str:
    try:
        block = ipaddress.IPv6Network(text)
    except ValueError:
        raise errors.invalid_value(f"invalid value for parameter prefix: {text}") from None
    number = int(block.network_address) >> 48
    if block.prefixlen != 80 or not block.subnet_of(space.network) or not space.block_is_free(number):
        raise errors.invalid_value(f"The prefix {text} is not a free /80 of the subnet")
    space.used_prefixes.add(number)
    return str(block)


def check_limits(instance: Any, eni: Any, v4: Wish, v6: Wish) -> None:
    """The instance type's limits with the wishes added; an unattached interface has none.

    "Maximum IP addresses per network interface": each prefix counts as one
    address. Prefixes need the Nitro system ("Prefix delegation"); the code for
    other types is not confirmed.

    :raises: PrivateIpAddressLimitExceeded, UnsupportedOperation.
    """
    limit = limits.of(instance.instance_type) if instance else None
    if limit is None:
        return
    has_prefixes = bool(extras(eni).ipv4_prefixes or extras(eni).ipv6_prefixes)
    if (has_prefixes or v4.wants_prefixes or v6.wants_prefixes) and not limit.prefixes_supported:
        raise errors.ec2_error(
            "UnsupportedOperation", f"The instance type {limit.instance_type} does not support prefix delegation."
        )
    if ipv4_slots(eni) + v4.slots > limit.ipv4_per_interface:
        raise errors.private_address_limit()
    if ipv6_slots(eni) + v6.slots > limit.ipv6_per_interface:
        raise errors.ipv6_address_limit()


def add(eni: Any, v4: Grant, v6: Grant) -> None:
    """Gives the interface what was granted."""
    eni.private_ip_addresses.extend({"Primary": False, "PrivateIpAddress": a} for a in v4.addresses)
    eni.ipv6_addresses.extend(v6.addresses)
    extras(eni).ipv4_prefixes.extend(v4.prefixes)
    extras(eni).ipv6_prefixes.extend(v6.prefixes)
