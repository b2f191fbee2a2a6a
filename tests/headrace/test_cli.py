"""The command line as a user meets it: quick help, one-line errors, exit codes."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from headrace import cli
from headrace.cli import COMMANDS, load
from streams import topics
from streams.broker import BrokerNotUp
from streams.broker.ports import HOST


def run(*args: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """`headrace ARGS` in a process and a working directory of its own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HEADRACE_", "KAFKA_"))}
    return subprocess.run(
        [sys.executable, "-m", "headrace", *args],
        cwd=cwd, env={**kept, **env}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


Call = Callable[..., Done]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Call]:
    """`headrace ARGS` by its entry point, without the seconds that a process takes to import the same again."""
    for name in [*os.environ]:
        if name.startswith(("HEADRACE_", "KAFKA_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    handlers = [*logging.getLogger().handlers]

    def here(*args: str, **env: str) -> Done:
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["headrace", *args])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return Done(int(ended.value.code or 0), captured.out, captured.err)

    yield here
    logging.getLogger().handlers[:] = handlers


def test_help_lists_every_command_and_imports_none(tmp_path: Path) -> None:
    """Help is a table: neither Kafka's library nor pydantic nor any framework is imported for it."""
    program = """if True:
        import sys
        from headrace.cli import app
        try:
            app(["--help"], standalone_mode=False)
        finally:
            heavy = {"confluent_kafka", "pydantic", "numpy", "msgspec", "faust", "torch", "rich.console"}
            print(sorted(heavy & set(sys.modules)))
    """

    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)

    *text, imported = done.stdout.splitlines()
    assert all(any(line.strip().startswith(name) for line in text) for name in COMMANDS)
    assert imported == "[]"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_of_every_command_is_there(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each name of the table is a module with a command."""
    load(name).main(["--help"], prog_name=name, standalone_mode=False)

    assert capsys.readouterr().out.startswith(f"Usage: {name}")


def test_client_fault_is_one_line_and_exit_2(tmp_path: Path) -> None:
    """Bad settings are the caller's to change."""
    done = run("config", "--set", "kafka.slots=0", cwd=tmp_path)

    assert done.returncode == 2
    assert done.stderr == ("headrace: bad_settings: [kafka] slots = '0' (flag): should be greater than or equal to 1\n")


def test_server_fault_is_one_line_and_exit_3(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that does not answer is not the caller's mistake."""
    monkeypatch.setattr(topics, "REQUEST_S", 1.0)
    done = call("topics", "diff", KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:9")

    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith("headrace: cluster_unreachable: no Kafka answers at 127.0.0.1:9")
    assert "Traceback" not in done.stderr


def test_broker_error_is_told_as_any_other(call: Call) -> None:
    """A port that is taken: the code of the broker's own error, and the status of a server fault."""
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        done = call("broker", "--port", str(port))

    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith(f"headrace: broker_port_taken: port {port} on {HOST} is taken.")


def test_failure_with_a_log_is_a_line_and_the_log_under_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What came from a log keeps its lines."""

    def fails() -> None:
        raise BrokerNotUp("node 0 ended. The end of its log:\nfirst\n\tat second")

    monkeypatch.setattr(cli, "app", fails)

    with pytest.raises(SystemExit, match="3"):
        cli.main()

    assert (
        capsys.readouterr().err
        == "headrace: broker_not_up: node 0 ended. The end of its log:\n  first\n  \tat second\n"
    )


def test_debug_variable_shows_the_traceback_as_well(call: Call) -> None:
    """For those who want to see where."""
    done = call("config", "--set", "nonsense", HEADRACE_DEBUG="1")

    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1] == "headrace: bad_settings: --set 'nonsense' is not section.key=value"


def test_unknown_benchmark_lists_those_that_exist(call: Call) -> None:
    """The names are found, not kept in a second list."""
    done = call("bench", "nothing")

    assert done.returncode == 2
    assert "no benchmark 'nothing'; there are " in done.stderr
    assert "router" in done.stderr
    assert "role" not in done.stderr


def test_status_json_nothing_configured_says_unreachable(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a local broker and a cluster there is nothing to show."""
    monkeypatch.setattr("streams.tail.REQUEST_S", 1.0)
    done = call("status", "--json", "--set", "kafka.bootstrap=127.0.0.1:9")

    assert done.returncode == 3
    assert "cannot be read" in done.stderr


@pytest.mark.parametrize("role", ["router", "executor"])
def test_check_of_a_role_exits_before_any_kafka(call: Call, role: str) -> None:
    """--check validates and exits, although nothing listens at the address."""
    done = call(role, "--check", KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:9")

    assert done.returncode == 0, done.stderr
    assert "in order" in done.stdout


@pytest.mark.parametrize(
    ("role", "properties", "told"),
    [
        ("router", ["sasl.mechanizm=PLAIN"], 'No such configuration property: "sasl.mechanizm"'),
        ("executor", ["sasl.mechanizm=PLAIN"], 'No such configuration property: "sasl.mechanizm"'),
        ("router", ["security.protocol=ssl", "ssl.keystore.location=k", "ssl.keystore.password=p"], "ssl.keystore"),
        ("router", ["security.protocol=sasl_ssl", "sasl.mechanism=OAUTHBEARER"], "'OAUTHBEARER' is not available"),
    ],
)
def test_check_of_a_role_tries_the_security_properties(call: Call, role: str, properties: list[str], told: str) -> None:
    """What either transport would refuse at the start is refused by --check, without any Kafka."""
    pairs = [part for each in properties for part in ("--set", f"kafka.properties.{each}")]

    done = call(role, "--check", *pairs, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:9")

    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("headrace: bad_settings: kafka.properties: ")
    assert told in done.stderr


def test_version_names_what_it_stands_on(call: Call) -> None:
    """The lines of a bug report."""
    done = call("version")

    assert done.returncode == 0
    assert done.stdout.startswith("headrace ")
    assert "confluent-kafka " in done.stdout


def test_doctor_local_reports_every_subject(tmp_path: Path) -> None:
    """Each line is a verdict, a subject and a detail; nothing needs a cluster."""
    done = run("doctor", "--local", cwd=tmp_path)

    subjects = {line[6:21].strip() for line in done.stdout.splitlines()}
    assert {"python", "disk", "cores", "cluster", "models", "broker java"} <= subjects
    assert {line[:4].strip() for line in done.stdout.splitlines()} <= {"ok", "warn", "fail"}


def test_register_check_names_the_problem(call: Call) -> None:
    """A folder without manifests is told in one line, with the remedy."""
    done = call("register", ".", "--check")

    assert done.returncode == 2
    assert done.stderr.startswith("headrace: bad_manifest: ")
