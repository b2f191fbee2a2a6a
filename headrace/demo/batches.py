"""Why batches closed, from what the executors publish of themselves (/batches), gathered while they live."""

from __future__ import annotations

import json
import logging
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable

log = logging.getLogger(__name__)

POLL_S = 1.0  # an executor keeps its last 1,000 batches; it cannot run that many between two looks
TIMEOUT_S = 2.0


class Batches(threading.Thread):
    """Counts batches by variant and reason over all executors; one that was killed loses at most its last second."""

    def __init__(self, ports: Callable[[], Iterable[tuple[int, int]]]) -> None:
        """`ports` gives the process id and the port of every executor that runs now."""
        super().__init__(name="demo-batches", daemon=True)
        self._ports = ports
        self._latest: dict[tuple[int, int], dict[tuple[str, str], int]] = {}
        self._stop_requested = threading.Event()

    def run(self) -> None:
        while not self._stop_requested.wait(POLL_S):
            self.look()

    def look(self) -> None:
        """Take what every running executor has counted since its start."""
        for pid, port in self._ports():
            try:
                self._latest[pid, port] = _scrape(port)
            except (OSError, ValueError) as silent:
                log.debug("executor not scraped", extra={"port": port, "error": str(silent)})

    def stop(self) -> None:
        self._stop_requested.set()
        self.join(POLL_S + TIMEOUT_S)

    def reasons(self) -> dict[str, int]:
        """How many batches closed for which reason."""
        total: Counter[str] = Counter()
        for counts in self._latest.values():
            for (_variant, reason), count in counts.items():
                total[reason] += count
        return dict(total.most_common())


def _scrape(port: int) -> dict[tuple[str, str], int]:
    """`headrace_batches_total{reason="target",variant="x"} 3.0` and the like, from /metrics.

    Raises: OSError if nobody answers, ValueError on what is no metrics page.
    """
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=TIMEOUT_S) as page:
        lines = page.read().decode("utf-8", "replace").splitlines()
    found = {}
    for line in lines:
        if line.startswith("headrace_batches_total{"):
            labels, _, value = line.removeprefix("headrace_batches_total{").rpartition("} ")
            parts = dict(part.split("=", 1) for part in labels.split(","))
            found[json.loads(parts["variant"]), json.loads(parts["reason"])] = round(float(value))
    return found
