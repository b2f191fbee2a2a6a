"""Where settings come from: file, environment and flags, each read into plain values by section.

A later layer wins. Every variable that holds a section and a key (`HEADRACE_KAFKA__PREFIX`) must name known ones;
`HEADRACE_CONFIG` and the like have no section and are none of our business here.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource

from streams.errors import BadSettings, ClientFault
from streams.settings import BOOTSTRAP_ENV

PREFIX = "HEADRACE_"
DELIMITER = "__"
DEFAULT_FILE = Path("headrace.toml")

Values = dict[str, Any]


class Layer(NamedTuple):
    """One source: how `headrace config` calls it, and its values by section and key."""

    origin: str
    values: Values


def from_file(path: Path | None) -> Layer | None:
    """The file that was named, or `headrace.toml` if the working directory has one.

    Raises: BadSettings when it cannot be read or is no TOML.
    """
    if path is None and not DEFAULT_FILE.is_file():
        return None
    path = path or DEFAULT_FILE
    return Layer(str(path), values_of(path, BadSettings))


def values_of(path: Path, refused: type[ClientFault]) -> Values:
    """What stands in a TOML file. Raises: `refused` when it cannot be read or is no TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as missing:
        raise refused(f"{path} cannot be read: {missing.strerror}") from missing
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as broken:
        raise refused(f"{path} is not TOML: {broken}") from broken


def from_environment(settings: type[BaseSettings], environ: Mapping[str, str]) -> Layer:
    """`HEADRACE_<SECTION>__<KEY>`, and the variable that every Kafka tool knows."""
    values = _parse(settings, {name: value for name, value in environ.items() if name.upper().startswith(PREFIX)})
    if environ.get(BOOTSTRAP_ENV):
        values.setdefault("kafka", {}).setdefault("bootstrap", environ[BOOTSTRAP_ENV])
    return Layer("environment", values)


def from_flags(settings: type[BaseSettings], pairs: Sequence[str], flags: Values) -> Layer:
    """`--set section.key=value` and a command's own options, which count last.

    Raises: BadSettings on a pair without a section, a key or a value.
    """
    variables = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        section, dot, key = name.partition(".")
        if not (equals and dot and section and key):
            raise BadSettings(f"--set {pair!r} is not section.key=value")
        subkey = key.partition(".")
        path = [section, *(part for part in (subkey[0], subkey[2]) if part)]
        variables[PREFIX + DELIMITER.join(path)] = value
    return Layer("flag", merged(_parse(settings, variables), flags))


def merged(low: Values, high: Values) -> Values:
    """Both, key by key; `high` wins. Neither is changed."""
    result = dict(low)
    for key, value in high.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def leaves(values: Values, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every value that is not itself a table, by its path."""
    found: dict[tuple[str, ...], Any] = {}
    for key, value in values.items():
        found |= leaves(value, (*path, key)) if isinstance(value, dict) else {(*path, key): value}
    return found


class _Text(EnvSettingsSource):
    """pydantic-settings' reader of nested variables, over any mapping; lists may be written a,b,c."""

    def __init__(self, settings: type[BaseSettings], variables: Mapping[str, str]) -> None:
        self._variables = {name.lower(): value for name, value in variables.items()}
        super().__init__(settings, env_prefix=PREFIX, env_nested_delimiter=DELIMITER)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._variables

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:  # noqa: ARG002 (its hook)
        if str(value).lstrip()[:1] in ("[", "{"):
            try:
                return json.loads(value)
            except ValueError:
                return value  # validation says so, together with all other violations
        return [part.strip() for part in str(value).split(",") if part.strip()]


def _parse(settings: type[BaseSettings], variables: Mapping[str, str]) -> Values:
    values: Values = _Text(settings, variables)()
    for name in variables:  # the reader skips sections that it does not know; validation shall name them
        section, delimiter, key = name[len(PREFIX) :].lower().partition(DELIMITER)
        if delimiter and section not in settings.model_fields:
            values.setdefault(section, {})[key] = variables[name]
    return values
