"""Which models a machine serves: a folder of manifests, or the examples if they are built."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from headrace.pools import pools
from headrace.settings import Loaded, Settings
from registry import manifest
from registry.records import Record


def folder(settings: Settings) -> Path | None:
    """Where the manifests are; None if nothing is named and no example is built."""
    return settings.up.models or _examples()


def records_for(loaded: Loaded, tell: Callable[[str], None]) -> list[Record]:
    """Pools, tasks, models and variants to publish.

    Raises: BadManifest.
    """
    home = folder(loaded.settings)
    own: list[Record] = list(pools(loaded.settings.kafka))
    if home is None:
        tell("no models to register: `python -m examples.build` builds the examples, [up] models names a folder")
        return own
    return own + manifest.read(home)


def _examples() -> Path | None:
    from examples.store import default_out

    built = default_out()
    return built if any(built.glob(f"*/{manifest.MANIFEST}")) else None
