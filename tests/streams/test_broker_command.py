"""`headrace broker --check` and `--help`: they start nothing."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from headrace.commands.broker import broker
from streams.broker.ports import HOST
from streams.folders import CACHE_ENV

APP = typer.Typer()
APP.command()(broker)


def test_broker_check_reports_every_finding_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache is no problem, a taken port is; the code is on its line and the exit status is 1."""
    monkeypatch.setenv(CACHE_ENV, str(tmp_path / "cache"))
    with socket.create_server((HOST, 0)) as taken:
        result = CliRunner().invoke(APP, ["--check", "--port", str(taken.getsockname()[1])])

    assert result.exit_code == 1
    assert [line.split(":")[0].split() for line in result.output.splitlines()] == [
        ["java", "ok"],
        ["jars", "ok"],
        ["space", "ok"],
        ["ports", "broker_port_taken"],
    ]
    assert "46 of 46 will be fetched" in result.output
    assert not (tmp_path / "cache").exists()


def test_broker_check_in_order_exits_with_zero() -> None:
    """Nothing is asked for that is not there."""
    assert CliRunner().invoke(APP, ["--check"]).exit_code == 0


def test_broker_help_says_what_it_needs() -> None:
    """The first screen answers: what, how long, and what to install."""
    result = CliRunner().invoke(APP, ["--help"])

    assert result.exit_code == 0
    assert "extra local" in " ".join(result.output.split())
    assert "--check" in result.output
