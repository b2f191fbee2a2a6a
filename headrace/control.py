"""What the control loop needs before it starts here: profiles to plan with, and no counts of a cluster that is gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from agents.forecast_files import PLACE, STATE
from executors.hardware import machine_kind
from executors.probing import claim
from executors.settings import ExecutorSettings
from headrace.profiling import WIDTH, profile_registered
from headrace.settings import Loaded
from registry import topic
from registry.catalog import Catalog
from registry.records import EMULATED
from streams.settings import KafkaSettings

LOAD_S = 5.0  # a variant, beside its measurement: importing a framework, loading


def forget_counts(folder: Path) -> None:
    """Remove what a forecaster kept of counts; what it learned stays."""
    for name in (STATE, PLACE):
        (folder / name).unlink(missing_ok=True)


def measure_missing(loaded: Loaded, kafka: KafkaSettings, tell: Callable[[str], None]) -> None:
    """Profile what this kind of machine can run and has no profile of yet: no plan could use it.

    Raises: Unreachable; NoDevice.
    """
    settings = loaded.settings
    own = settings.executor.model_copy(update={"pool": settings.up.pool})
    claim(own.hardware, own.device)
    names = unmeasured(topic.read(kafka), own, cores=settings.provisioner.cores, machine=machine_kind())
    if not names:
        return
    tell(f"measuring {len(names)} variants that are new here, at most {LOAD_S + own.measure_s:g} s each")
    console = Console(stderr=True, width=None if Console(stderr=True).is_terminal else WIDTH)
    done = profile_registered(
        kafka, own, names, seconds=len(names) * (LOAD_S + own.measure_s), each_s=own.measure_s, console=console
    )
    for name, why in done.refused.items():
        tell(f"no profile, so it will not be planned with: {name}: {why}")
    if done.left:
        tell(f"no time to measure, so not planned with: {', '.join(done.left)}")


def unmeasured(catalog: Catalog, own: ExecutorSettings, *, cores: int, machine: str) -> list[str]:
    """Variants in service that an executor of `cores` could run, without a profile of such a machine."""
    return [
        name
        for name, variant in sorted(catalog.variants.items())
        if variant.framework != EMULATED
        and variant.hardware == own.hardware
        and variant.width <= cores
        and catalog.serves(variant)
        and ((profile := catalog.profiles.get((name, own.pool))) is None or profile.machine != machine)
    ]
