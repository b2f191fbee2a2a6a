"""Scores by hand, walks that do not look ahead, and the command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from forecasting.backtest import table, walk
from forecasting.ewma import Ewma
from forecasting.expert import Ask
from forecasting.forecaster import Models, untrained
from forecasting.rows import series
from forecasting.scores import Score, pinball, score
from tests.forecasting.builders import START, diurnal

SHORT = Ask(horizons_s=(20, 60), quantiles=(0.5, 0.9))


def test_score_of_four_forecasts() -> None:
    """Two too low by 10 and 40, one right, one too high by 20; one of two jumps stays under it."""
    found = score(
        np.array([90.0, 60.0, 50.0, 70.0]), np.array([100.0, 100.0, 50.0, 50.0]), np.array([60.0, 100.0, 30.0, 50.0])
    )

    wanted = Score(
        mae=17.5, rmse=np.sqrt(2_100 / 4), mape=(0.1 + 0.4 + 0 + 0.4) / 4, under=0.5, short99=39.1, over=20 / 300,
        pin90=(9 + 36 + 0 + 2) / 4, jumps=0.5,
    )  # fmt: skip
    np.testing.assert_allclose(msgspec.structs.astuple(found), msgspec.structs.astuple(wanted))


def test_score_of_zeros_is_zero() -> None:
    """No demand, no jumps, nothing divided by it."""
    found = score(np.zeros(3), np.zeros(3), np.zeros(3))

    assert (found.mae, found.mape, found.over, found.jumps) == (0, 0, 0, None)


def test_pinball_at_the_median_is_half_the_error() -> None:
    """By definition."""
    assert pinball(np.array([1.0, 5.0]), np.array([3.0, 4.0]), 0.5) == 0.75


def test_walk_does_not_look_ahead(models: Models) -> None:
    """Other counts from a second on change no forecast that was made by then."""
    rate = diurnal(2, seed=31)
    other = rate.copy()
    cut = 5_000
    other[cut:] = np.random.default_rng(1).poisson(400, len(rate) - cut)
    begin = 3_000

    one, two = (walk(series(x, start=START), models, begin=begin, beside=(Ewma(),)) for x in (rate, other))

    early = one.at <= cut
    assert early.sum() == 201
    np.testing.assert_array_equal(one.out[early], two.out[early])
    np.testing.assert_array_equal(one.experts[:, early], two.experts[:, early])
    assert (one.out[~early] != two.out[~early]).any()


def test_walk_again_is_the_same(models: Models) -> None:
    """Nothing in it is drawn."""
    of = series(diurnal(1.2, seed=32), start=START)

    np.testing.assert_array_equal(walk(of, models, begin=3_600).out, walk(of, models, begin=3_600).out)


def test_table_has_a_line_a_forecaster_and_quantile() -> None:
    """One for those that know one value; the last lines are of what would have been published."""
    walked = walk(series(diurnal(1.2, seed=33), start=START), untrained(SHORT), begin=3_600, beside=(Ewma(),))

    lines = table(walked, 60)

    assert [(line.name, line.quantile) for line in lines] == [
        ("negative binomial", 0.5), ("negative binomial", 0.9), ("last", None), ("last x 1.1", None),
        ("last x 1.3", None), ("EWMA", None), ("headrace", 0.5), ("headrace", 0.9),
    ]  # fmt: skip
    last = walked.last[:, 1]
    assert lines[2].score == score(last, walked.actual[:, 1], last)


def headrace(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "headrace", *args], capture_output=True, text=True, check=False, cwd=cwd, timeout=120
    )


def test_command_prints_the_table_and_draws(tmp_path: Path) -> None:
    """A trace of 40 minutes: too short to train, long enough to choose."""
    (tmp_path / "load.csv").write_text("rps\n" + "\n".join(f"{x:g}" for x in diurnal(0.7, seed=34)))

    done = headrace("backtest", "load.csv", "--horizon", "20", "--picture", "load.png", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "next 20 s" in done.stdout
    assert "headrace q90" in done.stdout
    assert "nothing was trained: too short" in done.stdout
    assert (tmp_path / "load.png").read_bytes().startswith(b"\x89PNG")


def test_command_in_json(tmp_path: Path) -> None:
    """One object with every line of every horizon."""
    (tmp_path / "load.txt").write_text("\n".join(f"{x:g}" for x in diurnal(0.7, seed=35)))

    done = headrace("backtest", "load.txt", "--json", cwd=tmp_path)

    found = json.loads(done.stdout)
    assert set(found["horizons"]) == {"20", "60", "180"}
    assert found["seconds"] == 2_520
    assert {"name", "quantile", "score"} == set(found["horizons"]["60"][0])


@pytest.mark.parametrize(
    ("text", "args", "message"),
    [
        ("1\n2\nx\n", (), "bad_trace: load.txt: line 3: 'x' is not a count"),
        ("1\n2\n", (), "bad_trace: load.txt: 2 seconds, at least 250 are needed"),
        ("1\n" * 300, ("--horizon", "301"), "bad_settings: --horizon 301: 1 to 300 s"),
        ("1\n" * 300, ("--picture", "load.svg"), "bad_settings: --picture load.svg: a picture is a .png"),
        ("1\n" * 300, ("--picture", "none/load.png"), "cannot write into none"),
        ("1\n" * 300, ("--column", "b"), "no column 'b'; there are count"),
        ("1\n" * 3_000, ("--lstm",), "rows to train on, an LSTM needs 2000"),
    ],
)
def test_command_refuses_in_a_line(tmp_path: Path, text: str, args: tuple[str, ...], message: str) -> None:
    """What is wrong, and where; the caller must change it."""
    (tmp_path / "load.txt").write_text(text)

    done = headrace("backtest", "load.txt", *args, cwd=tmp_path)

    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
