"""Ends the server when the process that started it is gone.

A test run that is killed cannot end its server; ``run --exit-with-parent``
makes the server look after itself. It watches its parent's process id, because
the kernel's own death signal strikes when the parent's *thread* ends.
"""

import os
import signal
import threading
import time

_LOOK_EVERY_SECONDS = 0.5


def install() -> None:
    """Watches the parent named by ``VENI_EC2_PARENT``, if any."""
    parent = os.environ.get("VENI_EC2_PARENT")
    if parent:
        threading.Thread(target=_watch, args=(int(parent),), name="veni-parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
