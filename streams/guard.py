"""Keep one process on a lead: it never outlives the one that started it, also under kill -9.

    guard.py PARENT_PID LOG DISCARD COMMAND...

Run as a file in a process of its own (standard library only, so it starts in 30 ms). Three things end its child:

* an order on stdin: `t` asks it to stop, `k` kills it;
* the parent's death: stdin ends, or, where a forked child of the parent still holds the pipe, our parent changes;
* our own death: the kernel kills the child (PR_SET_PDEATHSIG, safe here because this process has one thread; in the
  parent it would fire when the *thread* that started us ended).

An orphan whose data folder was temporary (DISCARD is not empty) is killed at once and the folder removed; one
with data to keep gets `ORPHAN_GRACE_S` to stop by itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ORPHAN_GRACE_S = 10.0
PARENT_CHECK_MS = 500
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


def main() -> int:
    parent, log, discard, *command = sys.argv[1:]
    with Path(log).open("ab") as sink:
        child = subprocess.Popen(  # noqa: S603 - the command comes from child.py
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            process_group=0,  # Ctrl-C in the terminal is for the clients first
            preexec_fn=_die_with_guard,
        )
    sys.stdout.write(f"{child.pid}\n")
    sys.stdout.flush()
    orphaned = _watch(child, int(parent), graceful=not discard)
    with contextlib.suppress(ProcessLookupError):  # usually an empty group; ours, as the child is not reaped yet
        os.killpg(child.pid, signal.SIGKILL)
    code = child.wait()
    if orphaned and discard:
        shutil.rmtree(discard, ignore_errors=True)
        with contextlib.suppress(OSError):  # the last node's guard removes what held them all
            Path(discard).parent.rmdir()
    return code if code >= 0 else 128 - code


def _watch(child: subprocess.Popen[bytes], parent: int, *, graceful: bool) -> bool:
    """Carry out orders until the child ends; returns whether the parent was gone by then."""
    orphaned, deadline = False, float("inf")
    poller = select.poll()
    ended, orders = os.pidfd_open(child.pid), 0
    poller.register(ended, select.POLLIN)
    poller.register(orders, select.POLLIN)
    while True:
        ready = {fd for fd, _event in poller.poll(PARENT_CHECK_MS)}
        if ended in ready:
            return orphaned
        if time.monotonic() > deadline:
            child.kill()
        if orphaned:
            continue
        order = os.read(orders, 1) if orders in ready else None
        if order == b"t":
            child.terminate()
        elif order == b"k":
            child.kill()
        elif order == b"" or os.getppid() != parent:
            orphaned, deadline = True, time.monotonic() + (ORPHAN_GRACE_S if graceful else 0.0)
            poller.unregister(orders)
            child.terminate() if graceful else child.kill()


def _die_with_guard() -> None:
    guard = os.getppid()
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != guard:  # it died before the call above
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
