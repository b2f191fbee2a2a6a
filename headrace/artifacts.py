"""Whether this machine could run what it would register: libraries and files, without Kafka and without loading."""

from __future__ import annotations

from fnmatch import fnmatchcase

from headrace.models import folder
from headrace.settings import Settings
from registry import manifest
from registry.records import Model, Variant
from streams.errors import BadSettings, HeadraceError


def check(settings: Settings) -> str:
    """Open every variant of the folder that an executor with these settings would load.

    Returns: what was checked, in words.
    Raises:  BadManifest, or BadSettings with every variant that cannot run here.
    """
    home = folder(settings)
    if home is None:
        return "no folder of models here, so no artifact was checked"
    from executors.backends.open import open_backend

    records = manifest.read(home, verify=False)  # open_backend verifies
    models = {record.name: record for record in records if isinstance(record, Model)}
    own = settings.executor
    wanted = [r for r in records if isinstance(r, Variant) and any(fnmatchcase(r.name, glob) for glob in own.variants)]
    wrong = []
    for variant in wanted:
        try:
            open_backend(variant, models[variant.model]).close()
        except HeadraceError as refused:
            wrong.append(f"{variant.name}: {refused.message}")
    if wrong:
        raise BadSettings("; ".join(wrong))
    return f"{len(wanted)} variants of {home} can run"
