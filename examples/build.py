"""`python -m examples.build`: build every example model into a folder, with a progress bar."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from examples.digits import build as digits
from examples.images import build as images
from examples.registering import describe
from examples.store import ModelArtifact, default_out

TASKS = {digits.TASK: digits.build, images.TASK: images.build}


def build_all(out: Path, console: Console) -> list[ModelArtifact]:
    """Every model of both tasks. A second run only checks digests."""
    columns = (TextColumn("{task.description:<42}"), BarColumn(), TimeElapsedColumn())
    built: list[ModelArtifact] = []
    with Progress(*columns, console=console) as bars:
        for task, build in TASKS.items():
            bar = bars.add_task(task, total=1.0)

            def tell(name: str, share: float, bar: TaskID = bar, task: str = task) -> None:
                bars.update(bar, completed=share, description=f"{task}: {name}")

            built += build(out, progress=tell)
            bars.update(bar, description=task)
    return built


def table(built: list[ModelArtifact]) -> Table:
    rows = Table("model", "task", "accuracy", "", "MB (onnx)", box=None)
    for artifact in built:
        model = artifact.model
        size = Path(model.artifacts["onnxruntime"].path).stat().st_size / 1e6
        accuracy = f"{model.accuracy.value:.1%}"
        rows.add_row(model.name, model.task, accuracy, model.accuracy.provenance, f"{size:.2f}")
    return rows


def main(
    out: Annotated[Path | None, typer.Option(help="Folder of the models; default: the user's cache.")] = None,
) -> None:
    """Build the example models: what is there and up to date is kept."""
    started = time.monotonic()
    console, folder = Console(), out or default_out()
    try:
        built = build_all(folder, console)
        describe(folder)
    except ModuleNotFoundError as missing:
        console.print(f"{missing.name} is not installed: pip install 'headrace[examples,onnx,torch]'")
        raise typer.Exit(1) from missing
    console.print(table(built))
    console.print(f"{len(built)} models in {folder}, {time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    typer.run(main)
