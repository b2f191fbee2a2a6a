"""All settings of one process: read once from file, environment and flags, checked in one pass, then frozen."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from agents.forecaster_settings import ForecasterSettings
from agents.planner_settings import PlannerSettings
from agents.provisioner_settings import ProvisionerSettings
from agents.settings import RouterSettings
from executors.settings import ExecutorSettings
from headrace.layers import Layer, Values, from_environment, from_file, from_flags, leaves, merged
from headrace.sections import BrokerSettings, UpSettings
from headrace.violations import describe
from registry.store import ArtifactSettings
from streams.blobs.settings import BlobSettings
from streams.errors import BadSettings
from streams.observe import ObserveSettings
from streams.settings import KafkaSettings

DEFAULT = "default"


class Settings(BaseSettings):
    """One frozen object a process, one field a section of `headrace.toml`."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    blobs: BlobSettings = Field(default_factory=BlobSettings)
    artifacts: ArtifactSettings = Field(default_factory=ArtifactSettings)
    router: RouterSettings = Field(default_factory=RouterSettings)
    executor: ExecutorSettings = Field(default_factory=ExecutorSettings)
    forecaster: ForecasterSettings = Field(default_factory=ForecasterSettings)
    planner: PlannerSettings = Field(default_factory=PlannerSettings)
    provisioner: ProvisionerSettings = Field(default_factory=ProvisionerSettings)
    observe: ObserveSettings = Field(default_factory=ObserveSettings)
    broker: BrokerSettings = Field(default_factory=BrokerSettings)
    up: UpSettings = Field(default_factory=UpSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings passes all five by name
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` merged: it reads the sources one by one to know where each value came from."""
        return (init_settings,)


class Loaded(NamedTuple):
    """The settings, and the origin of every value that is not a default, by its path."""

    settings: Settings
    origins: dict[tuple[str, ...], str]

    @property
    def cluster_given(self) -> bool:
        """Whether anyone said which Kafka to use."""
        return ("kafka", "bootstrap") in self.origins


def load(
    file: Path | None = None,
    *,
    pairs: Sequence[str] = (),
    flags: Mapping[str, Mapping[str, Any]] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Loaded:
    """Read and check everything.

    `flags` are a command's own options by section; None in them means not given.
    Raises: BadSettings with every violation at once.
    """
    environ = os.environ if environ is None else environ
    given = {s: {k: v for k, v in part.items() if v is not None} for s, part in (flags or {}).items()}
    layers = [
        from_file(file or _named(environ)),
        from_environment(Settings, environ),
        from_flags(Settings, pairs, {s: part for s, part in given.items() if part}),
    ]
    values: Values = {}
    origins: dict[tuple[str, ...], str] = {}
    for layer in layers:
        if layer is not None:
            plain = _with_properties(layer)
            values = merged(values, plain)
            origins |= dict.fromkeys(leaves(plain), layer.origin)
    try:
        settings = Settings(**values)
    except ValidationError as invalid:
        raise _bad(describe(invalid.errors(), sections(), origins)) from invalid
    if violated := _relations(settings):
        raise _bad(violated)
    return Loaded(settings, origins)


def sections() -> dict[str, type[BaseModel]]:
    """The model of each section, in the order of the file."""
    hints = get_type_hints(Settings)
    return {name: hints[name] for name in Settings.model_fields}


def _named(environ: Mapping[str, str]) -> Path | None:
    name = environ.get("HEADRACE_CONFIG")
    return Path(name) if name else None


def _with_properties(layer: Layer) -> Values:
    """librdkafka's own names may be written `sasl.password` in TOML, and sasl_password in a variable."""
    kafka = layer.values.get("kafka")
    if not isinstance(kafka, dict) or not isinstance(kafka.get("properties"), dict):
        return layer.values
    flat = {".".join(path).replace("_", "."): value for path, value in leaves(kafka["properties"]).items()}
    text = {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in flat.items()}
    return {**layer.values, "kafka": {**kafka, "properties": text}}


def _place(settings: BlobSettings) -> tuple[str, ...]:
    """What tells one store from another."""
    return (settings.endpoint, *(settings.bucket or (str(settings.folder.resolve()),)))


def _relations(settings: Settings) -> list[str]:
    """What must hold between sections."""
    violated = []
    pools = settings.kafka.pools
    violated += [
        f"[{section}] pool = {pool!r}: is not in [kafka] pools, which are {', '.join(pools)}"
        for section, pool in (
            ("executor", settings.executor.pool),
            ("provisioner", settings.provisioner.pool),
            ("up", settings.up.pool),
        )
        if pool not in pools
    ]
    if settings.provisioner.least > settings.provisioner.most:
        violated.append(
            f"[provisioner] least = {settings.provisioner.least}: more than most = {settings.provisioner.most}"
        )
    if settings.up.executors > settings.kafka.slots:
        violated.append(
            f"[up] executors = {settings.up.executors}: more than [kafka] slots = {settings.kafka.slots}, "
            "and an executor without a slot gets no work"
        )
    if settings.blobs.url and _place(settings.blobs) == _place(settings.artifacts.store_settings):
        violated.append(
            f"[artifacts] url = {settings.artifacts.url!r}: is that of [blobs], which is pruned; take another folder, "
            "or another prefix"
        )
    if settings.blobs.url and settings.blobs.size_max_bytes < settings.kafka.value_max_bytes:
        violated.append(
            f"[blobs] size_max_bytes = {settings.blobs.size_max_bytes}: less than [kafka] value_max_bytes = "
            f"{settings.kafka.value_max_bytes}, so that nothing would ever go there"
        )
    return violated


def _bad(violations: list[str]) -> BadSettings:
    count = "" if len(violations) == 1 else f"{len(violations)} violations: "
    return BadSettings(count + "; ".join(violations))
