"""What `headrace demo --scenario` refuses, in words, before it starts anything; and one short race on real Kafka."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import pytest

from headrace import cli
from headrace.fleet_file import read
from headrace.fleet_parts import Fleet
from headrace.scenario.oracle import Fixed
from headrace.scenario.play import carry_out
from headrace.scenario.run import race
from headrace.scenario.side import Side
from simulator.loads import Ask, Scene
from streams.clock import wall_us
from streams.settings import KafkaSettings

FLEET = """
[pools.cpu]
cores = 2
price_usd_hour = 0.1
least = 2
most = 2
first = 2

[tasks.quick]

[models.q]
task = "quick"
accuracy = 0.9
variants = [{ pool = "cpu", batch_max = 4, latency_ms = [[1, 4, 5], [4, 8, 9]] }]
"""


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--scenario", "burst", "--picture", "run.jpg"], "its name ends in .png"),
        (["--scenario", "burst", "--picture", "nowhere/run.png"], "there is no folder nowhere"),
        (["--scenario", "diurnal", "--trace", "trace.txt"], "--trace goes with --scenario burst"),
        (["--scenario", "burst", "--trace", "trace.txt"], "too short"),
        (["--scenario", "burst", "--trace", "none.txt"], "none.txt"),
        (["--scenario", "burst", "--fleet", "fleet.toml"], "[tasks.quick] needs slo_ms_default"),
        (["--fleet", "fleet.toml"], "--fleet goes with --scenario"),
        (["--scenario", "weekly"], "weekly"),
    ],
)
def test_scenario_that_cannot_be_played_is_refused(
    args: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With exit status 2, and what to change."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trace.txt").write_text("5\n" * 40)
    (tmp_path / "fleet.toml").write_text(FLEET)

    monkeypatch.setattr(logging.getLogger(), "handlers", [*logging.getLogger().handlers])
    monkeypatch.setattr(sys, "argv", ["headrace", "demo", *args])
    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert ended.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.kafka
def test_race_counts_what_two_sides_make_of_one_load(bootstrap: str, tmp_path: Path) -> None:
    """The same queries to both; the side that holds nothing answers in words, and its machines cost as much."""
    fleet = file(tmp_path)
    scene = Scene("steady", (Ask(task="quick", slo_ms=500.0),), np.full((3, 1), 30.0))
    kafka = KafkaSettings(bootstrap=bootstrap, prefix=f"test-race-{wall_us():x}.")
    variant = "q/emulated-fp32-cpu"
    with (
        Side("full", fleet, kafka, tmp_path, control=False) as full,
        Side("empty", fleet, kafka, tmp_path, control=False, own={"router": {"park_ms": 200}}) as empty,
    ):
        carry_out(full, Fixed(machines={"cpu": 2}, lanes={"cpu": [{variant: 2}, {variant: 1}]}))
        ran = race(scene, [full, empty], seed=1)

    assert ran.came.sum() == len(ran.answered["full"].at_s) > 50
    assert (ran.scores["full"].lost, ran.scores["empty"].lost) == (0, 0)
    assert ran.scores["full"].violations < 0.2
    assert ran.scores["full"].accuracy == pytest.approx(0.9)
    assert ran.scores["empty"].violations == 1.0
    assert ran.scores["full"].cores == pytest.approx(4.0)
    assert ran.samples["full"][-1].lanes == {(variant, "cpu"): 3}


def file(folder: Path) -> Fleet:
    path = folder / "fleet.toml"
    path.write_text(FLEET)
    return read(path)
