"""The supervisor, with real processes: restarts, bounds, order, and nobody left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.state import start_ticks
from headrace.supervise import Role, Supervisor

SLEEPER = "import time; time.sleep(600)"
PATIENCE_S = 20.0


def role(name: str, program: str, *, stage: int = 0) -> Role:
    return Role(name, (sys.executable, "-c", program), dict(os.environ), stage=stage)


def wait_for(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[..., Supervisor]]:
    """Launches supervisors that are stopped at the end."""
    made: list[Supervisor] = []

    def launch(*roles: Role, restarts_max: int = 5, stop_s: float = 5.0) -> Supervisor:
        made.append(Supervisor(roles, logs=tmp_path, restarts_max=restarts_max, stop_s=stop_s))
        made[-1].launch()
        return made[-1]

    yield launch
    for supervisor in made:
        supervisor.stop()


def test_kill_role_is_started_again_with_another_pid(supervise: Callable[..., Supervisor]) -> None:
    """A role that is killed runs again a moment later, and the restart is counted."""
    supervisor = supervise(role("sleeper", SLEEPER))
    first = supervisor.running()[0].pid

    assert supervisor.kill("sleeper") == first
    wait_for(lambda: supervisor.running()[0].pid not in (None, first))
    assert supervisor.running()[0].restarts == 1


def test_role_that_always_ends_is_given_up_and_others_go_on(
    supervise: Callable[..., Supervisor], caplog: pytest.LogCaptureFixture
) -> None:
    """After its bound it stays down, loudly; its log tells why; its neighbour lives."""
    supervisor = supervise(
        role("crash", "print('no such thing'); raise SystemExit(7)"), role("sleeper", SLEEPER), restarts_max=2
    )

    wait_for(lambda: supervisor.running()[0].given_up)

    crash, sleeper = supervisor.running()
    assert (crash.pid, crash.restarts) == (None, 2)
    assert sleeper.pid is not None
    assert crash.log.read_text().splitlines() == ["no such thing"] * 3
    assert any("STAYS DOWN" in record.message for record in caplog.records)


def test_stop_earlier_stage_ends_before_later_one(supervise: Callable[..., Supervisor], tmp_path: Path) -> None:
    """A role of stage 0 that takes its time has ended before one of stage 1 is asked to."""
    slow = _on_term(f"time.sleep(0.5); open({str(tmp_path / 'order')!r}, 'a').write('first ')")
    quick = _on_term(f"open({str(tmp_path / 'order')!r}, 'a').write('second ')")
    supervisor = supervise(role("quick", quick, stage=1), role("slow", slow, stage=0))
    wait_for(lambda: all((tmp_path / f"{name}.log").read_text() == "armed\n" for name in ("quick", "slow")))

    assert supervisor.stop() == []
    assert (tmp_path / "order").read_text() == "first second "


def test_stop_role_that_ignores_sigterm_is_killed_and_named(
    supervise: Callable[..., Supervisor], tmp_path: Path
) -> None:
    """The grace has an end."""
    supervisor = supervise(role("deaf", _on_term("pass", ends=False)), stop_s=0.5)
    pid = supervisor.running()[0].pid
    assert pid is not None
    wait_for(lambda: (tmp_path / "deaf.log").read_text() == "armed\n")

    assert supervisor.stop() == ["deaf"]
    assert start_ticks(pid) == 0


def test_owner_killed_with_9_leaves_no_orphan(tmp_path: Path) -> None:
    """The guard ends the role when the supervisor's process is gone."""
    program = f"""
        import os, sys, time
        from pathlib import Path
        from headrace.supervise import Role, Supervisor
        role = Role("sleeper", (sys.executable, "-c", {SLEEPER!r}), dict(os.environ))
        supervisor = Supervisor([role], logs=Path({str(tmp_path)!r}), restarts_max=5, stop_s=5.0)
        supervisor.launch()
        print(supervisor.running()[0].pid, flush=True)
        time.sleep(600)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert start_ticks(pid)

        owner.send_signal(signal.SIGKILL)
        owner.wait()

    wait_for(lambda: start_ticks(pid) == 0)


def _on_term(action: str, *, ends: bool = True) -> str:
    return textwrap.dedent(f"""
        import signal, sys, time
        def asked(*_):
            {action}
            {"sys.exit(0)" if ends else ""}
        signal.signal(signal.SIGTERM, asked)
        print("armed", flush=True)
        while True:
            time.sleep(0.05)
    """)
