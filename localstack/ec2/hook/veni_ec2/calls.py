"""Counts of the calls that reached the server: how frugality is measured."""

import collections
import dataclasses
import threading
from typing import Any

from . import clock
from .families import family

_KEEP = 5000
_lock = threading.Lock()


@dataclasses.dataclass
class Entry:
    """One finished call."""

    at: float
    operation: str
    family: str
    access_key: str
    outcome: str
    request: dict[str, Any]


_log: collections.deque[Entry] = collections.deque(maxlen=_KEEP)
_counts: collections.Counter[tuple[str, str, str, str]] = collections.Counter()


def finished(operation: str, request: dict[str, Any], access_key: str, outcome: str) -> None:
    """Notes a call; ``outcome`` is ``ok``, an error code, or what was done to the connection."""
    own = family(operation.split(":")[-1], request)
    with _lock:
        _log.append(Entry(clock.now(), operation, own, access_key, outcome, request))
        _counts[operation, own, outcome, access_key] += 1


def reset() -> None:
    """Forgets all calls."""
    with _lock:
        _log.clear()
        _counts.clear()


def counts(access_key: str | None = None) -> dict[str, Any]:
    """Totals by operation, family, outcome and access key; of one access key only when it is given.

    EC2's operations go by their names, those of other services by ``service:Name``.
    """
    with _lock:
        entries = [(key, number) for key, number in _counts.items() if access_key in (None, key[3])]
    operations: dict[str, Any] = {}
    families: collections.Counter[str] = collections.Counter()
    keys: collections.Counter[str] = collections.Counter()
    for (operation, own, outcome, key), number in entries:
        shown = operations.setdefault(operation, {"calls": 0, "outcomes": {}})
        shown["calls"] += number
        shown["outcomes"][outcome] = shown["outcomes"].get(outcome, 0) + number
        families[own] += number
        keys[key] += number
    return {
        "total": sum(families.values()),
        "families": dict(families),
        "access_keys": dict(keys),
        "operations": operations,
    }


def log() -> list[dict[str, Any]]:
    """The last calls, oldest first."""
    with _lock:
        return [dataclasses.asdict(entry) for entry in _log]
