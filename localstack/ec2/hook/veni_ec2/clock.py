"""The hook's clock: monotonic seconds plus what a test has advanced it by.

Lags, attach times and token buckets all read this clock. A test therefore
waits for nothing: it sets a lag of an hour and then advances the clock.
"""

import threading
import time

_lock = threading.Lock()
_advanced = 0.0


def now() -> float:
    """Seconds since an arbitrary start; never goes back."""
    with _lock:
        return time.monotonic() + _advanced


def advance(seconds: float) -> float:
    """Moves the clock forward and answers the new time.

    :raises ValueError: for a negative number of seconds.
    """
    global _advanced
    if seconds < 0:
        raise ValueError("the clock cannot go back")
    with _lock:
        _advanced += seconds
    return now()
