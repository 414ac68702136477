"""The end of the server: with its parent, if asked for, and always when it is told to end.

A test run that is killed cannot end its server; ``run --exit-with-parent``
makes the server look after itself. It watches its parent's process id, because
the kernel's own death signal strikes when the parent's *thread* ends.

LocalStack waits for its request threads for ever. A slow call that was asked
for as a fault must not keep a server that was told to stop, so it stops
waiting then, and a server whose threads still hang is ended all the same.
"""

import os
import signal
import threading
import time

from localstack.runtime import events

from . import changes

_LOOK_EVERY_SECONDS = 0.5
_PATIENCE_SECONDS = 12.0
"""More than the ten seconds LocalStack gives its request threads."""


def install() -> None:
    """Watches the parent named by ``VENI_EC2_PARENT``, if any, and the server's own end."""
    parent = os.environ.get("VENI_EC2_PARENT")
    if parent:
        threading.Thread(target=_watch, args=(int(parent),), name="veni-parent", daemon=True).start()
    threading.Thread(target=_end_for_sure, name="veni-end", daemon=True).start()


def pause(seconds: float) -> None:
    """Waits in real time, but no longer than the server lives."""
    events.infra_stopping.wait(seconds)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def _end_for_sure() -> None:
    events.infra_stopping.wait()
    changes.stop()
    time.sleep(_PATIENCE_SECONDS)
    os._exit(0)
