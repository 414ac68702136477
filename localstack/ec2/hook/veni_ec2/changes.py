"""The followers of a VPC's state: a change wakes them, and its answer waits for them.

Every VPC has a generation, a number that grows with each change of what is in
it. A follower asks for the state that comes after the generation it knows
(``GET /_veni/state?vpc=…&after=…``), and by asking says that it has acted on
what it knows. The answer to a change is held until the VPC's follower has said
so, and so is one that shows what others have changed: when a client reads that
an address is assigned, the wires carry it. Real EC2 promises no such order; a
test bed without it would drop packets that EC2 lets pass.
"""

import threading
import time
from collections.abc import Callable

from .knobs import KNOBS

_condition = threading.Condition()
#: Changes of each VPC, and those that may concern any.
_generations: dict[str, int] = {}
_everywhere = 0
#: Followed VPC → the generation that its follower has acted on.
_followers: dict[str, int] = {}
#: Grows when followers must look again although no generation has.
_alarms = 0
_stopping = False
#: What the call of this thread has changed or shows: VPC → its generation then.
_of_call = threading.local()


def changed(vpc_id: str | None = None) -> None:
    """Notes a change in a VPC; without one, a change that may be in any."""
    global _everywhere
    with _condition:
        if vpc_id is None:
            _everywhere += 1
        else:
            _generations[vpc_id] = _generations.get(vpc_id, 0) + 1
        touched = _followers if vpc_id is None else [vpc_id]
        _of_call.generations = _of_this_call() | {one: _generation(one) for one in touched}
        _condition.notify_all()


def shown(vpc_ids: set[str]) -> None:
    """Notes that this thread's answer shows what is in these VPCs now."""
    with _condition:
        _of_call.generations = _of_this_call() | {one: _generation(one) for one in vpc_ids & _followers.keys()}


def generation(vpc_id: str | None) -> int:
    """The generation of a VPC; without one, of all there is."""
    with _condition:
        return _generation(vpc_id)


def follow(vpc_id: str, known: int) -> None:
    """The VPC's follower has acted on this generation."""
    with _condition:
        _followers[vpc_id] = known
        _condition.notify_all()


def unfollow(vpc_id: str) -> bool:
    """Nobody follows the VPC any longer, until somebody asks again; whether somebody did."""
    with _condition:
        _condition.notify_all()
        return _followers.pop(vpc_id, None) is not None


def alarm() -> None:
    """Followers look again: the clock has been moved."""
    global _alarms
    with _condition:
        _alarms += 1
        _condition.notify_all()


def stop() -> None:
    """Nobody waits any longer: the server ends."""
    global _stopping
    with _condition:
        _stopping = True
        _condition.notify_all()


def await_other(vpc_id: str | None, known: int, seconds: float, settle: Callable[[], float | None]) -> None:
    """Waits until the generation is not the known one, but no longer than so many real seconds.

    ``settle`` does what is due and answers in how many seconds the next is.
    """
    deadline = time.monotonic() + seconds
    while True:
        with _condition:
            alarms = _alarms
        due = settle()
        with _condition:
            left = deadline - time.monotonic()
            if _generation(vpc_id) != known or left <= 0 or _stopping:
                return
            if _alarms == alarms:
                _condition.wait(left if due is None else min(left, due))


def begin_call() -> None:
    """Forgets what an earlier call of this thread has changed and shown."""
    _of_call.generations = {}


def await_followers() -> None:
    """Waits until the followers have acted on what this thread's call has changed or shows.

    A follower that does not within its patience is one no more, until it asks again.
    """
    wanted = _of_this_call()
    begin_call()
    deadline = time.monotonic() + KNOBS.follower_patience_seconds
    with _condition:
        while behind := [v for v, g in wanted.items() if _followers.get(v, g) < g]:
            left = deadline - time.monotonic()
            if _stopping:
                return
            if left <= 0:
                for vpc_id in behind:
                    del _followers[vpc_id]
                return
            _condition.wait(left)


def _generation(vpc_id: str | None) -> int:
    own = sum(_generations.values()) if vpc_id is None else _generations.get(vpc_id, 0)
    return own + _everywhere


def _of_this_call() -> dict[str, int]:
    return getattr(_of_call, "generations", {})
