"""The hook's clock: monotonic seconds plus what a test has advanced it by.

Lags, attach times and token buckets all read this clock. A test therefore
waits for nothing: it sets a lag of an hour and then advances the clock. A
frozen clock moves only when it is advanced, however slow the machine is.
"""

import threading
import time

_lock = threading.Lock()
_advanced = 0.0
_frozen_at: float | None = None


def now() -> float:
    """Seconds since an arbitrary start; never goes back."""
    with _lock:
        return _now()


def _now() -> float:
    return _advanced + (time.monotonic() if _frozen_at is None else _frozen_at)


def real_seconds_until(moment: float) -> float | None:
    """How long until the clock shows a moment; None while it stands still."""
    with _lock:
        return None if _frozen_at is not None else max(0.0, moment - _now())


def advance(seconds: float) -> None:
    """Moves the clock forward.

    :raises ValueError: for a negative number of seconds.
    """
    global _advanced
    if seconds < 0:
        raise ValueError("the clock cannot go back")
    with _lock:
        _advanced += seconds


def freeze(frozen: bool) -> None:
    """Stops the clock, or lets it go on from where it stands."""
    global _advanced, _frozen_at
    with _lock:
        standing = _now()
        real = time.monotonic()
        _frozen_at = real if frozen else None
        _advanced = standing - real
