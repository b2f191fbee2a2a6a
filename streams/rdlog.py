"""Where librdkafka's own log lines go: one logger, in which a line that repeats is said once in a while.

A client without a broker tries again many times a second, and says so each time.
"""

from __future__ import annotations

import logging
import re
import time

AGAIN_S = 10.0
KINDS_MAX = 256  # of lines remembered
_VARIES = re.compile(r"\[[^\]]*\]|#?\d+")


class Seldom(logging.Filter):
    """Lets a kind of line (numbers and thread names aside) through once in AGAIN_S."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind, now = _VARIES.sub("", record.getMessage()), time.monotonic()
        if now - self._said.get(kind, -AGAIN_S) < AGAIN_S:
            return False
        if len(self._said) >= KINDS_MAX:
            self._said.clear()
        self._said[kind] = now
        return True


log = logging.getLogger("librdkafka")
log.addFilter(Seldom())
