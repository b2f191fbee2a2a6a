"""Validation errors in the words of the person who wrote the file: section, key, value, limit, and where it stands."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

MASK = "********"
_SECRET = re.compile(r"(^|[._-])(password|secret|passphrase|jaas\.config)$|key\.pem$|oauthbearer\.config$")


def secret(path: Iterable[str]) -> bool:
    """Whether a value must not be shown."""
    return bool(_SECRET.search(".".join(path).lower()))


def describe(
    errors: Iterable[ErrorDetails], sections: Mapping[str, type[BaseModel]], origins: Mapping[tuple[str, ...], str]
) -> list[str]:
    """One sentence for every violation, in the order of the settings."""
    return [_describe(error, sections, origins) for error in errors]


def _describe(
    error: ErrorDetails, sections: Mapping[str, type[BaseModel]], origins: Mapping[tuple[str, ...], str]
) -> str:
    path = tuple(str(part) for part in error["loc"])
    section, keys = path[0], path[1:]
    origin = origins.get(path) or origins.get(path[:2]) or next((o for p, o in origins.items() if p[0] == section), "")
    where = f" ({origin})" if origin else ""
    if error["type"] == "extra_forbidden":
        if not keys:
            return f"[{section}] is unknown{where}; {_nearest(section, sections, 'sections')}"
        fields = sections[section].model_fields
        return f"[{section}] {'.'.join(keys)} is unknown{where}; {_nearest(keys[0], fields, 'keys')}"
    name = f"[{section}] {'.'.join(keys)}".rstrip()
    return f"{name} = {_shown(path, error['input'])}{where}: {_limit(error['msg'])}"


def _nearest(name: str, known: Iterable[str], what: str) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"known {what}: {', '.join(known)}"


def _shown(path: tuple[str, ...], value: Any) -> str:
    return MASK if secret(path) else repr(value)


def _limit(message: str) -> str:
    return message.removeprefix("Value error, ").replace("Input should", "should", 1)
