"""The rules of the architecture, read from the source: who may import whom, what stays pure, how long files are."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINES_MAX = 400

POLICIES = ("agents", "executors", "forecasting", "optimizer")
ALLOWED = {
    "streams": {"streams"},
    "registry": {"registry", "streams"},
    **{package: {package, "registry", "streams"} for package in POLICIES},
    # The workers of a policy package are shells around it, and every worker is in agents (decision 0016).
    "agents": {"agents", "registry", "streams", "forecasting", "optimizer"},
    "simulator": {"simulator", "registry", "streams", *POLICIES},
    "examples": {"examples", "headrace", "registry", "streams"},  # as an application would: the face, and the records
}
SHELLS = ("headrace", "benchmarks", "tests")  # may import all
OURS = {*ALLOWED, *SHELLS}
FAUST = {"faust", "mode"}
FAUST_BY = {
    "agents": "the one package that is built on it",
    "benchmarks": "compares with a stock Faust agent",
}

# What a pure module may not even name: clocks, loops, sockets, threads, processes, files, the environment, chance.
IMPURE = {
    "aiokafka", "asyncio", "concurrent", "confluent_kafka", "ctypes", "faust", "http", "logging", "multiprocessing",
    "os", "pathlib", "queue", "random", "secrets", "select", "selectors", "shutil", "signal", "socket", "subprocess",
    "sys", "tempfile", "threading", "time", "urllib", "uuid",
}  # fmt: skip
FILES = {"picture", "trace"}  # of forecasting: read and write files
PURE = [
    *(f"streams/{name}.py" for name in ("answers", "asking", "contract", "errors", "openinference", "payloads")),
    *(f"streams/{name}.py" for name in ("prefix", "query", "records", "reply", "responses")),
    *(f"registry/{name}.py" for name in ("catalog", "correction", "latency", "predict", "predict_errors")),
    *(f"registry/{name}.py" for name in ("emulation", "records", "targets")),
    *(f"agents/{name}.py" for name in ("blocks", "counting", "counts", "demand", "fleet", "groups", "observed")),
    *(f"agents/{name}.py" for name in ("ownership", "parking")),
    *(f"agents/{name}.py" for name in ("reckoning", "selection", "spread", "verdict", "window")),
    *(f"executors/{name}.py" for name in ("batching", "choosing", "cores", "deadlines", "decoding", "events")),
    *(f"executors/{name}.py" for name in ("finishing", "job", "kept", "live", "machine", "okheaders", "processing")),
    *(f"executors/{name}.py" for name in ("queue", "rate", "stock", "yielding")),
    "executors/devices.py",
    *(f"executors/backends/{name}.py" for name in ("neuron_sdk", "padding")),
    *(f"forecasting/{path.name}" for path in sorted((ROOT / "forecasting").glob("*.py")) if path.stem not in FILES),
    *(f"optimizer/{path.name}" for path in sorted((ROOT / "optimizer").glob("*.py"))),  # all of it
    "agents/outlook.py",
    *(f"agents/{name}.py" for name in ("plan_classes", "plan_delivered", "plan_placing", "plan_warm", "planning")),
    "agents/failures.py",
    "agents/provisioning.py",
    "agents/warmth.py",
    "agents/windows.py",
    "executors/orders.py",
    "streams/restarts.py",
    "streams/scaling.py",
    "headrace/violations.py",
]


def sources() -> list[Path]:
    packages = [ROOT / name for name in sorted(OURS)]
    return [path for package in packages if package.is_dir() for path in sorted(package.rglob("*.py"))]


def imported(path: Path) -> Iterator[str]:
    """Every module that a file names in an import, wherever it stands in it, with its full name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports by relative path"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def package(name: str) -> str:
    return name.partition(".")[0]


def located(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_in_agents_only_the_worker_of_a_package_imports_it() -> None:
    """A router that looked into forecasts would not be what the simulator runs."""
    drivers = {"forecasting": ("forecast", "outlook"), "optimizer": ("plan",)}
    found = {
        located(path): owner
        for path in sources()
        if path.parent.name == "agents" and path.parent.parent == ROOT
        for owner, names in drivers.items()
        if owner in {package(name) for name in imported(path)} and not path.name.startswith(names)
    }

    assert found == {}


@pytest.mark.parametrize("owner", sorted(ALLOWED))
def test_package_imports_only_what_it_may(owner: str) -> None:
    """streams and registry know nobody above them, and no package of policies knows another."""
    wrong = {
        f"{located(path)} imports {name}"
        for path in sources()
        if path.relative_to(ROOT).parts[0] == owner
        for name in imported(path)
        if package(name) in OURS and package(name) not in ALLOWED[owner]
    }

    assert wrong == set()


def test_faust_is_imported_by_agents_alone() -> None:
    """Faust stays behind one package, so that it can be replaced."""
    wrong = {
        f"{located(path)} imports {name}"
        for path in sources()
        if path.relative_to(ROOT).parts[0] not in FAUST_BY
        for name in imported(path)
        if package(name) in FAUST
    }

    assert wrong == set()


@pytest.mark.parametrize("module", PURE)
def test_pure_module_names_no_world(module: str) -> None:
    """Time and chance come in as arguments; nothing pure reads a clock, a file or the environment."""
    wrong = {
        name
        for name in imported(ROOT / module)
        if package(name) in IMPURE or name == "streams.clock.wall_us" or name.startswith("numpy.random")
    }

    assert wrong == set()


def test_files_are_short() -> None:
    """One idea a file; nothing that people must scroll for."""
    long = {located(path): lines for path in sources() if (lines := len(path.read_text().splitlines())) > LINES_MAX}

    assert long == {}
