"""`headrace version`: what is installed, in lines that belong into a bug report."""

from __future__ import annotations

import platform
from importlib import metadata

import typer

LIBRARIES = ("confluent-kafka", "faust-streaming", "onnxruntime", "onnxruntime-gpu", "torch", "msgspec", "numpy")


def version() -> None:
    """Print the versions of Headrace and of what it stands on."""
    typer.echo(f"headrace {metadata.version('headrace')}")
    typer.echo(f"python {platform.python_version()} on {platform.system()} {platform.machine()}")
    for name in LIBRARIES:
        try:
            typer.echo(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            typer.echo(f"{name} not installed")
