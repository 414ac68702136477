"""Settings of the hook: read from the environment, changeable while it runs.

``VENI_EC2_<NAME>`` sets the value at start, ``POST /_veni/knobs`` later; with
``?vpc=…`` for the interfaces of one VPC alone.
"""

import dataclasses
import os
from typing import Any


@dataclasses.dataclass
class Knobs:
    """All settings with their defaults. Durations are seconds of the hook's clock."""

    #: How long a Describe keeps showing the state before a mutation.
    describe_lag_seconds: float = 0.0
    #: How long after its creation other calls answer that an interface does not exist.
    create_visibility_seconds: float = 0.0
    #: How long an attachment stays in ``attaching``.
    attach_seconds: float = 0.0
    #: How long an attachment stays in ``detaching``.
    detach_seconds: float = 0.0
    #: ``random`` spreads addresses over the subnet, ``lowest`` takes the lowest free one.
    address_order: str = "random"
    #: Seed of the address choice; 0 takes one from the operating system.
    seed: int = 0
    #: Interfaces an account may have in a region (EC2's quota "Network interfaces per Region").
    interfaces_per_region: int = 5000
    #: Interfaces of a region beyond which DescribeNetworkInterfaces wants pages or a fast filter. EC2 tells no number.
    interfaces_without_paging: int = 5000
    #: Real seconds that every answered call takes at least.
    latency_seconds: float = 0.0
    #: Real seconds that an answer waits for the follower of the VPC it has changed.
    follower_patience_seconds: float = 20.0


#: What an interface does at its own pace, and so each VPC may have at its own.
_OF_A_VPC = frozenset({"describe_lag_seconds", "create_visibility_seconds", "attach_seconds", "detach_seconds"})


def _parse(name: str, value: Any) -> Any:
    """A knob's value in its own type."""
    default = {field.name: field.default for field in dataclasses.fields(Knobs)}.get(name)
    if default is None:
        raise ValueError("no such knob")
    if name == "address_order":
        if value not in ("random", "lowest"):
            raise ValueError("must be random or lowest")
        return value
    number = type(default)(value)
    if number < 0:
        raise ValueError("must not be negative")
    return number


KNOBS = Knobs()
#: VPC → the knobs that it has at values of its own.
_own: dict[str, dict[str, Any]] = {}


def change(values: dict[str, Any], vpc_id: str | None = None) -> None:
    """Sets several knobs at once, or none.

    :raises ValueError: for an unknown name or an unfit value, naming all of them.
    """
    problems: list[str] = []
    parsed: dict[str, Any] = {}
    for name, value in values.items():
        try:
            parsed[name] = _parse(name, value)
            if vpc_id and name not in _OF_A_VPC:
                raise ValueError("is one for all VPCs")
        except ValueError as error:
            problems.append(f"{name}={value}: {error}")
    if problems:
        raise ValueError("; ".join(problems))
    if vpc_id:
        # As one new object: other threads read it meanwhile.
        _own[vpc_id] = _own.get(vpc_id, {}) | parsed
        return
    for name, value in parsed.items():
        setattr(KNOBS, name, value)


def of(vpc_id: str | None) -> Knobs:
    """The knobs as they are for the interfaces of a VPC; without one, for all others."""
    own = _own.get(vpc_id or "")
    return dataclasses.replace(KNOBS, **own) if own else KNOBS


def read_environment() -> None:
    """Takes the start values from ``VENI_EC2_…``.

    :raises ValueError: when a value does not fit its knob.
    """
    names = [field.name for field in dataclasses.fields(Knobs)]
    change({n: os.environ[_variable(n)] for n in names if _variable(n) in os.environ})


def reset() -> None:
    """Back to the values the server was started with, in all VPCs."""
    _own.clear()
    for field in dataclasses.fields(Knobs):
        setattr(KNOBS, field.name, field.default)
    read_environment()


def _variable(name: str) -> str:
    return f"VENI_EC2_{name.upper()}"
