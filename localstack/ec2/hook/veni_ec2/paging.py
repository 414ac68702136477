"""MaxResults and NextToken.

A token names the last thing handed out, so that pages neither repeat nor
lose what existed all along when others come and go between them.
"""

import base64
import binascii
from collections.abc import Callable
from typing import TypeVar

from . import errors

T = TypeVar("T")
_MARK = "veni:"


def page(
    items: list[T],
    key: Callable[[T], str],
    max_results: int | None,
    token: str | None,
    bounds: tuple[int, int],
) -> tuple[list[T], str | None]:
    """One page of ``items`` (ordered by ``key``) and the token of the next one, if any.

    :raises: InvalidParameterValue for a size outside ``bounds`` or a token that is none of ours.
    """
    if max_results is not None and not bounds[0] <= max_results <= bounds[1]:
        raise errors.invalid_value(
            f"Value ( {max_results} ) for parameter maxResults is invalid. "
            f"Expecting a value between {bounds[0]} and {bounds[1]}."
        )
    if token:
        last = _decode(token)
        items = [item for item in items if key(item) > last]
    if max_results is None or len(items) <= max_results:
        return items, None
    return items[:max_results], _encode(key(items[max_results - 1]))


def _encode(key: str) -> str:
    return base64.urlsafe_b64encode(f"{_MARK}{key}".encode()).decode()


def _decode(token: str) -> str:
    try:
        text = base64.urlsafe_b64decode(token.encode()).decode()
    except (binascii.Error, ValueError):
        text = ""
    if not text.startswith(_MARK):
        raise errors.invalid_value("Unable to parse pagination token")
    return text.removeprefix(_MARK)
