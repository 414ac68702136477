"""What every interface looked like at which time: the base of eventual consistency.

A mutation changes moto's objects at once and records what the interface looks
like from then on. A Describe looks at the moment ``describe_lag_seconds`` ago.
"""

import bisect
from collections.abc import Callable
from typing import Any

Record = dict[str, Any]
"""One interface as EC2's NetworkInterface structure."""

_KEEP_VERSIONS = 256
_FORGET_DELETED_SECONDS = 7200.0


class History:
    """Versions of all interfaces of one region. Callers hold the region's lock."""

    def __init__(self) -> None:
        self._versions: dict[str, list[tuple[float, Record | None]]] = {}

    def record(self, interface_id: str, at: float, record: Record | None) -> None:
        """Adds a version; None is the interface's deletion."""
        versions = self._versions.setdefault(interface_id, [])
        if versions and versions[-1][0] > at:
            at = versions[-1][0]
        versions.append((at, record))
        del versions[:-_KEEP_VERSIONS]
        if record is None:
            self._forget(at - _FORGET_DELETED_SECONDS)

    def as_of(self, moment: Callable[[str], float]) -> list[Record]:
        """All interfaces that existed at the moment at which their VPC is seen, oldest first."""
        found = (self.version(i, moment(_vpc_of(versions))) for i, versions in self._versions.items())
        return [record for record in found if record is not None]

    def version(self, interface_id: str, moment: float) -> Record | None:
        """One interface at ``moment``, or None when it did not exist."""
        versions = self._versions.get(interface_id, [])
        index = bisect.bisect_right(versions, moment, key=lambda version: version[0])
        return versions[index - 1][1] if index else None

    def _forget(self, before: float) -> None:
        gone = [i for i, v in self._versions.items() if v[-1][1] is None and v[-1][0] < before]
        for interface_id in gone:
            del self._versions[interface_id]


def _vpc_of(versions: list[tuple[float, Record | None]]) -> str:
    """An interface's VPC, which it has for life."""
    return next((record["VpcId"] for _, record in versions if record), "")
