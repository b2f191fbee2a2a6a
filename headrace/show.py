"""Settings as TOML: what is in force and where it came from, and an example file generated from the models."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from headrace.settings import DEFAULT, Loaded, sections
from headrace.violations import MASK, secret

# Defaults that are found at the start and would say something about the machine that generated the file.
_EXAMPLES = {
    ("kafka", "bootstrap"): "127.0.0.1:9092",
    **{("blobs", key): "" for key in ("url", "endpoint", "region")},
    **{("artifacts", key): "" for key in ("endpoint", "region")},
    ("up", "executors"): 4,
}
_BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def effective(loaded: Loaded) -> str:
    """Every setting in force with its origin; secrets are masked. The text is a valid file."""
    blocks = []
    for name in sections():
        section: BaseModel = getattr(loaded.settings, name)
        lines = [f"[{name}]"]
        for key in type(section).model_fields:
            lines += _lines((name, key), getattr(section, key), loaded.origins)
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def example() -> str:
    """A file with every key commented out at its default, with its meaning and bounds."""
    blocks = ["# Headrace. Every key is optional; the environment (HEADRACE_KAFKA__PREFIX=...) and flags win over it."]
    for name, model in sections().items():
        lines = [f"# {_first_line(model)}", f"[{name}]"]
        for key, field in model.model_fields.items():
            note = "; ".join(part for part in (field.description, _bounds(field)) if part)
            lines += [f"# {note}"] if note else []
            lines.append(f"#{key} = {_default(name, key, field)}".rstrip())
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def toml(value: Any) -> str:
    """One value as TOML."""
    match value:
        case None:
            return '""'
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case str() | Path():
            return json.dumps(str(value), ensure_ascii=False)
        case Mapping():
            return "{ " + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + " }" if value else "{}"
        case Iterable():
            return "[" + ", ".join(toml(item) for item in value) + "]"
        case _:
            return json.dumps(str(value))


def _lines(path: tuple[str, ...], value: Any, origins: Mapping[tuple[str, ...], str]) -> list[str]:
    origin = origins.get(path, DEFAULT)
    if isinstance(value, Mapping) and value:
        return [
            f"{path[-1]}.{json.dumps(key)} = {_masked((*path, key), item)}  # {origins.get((*path, key), origin)}"
            for key, item in value.items()
        ]
    if value is None:
        return [f"#{path[-1]} =  # unset"]
    return [f"{path[-1]} = {_masked(path, value)}  # {origin}"]


def _masked(path: tuple[str, ...], value: Any) -> str:
    return toml(MASK if secret(path) else value)


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


def _bounds(field: FieldInfo) -> str:
    found = [
        f"{sign} {getattr(limit, name)}"
        for limit in field.metadata
        for name, sign in _BOUNDS.items()
        if getattr(limit, name, None) is not None
    ]
    return ", ".join(found)


def _default(section: str, key: str, field: FieldInfo) -> str:
    if (section, key) in _EXAMPLES:
        return toml(_EXAMPLES[section, key])
    if field.default_factory is None:
        return "" if field.default is None else toml(field.default)
    value = field.get_default(call_default_factory=True, validated_data={})
    return toml(value) if isinstance(value, tuple | dict | list) else "  # found at the start"
