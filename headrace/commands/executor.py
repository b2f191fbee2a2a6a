"""`headrace executor`: one executor process, until SIGTERM."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from headrace.options import Check, Config, Level, Set, configure
from streams.blobs import open_store
from streams.properties import require_valid


def executor(
    config: Config = None,
    pairs: Set = None,
    level: Level = "info",
    check: Check = False,
    pool: Annotated[str | None, typer.Option(help="Whose work it takes.")] = None,
    cores: Annotated[int | None, typer.Option(min=1, help="That its lanes may keep busy at once.")] = None,
    instance: Annotated[str | None, typer.Option(help="Name, unique among live executors.")] = None,
    device: Annotated[
        int | None, typer.Option(min=0, help="Of several GPUs or NeuronCores, the one that it runs on.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Of metrics and health; 0 serves none.")] = None,
) -> None:
    """Run one executor: it loads the variants of its pool, joins the pool's group, and answers what it is sent.

    SIGTERM drains it: what runs is finished, what waits is handed back.
    """
    own = {"pool": pool, "cores": cores, "instance": instance, "device": device}
    settings = configure(config, pairs, level, executor=own, observe={"port": port}).settings
    from executors.backends.open import use
    from executors.probing import claim
    from executors.process import run

    use(settings.artifacts)

    if check:
        from headrace.artifacts import check as artifacts

        require_valid(settings.kafka)
        open_store(settings.blobs)
        typer.echo(f"executor {settings.executor.instance}: settings and imports are in order; {artifacts(settings)}")
        return
    if settings.executor.emulated:
        time.sleep(settings.executor.boot_s)  # SIGTERM ends it at once, as it would a machine that boots
    else:
        claim(settings.executor.hardware, settings.executor.device)
    run(settings.executor, settings.kafka, settings.observe, settings.blobs)
