"""Which addresses of a subnet are free, and which EC2 would hand out next.

Pure: sets of numbers in, choices out. Rules, from the VPC user guide:

- the first four addresses and the last one of an IPv4 subnet are reserved
  ("Subnet sizing for IPv4"); the same five in an IPv6 subnet;
- an IPv4 prefix is an aligned, wholly free /28, an IPv6 prefix an aligned,
  wholly free /80 ("Prefix delegation");
- EC2 takes no single address out of a subnet CIDR reservation by itself, and
  takes prefixes out of reservations of type ``prefix`` first ("Subnet CIDR
  reservations").
"""

import dataclasses
import ipaddress
import random

PREFIX_SIZE = 16
"""Addresses in an IPv4 prefix (/28)."""
RESERVED_HEAD = 4
"""Reserved addresses at a subnet's start; one more is reserved at its end."""
_PROBES = 64


@dataclasses.dataclass
class Ipv4Space:
    """The IPv4 addresses of one subnet at one moment."""

    network: ipaddress.IPv4Network
    used: set[int] = dataclasses.field(default_factory=set)
    prefix_reservations: list[ipaddress.IPv4Network] = dataclasses.field(default_factory=list)
    explicit_reservations: list[ipaddress.IPv4Network] = dataclasses.field(default_factory=list)

    @property
    def first(self) -> int:
        """The lowest address that can be assigned."""
        return int(self.network.network_address) + RESERVED_HEAD

    @property
    def last(self) -> int:
        """The highest address that can be assigned."""
        return int(self.network.broadcast_address) - 1

    def is_reserved(self, address: int) -> bool:
        """True for the five addresses EC2 keeps."""
        return not self.first <= address <= self.last

    def free_count(self) -> int:
        """AvailableIpAddressCount: neither used, nor EC2's, nor set aside for prefixes."""
        taken = {a for a in self.used if not self.is_reserved(a)}
        for block in self.prefix_reservations:
            taken.update(a for a in _numbers(block) if not self.is_reserved(a))
        return self.last - self.first + 1 - len(taken)

    def choose_addresses(self, count: int, rng: random.Random, order: str) -> list[int] | None:
        """``count`` free addresses outside all reservations, or None when there are fewer."""
        blocked = set(self.used)
        for block in self.prefix_reservations + self.explicit_reservations:
            blocked.update(_numbers(block))
        chosen: list[int] = []
        if order == "random":
            chosen = self._probe(count, blocked, rng)
        if len(chosen) < count:
            free = [a for a in range(self.first, self.last + 1) if a not in blocked and a not in set(chosen)]
            missing = count - len(chosen)
            if len(free) < missing:
                return None
            chosen += rng.sample(free, missing) if order == "random" else free[:missing]
        return chosen

    def _probe(self, count: int, blocked: set[int], rng: random.Random) -> list[int]:
        """Up to ``count`` free addresses by trying at random: cheap while a subnet is not nearly full."""
        chosen: list[int] = []
        seen = set(blocked)
        for _ in range(_PROBES + 2 * count):
            if len(chosen) == count:
                break
            address = rng.randint(self.first, self.last)
            if address not in seen:
                seen.add(address)
                chosen.append(address)
        return chosen

    def block_is_free(self, base: int) -> bool:
        """True when the aligned /28 at ``base`` holds no reserved and no used address."""
        if self.is_reserved(base) or self.is_reserved(base + PREFIX_SIZE - 1):
            return False
        return not any(a in self.used for a in range(base, base + PREFIX_SIZE))

    def choose_blocks(self, count: int, rng: random.Random, order: str) -> list[int] | None:
        """The base addresses of ``count`` free /28 blocks, or None when there are fewer."""
        reserved = [b for r in self.prefix_reservations for b in self._blocks_of(r)]
        kept = set(reserved) | {b for r in self.explicit_reservations for b in _touched_blocks(r)}
        start = int(self.network.network_address)  # aligned: no subnet is smaller than a /28
        others = [b for b in range(start, self.last + 1, PREFIX_SIZE) if b not in kept and self.block_is_free(b)]
        if order == "random":
            rng.shuffle(reserved)
            rng.shuffle(others)
        chosen = (reserved + others)[:count]
        return chosen if len(chosen) == count else None

    def _blocks_of(self, reservation: ipaddress.IPv4Network) -> list[int]:
        base = int(reservation.network_address)
        return [b for b in range(base, base + reservation.num_addresses, PREFIX_SIZE) if self.block_is_free(b)]


@dataclasses.dataclass
class Ipv6Space:
    """The IPv6 addresses of one subnet's /64 at one moment; it cannot run out."""

    network: ipaddress.IPv6Network
    used: set[int] = dataclasses.field(default_factory=set)
    used_prefixes: set[int] = dataclasses.field(default_factory=set)

    def is_reserved(self, address: int) -> bool:
        """True for the five addresses EC2 keeps."""
        base = int(self.network.network_address)
        return address < base + RESERVED_HEAD or address >= base + self.network.num_addresses - 1

    def is_free(self, address: int) -> bool:
        """Neither used by itself nor within a used prefix."""
        return address not in self.used and address >> 48 not in self.used_prefixes

    def block_is_free(self, block: int) -> bool:
        """``block`` is the /80's number: its base address shifted right by 48."""
        return block not in self.used_prefixes and all(a >> 48 != block for a in self.used)

    def choose_addresses(self, count: int, rng: random.Random) -> list[int]:
        """``count`` distinct free addresses."""
        base, size = int(self.network.network_address), self.network.num_addresses
        chosen: list[int] = []
        while len(chosen) < count:
            address = base + rng.randrange(RESERVED_HEAD, size - 1)
            if self.is_free(address) and address not in chosen:
                chosen.append(address)
        return chosen

    def choose_blocks(self, count: int, rng: random.Random) -> list[int]:
        """The numbers of ``count`` distinct free /80 blocks; the first and last hold reserved addresses."""
        base = int(self.network.network_address) >> 48
        chosen: list[int] = []
        while len(chosen) < count:
            block = base + rng.randrange(1, 2**16 - 1)
            if self.block_is_free(block) and block not in chosen:
                chosen.append(block)
        return chosen


def _numbers(block: ipaddress.IPv4Network) -> range:
    base = int(block.network_address)
    return range(base, base + block.num_addresses)


def _touched_blocks(block: ipaddress.IPv4Network) -> range:
    base = int(block.network_address)
    return range(base - base % PREFIX_SIZE, base + block.num_addresses, PREFIX_SIZE)


def ipv4_number(text: str) -> int:
    """The number of a well-formed dotted address."""
    return int.from_bytes(bytes(int(part) for part in text.split(".")), "big")


def ipv4(number: int) -> str:
    """Dotted text of an address."""
    return str(ipaddress.IPv4Address(number))


def ipv4_prefix(base: int) -> str:
    """``a.b.c.d/28``."""
    return f"{ipv4(base)}/28"


def ipv6(number: int) -> str:
    """Compressed text of an address."""
    return str(ipaddress.IPv6Address(number))


def ipv6_prefix(block: int) -> str:
    """``…/80`` of a block's number."""
    return f"{ipaddress.IPv6Address(block << 48)}/80"
