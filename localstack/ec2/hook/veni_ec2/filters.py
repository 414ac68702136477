"""EC2's Filters: all filters must match, any value of a filter is enough.

Values take the wildcards ``*`` and ``?``, escaped by a backslash ("Filter
your resources", EC2 user guide). A filter that the operation does not know is
InvalidParameterValue, not silence.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from . import errors
from .history import Record

Extractor = Callable[[Record], Iterable[str]]
"""A structure's values that a filter compares with."""


def apply(records: list[Record], filters: list[dict[str, Any]], known: dict[str, Extractor]) -> list[Record]:
    """The records that pass all filters.

    :raises: InvalidParameterValue for an unknown filter.
    """
    for entry in filters:
        name, values = entry.get("Name", ""), entry.get("Values") or []
        extractor = known.get(name) or _tag_filter(name)
        if extractor is None:
            raise errors.invalid_value(f"The filter '{name}' is invalid")
        patterns = [_pattern(value) for value in values]
        records = [r for r in records if any(p.fullmatch(v) for v in extractor(r) for p in patterns)]
    return records


def field(*path: str) -> Extractor:
    """Follows a path of keys; lists are walked through, booleans read as true and false."""

    def extract(record: Record) -> Iterable[str]:
        found: list[Any] = [record]
        for key in path:
            below = [item.get(key) for item in found if isinstance(item, dict)]
            found = [x for value in below for x in (value if isinstance(value, list) else [value])]
        return [_text(value) for value in found if value is not None]

    return extract


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _tags(record: Record) -> list[dict[str, str]]:
    return record.get("TagSet") or record.get("Tags") or []


def _tag_filter(name: str) -> Extractor | None:
    """``tag:<key>``, ``tag-key`` and ``tag-value``."""
    if name.startswith("tag:"):
        key = name.removeprefix("tag:")
        return lambda record: [t["Value"] for t in _tags(record) if t["Key"] == key]
    if name == "tag-key":
        return lambda record: [t["Key"] for t in _tags(record)]
    if name == "tag-value":
        return lambda record: [t["Value"] for t in _tags(record)]
    return None


@lru_cache(maxsize=1024)
def _pattern(value: str) -> re.Pattern[str]:
    parts = re.findall(r"\\.|.", value, re.DOTALL)
    wild = {"*": ".*", "?": "."}
    return re.compile("".join(wild.get(p) or re.escape(p[-1]) for p in parts), re.DOTALL)
