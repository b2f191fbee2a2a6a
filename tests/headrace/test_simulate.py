"""`headrace simulate`: what a scenario file says, what is refused, and the same figures again."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import pytest

from headrace import cli
from headrace.simulating.file import BadScenario, read
from headrace.simulating.runs import run_one
from streams.errors import ClientFault

EXAMPLE = Path(__file__).parents[2] / "examples" / "scenarios" / "burst.toml"
FLEET = """
[pools.cpu]
cores = 2
price_usd_hour = 0.1
most = 2

[models.q]
task = "quick"
accuracy = 0.9
variants = [{ pool = "cpu", batch_max = 4, latency_ms = [[1, 4, 5], [4, 8, 9]] }]
"""
SCENARIO = """
fleet = "fleet.toml"
warm_s = 2

[load]
seconds = 6
qps = 60
shape = "diurnal"
classes = [{ task = "quick", slo_ms = 100 }]

[policies.static]
static = true
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fleet.toml").write_text(FLEET)
    return tmp_path


def written(folder: Path, text: str) -> Path:
    path = folder / "scenario.toml"
    path.write_text(text)
    return path


def test_example_is_valid_and_its_policies_differ_as_it_says() -> None:
    """`headrace` is always one of them."""
    scenario = read(EXAMPLE)
    scene = scenario.scene(seed=1)

    assert scenario.names == ["headrace", "random", "patient", "eager", "static"]
    assert scenario.setup("static", scene).planner is None
    assert scenario.setup("random", scene).router.policy == "random"
    assert scenario.setup("eager", scene).executor.phi == 0.0
    assert scenario.setup("headrace", scene).planner is not None


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("qps = 60", "qps = 0", "load.qps = 0"),
        ("qps = 60", "rate = 60", "load.rate is unknown"),
        ('task = "quick"', 'task = "slow"', "no model of fleet.toml serves slow"),
        ('"fleet.toml"', '"none.toml"', "none.toml cannot be read"),
        ("classes = [", "classes = [[", "is not TOML"),
        ('shape = "diurnal"', 'shape = "weekly"', "load.shape = 'weekly'"),
    ],
)
def test_read_says_what_is_wrong(folder: Path, before: str, after: str, said: str) -> None:
    """By its place in the file."""
    path = written(folder, SCENARIO.replace(before, after))

    with pytest.raises(ClientFault) as refused:
        read(path)

    assert said in refused.value.message


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("[policies.p]\nplanner = { lane_s = 3 }", "lane_s is unknown"),
        ('[policies.p]\nrouter = { policy = "best" }', "policies.p"),
        ("[policies.p]\nexecutor = { phi = 'x' }", "policies.p"),
    ],
)
def test_setup_says_what_is_wrong_with_a_policy(folder: Path, policy: str, said: str) -> None:
    """Before anything is run."""
    scenario = read(written(folder, f"{SCENARIO}\n{policy}\n"))

    with pytest.raises(BadScenario) as refused:
        scenario.setup("p", scenario.scene(seed=1))

    assert said in refused.value.message


def test_scene_of_a_trace_is_its_stretch(folder: Path) -> None:
    """The steepest, or from a second on; a trace that is too short is refused."""
    (folder / "t.txt").write_text("\n".join(["5"] * 200 + ["50"] * 200))
    text = SCENARIO.replace('shape = "diurnal"', 'shape = "steepest"\ntrace = "t.txt"')
    steep = read(written(folder, text.replace("seconds = 6", "seconds = 100").replace("qps = 60\n", "")))
    long = read(written(folder, text.replace("seconds = 6", "seconds = 1000")))

    assert steep.scene(seed=1).total[[0, 49, 51, 99]].tolist() == [5, 5, 50, 50]
    with pytest.raises(BadScenario, match="too short"):
        long.scene(seed=1)


def test_simulate_prints_a_table_and_one_object(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same twice; and what is not a policy of the file is refused."""
    path = written(folder, SCENARIO)
    monkeypatch.setattr(logging.getLogger(), "handlers", [*logging.getLogger().handlers])

    def call(*args: str) -> int:
        monkeypatch.setattr(sys, "argv", ["headrace", "simulate", str(path), *args])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    assert call("--json", "--seeds", "2", "--processes", "1") == 0
    got = capsys.readouterr()
    found = json.loads(got.out)
    assert set(found) == {"headrace", "static"}
    assert found["headrace"]["lost"] == 0
    assert found["static"]["seeds"] == 2
    assert "static" in got.err
    assert run_one(path, "static", 2) == run_one(path, "static", 2)
    assert call("--policy", "headrace,best") == 2
    assert "best" in capsys.readouterr().err
