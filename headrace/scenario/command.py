"""What `headrace demo --scenario` does with its options: read, refuse, play, show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console

from forecasting.errors import BadTrace
from forecasting.trace import read as read_trace
from headrace.fleet_file import read as read_fleet
from headrace.scenario.picture import draw
from headrace.scenario.play import OURS, Played, play
from headrace.scenario.show import Show
from headrace.settings import Loaded
from simulator.loads import Ask, Scene, Shape, made, of_trace, steepest
from streams.errors import BadSettings

FLEET = Path(__file__).with_name("fleet.toml")
SECONDS, QPS, SEED = 180, 150.0, 11
ASKS = (
    Ask(task="scene-labels", slo_ms=300.0),
    Ask(task="review-tone", slo_ms=300.0, accuracy_min=0.85),
    Ask(task="scene-labels", priority=0),
)


def run(
    shape: Shape, loaded: Loaded, console: Console, *, seconds: int | None, qps: float | None, trace: Path | None,
    fleet: Path | None, picture: Path,
) -> Played:  # fmt: skip
    """Play it and draw it. Raises: BadSettings, BadFleet, BadTrace, and what Stack raises."""
    if picture.suffix.lower() != ".png":
        raise BadSettings(f"--picture {picture}: a PNG is drawn, so its name ends in .png")
    if not picture.parent.is_dir():
        raise BadSettings(f"--picture {picture}: there is no folder {picture.parent}")
    machines = read_fleet(fleet or FLEET)
    asks = ASKS if fleet is None else tuple(Ask(task=task, slo_ms=slo) for task, slo in _tasks(fleet))
    scene = _scene(shape, asks, seconds=seconds or SECONDS, qps=qps, trace=trace)
    show = Show(console, scene)

    def tell(line: str) -> None:
        console.print(line, highlight=False)

    try:
        kafka = loaded.settings.kafka if loaded.cluster_given else None
        played = play(scene, machines, kafka=kafka, seed=SEED, tell=tell, turn=show.turn)
    finally:
        show.close()
    draw(played.ran, played.capacity, picture, first=OURS)
    return played


def _tasks(fleet: Path) -> list[tuple[str, float]]:
    """Of a fleet file of one's own: all its tasks, each with its default deadline. Raises: BadSettings without one."""
    machines = read_fleet(fleet)
    found = []
    for name in sorted({model.task for model in machines.models.values()}):
        task = machines.tasks.get(name)
        if task is None or task.slo_ms_default is None:
            raise BadSettings(f"{fleet}: [tasks.{name}] needs slo_ms_default, the deadline of the scenario's queries")
        found.append((name, task.slo_ms_default))
    return found


def _scene(shape: Shape, asks: tuple[Ask, ...], *, seconds: int, qps: float | None, trace: Path | None) -> Scene:
    if trace is None:
        return made(shape, asks, seconds=seconds, qps=qps or QPS, rng=np.random.default_rng(SEED))
    if shape != "burst":
        raise BadSettings(f"--trace goes with --scenario burst, its steepest stretch; {shape} is made")
    whole = read_trace(trace).column(None)
    try:
        begin = steepest(whole, seconds)
    except ValueError as unfit:
        raise BadTrace(f"{trace}: {unfit}") from unfit
    return of_trace(whole[begin : begin + seconds], asks, qps=qps, name=f"{trace.name}, from second {begin}")
