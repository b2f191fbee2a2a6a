"""One event, one line."""

from __future__ import annotations

import logging
import re
import sys

from headrace.logs import OneLine


def line(message: str, **fields: object) -> str:
    record = logging.LogRecord("headrace.x", logging.WARNING, __file__, 1, message, None, None)
    vars(record).update(fields)
    return OneLine().format(record)


def test_format_fields_follow_the_event_in_order() -> None:
    """Time in UTC, level, logger, event, then fields; what holds spaces or quotes is quoted."""
    text = line("role ended", role="router-1", seconds=1.23456789, why='said "no" = bad')

    stamp, rest = text.split(" ", 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", stamp)
    assert rest == r'warning headrace.x role ended role=router-1 seconds=1.23457 why="said \"no\" = bad"'


def test_format_line_breaks_never_break_the_line() -> None:
    """Neither in the event nor in a field."""
    assert "\n" not in line("one\ntwo", log="three\nfour")


def test_format_exception_follows_its_line() -> None:
    """The one case of more lines."""
    try:
        int("gone")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "failed", None, sys.exc_info())

    first, *rest = OneLine().format(record).splitlines()
    assert first.endswith("error x failed")
    assert rest[-1] == "ValueError: invalid literal for int() with base 10: 'gone'"
