"""EC2's families of calls, by which throttling and faults select calls.

"Request throttling for the Amazon EC2 API" puts every action into a family;
these are the families of the actions a CNI uses.
"""

from typing import Any

MUTATING = "mutating"
NON_MUTATING = "non-mutating"
UNFILTERED = "unfiltered"

_READING = ("Describe", "Get", "List", "Search")

#: Family → (bucket capacity, tokens per second), as EC2 documents them per action.
DOCUMENTED_BUCKETS = {NON_MUTATING: (100.0, 20.0), UNFILTERED: (50.0, 10.0), MUTATING: (50.0, 5.0)}


def family(operation: str, request: dict[str, Any]) -> str:
    """The family of a call: a Describe without filter, id and page size is ``unfiltered``."""
    if not operation.startswith(_READING):
        return MUTATING
    narrowed = any(name == "Filters" or name == "MaxResults" or name.endswith("Ids") for name in request)
    return NON_MUTATING if narrowed else UNFILTERED


def matches(patterns: list[str], operation: str, request: dict[str, Any]) -> bool:
    """True when a pattern is ``*``, the operation's name or its family.

    ``non-mutating`` includes ``unfiltered``.
    """
    own = family(operation, request)
    names = {"*", operation, own} | ({NON_MUTATING} if own == UNFILTERED else set())
    return any(pattern in names for pattern in patterns)
