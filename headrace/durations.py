"""Spans of time as people type them."""

from __future__ import annotations

import re

from streams.errors import BadSettings

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def seconds(text: str, *, option: str) -> int:
    """30s, 10m, 2h or 1d in seconds. Raises: BadSettings that names the option."""
    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if match is None:
        raise BadSettings(f"{option} {text!r} is not a number and one of s, m, h, d")
    return int(match[1]) * _UNITS[match[2]]
