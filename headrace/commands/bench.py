"""`headrace bench NAME`: run one of the benchmarks in `benchmarks/`."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path
from typing import Annotated

import typer

import benchmarks
from headrace import logs
from headrace.options import Level
from streams.errors import BadSettings


def bench(
    name: Annotated[str, typer.Argument(help="Of the benchmark; a wrong one lists all.")],
    as_json: Annotated[bool, typer.Option("--json", help="The last line is one JSON object.")] = False,
    level: Level = "warning",
) -> None:
    """Run one benchmark. Each starts a cluster and processes of its own, and compares within one run."""
    logs.setup(level)
    names = sorted(found.name for found in pkgutil.iter_modules(benchmarks.__path__))
    run = getattr(importlib.import_module(f"benchmarks.{name}"), "main", None) if name in names else None
    if not _is_benchmark(run):
        raise BadSettings(f"no benchmark {name!r}; there are {', '.join(filter(_listed, names))}")
    assert run is not None
    run(as_json=as_json)


def _listed(name: str) -> bool:
    """Read and not imported: to import all of them, and torch for some, takes ten seconds."""
    (folder,) = benchmarks.__path__
    tree = ast.parse((Path(folder) / f"{name}.py").read_text("utf-8"))
    mains = [each for each in tree.body if isinstance(each, ast.FunctionDef) and each.name == "main"]
    return any(argument.arg == "as_json" for main in mains for argument in (*main.args.args, *main.args.kwonlyargs))


def _is_benchmark(run: object) -> bool:
    """Other modules of the package have a `main` of their own, for the processes that benchmarks start."""
    return callable(run) and "as_json" in inspect.signature(run).parameters
