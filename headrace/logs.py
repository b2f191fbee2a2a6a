"""Logging of a process, set up once: one line an event, `time level logger event key=value ...`, on stderr."""

from __future__ import annotations

import datetime as dt
import logging
import sys
from typing import Literal

Level = Literal["debug", "info", "warning", "error"]

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_QUIET = ("faust", "mode", "aiokafka", "asyncio", "librdkafka", "urllib3")


def setup(level: Level) -> None:
    """Send everything to stderr from `level` up; other people's libraries from one level higher."""
    number = getattr(logging, level.upper())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine())
    logging.basicConfig(level=number, handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(number if number == logging.DEBUG else min(number + 10, logging.ERROR))
    logging.captureWarnings(capture=True)


class OneLine(logging.Formatter):
    """An event and its fields on one line; a traceback follows only where one was logged."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = dt.datetime.fromtimestamp(record.created, dt.UTC)
        fields = [f"{key}={_text(value)}" for key, value in vars(record).items() if key not in _STANDARD]
        parts = [
            f"{stamp:%Y-%m-%dT%H:%M:%S}.{stamp.microsecond // 1000:03d}Z",
            record.levelname.lower(),
            record.name,
            record.getMessage().replace("\n", " | "),
            *fields,
        ]
        line = " ".join(parts)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _text(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    if text and not any(c.isspace() or c in '"=' for c in text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
