"""The menu of the demo's two tasks: how many ways to run their models hold, and what reduced precision costs.

Digits are judged on the half of the set that no model was trained on, less 100 items that int8 ranges were found on.
EfficientNet-Lite has no validation set here: its copies are compared with fp32 on crops of two photographs that come
with scikit-learn. Entries that an earlier run left in the cache are looked up (`looked_up`); `seconds` is this run's.
"""

from __future__ import annotations

import collections
import json
import tempfile
import time
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks import prediction
from benchmarks.report import machine
from examples.build import build_all
from examples.digits import build as digits
from examples.digits.data import held_out
from executors.profiling_plan import Item
from headrace.variants.folder import default_out, evidence_for
from headrace.variants.generating import Generated, generate_variants
from registry.records import Model


def run(console: Console) -> dict[str, Any]:
    models = [each.model for each in build_all(_models(), console)]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        validation = Path(scratch) / "digits.npz"
        x, y = held_out()
        np.savez(validation, x=x, y=y)
        made = _generated(models, validation, console)
    found = {**figures(models, made), "seconds": round(time.monotonic() - began, 1)}
    by_name = {model.name: model for model in models}
    items = [Item(variant=v, model=by_name[v.model]) for each in made.values() for v in each.variants]
    return {**found, **prediction.figures(items, tell=lambda line: console.print(line, highlight=False))}


def figures(models: Sequence[Model], made: dict[str, Generated]) -> dict[str, Any]:
    """What came out, counted.

    `int8_drop` is accuracy lost against fp32 on the same items, at most and in the mean; negative: gained.
    `differs_from_fp32`, where nothing is labelled: the share of crops with another top answer, a bound and no drop.
    """
    tasks = {model.name: model.task for model in models}
    published = {model.name: model.accuracy.value for model in models}
    variants = [variant for each in made.values() for variant in each.variants]
    refused = [refusal for each in made.values() for refusal in each.refused]
    labelled = [variant for variant in variants if tasks[variant.model] == digits.TASK]
    measured = [each for each in labelled if each.accuracy is not None and each.accuracy.provenance == "measured"]
    return {
        "variants": len(variants),
        "refused": len(refused),
        "accuracy_measured": f"{len(measured)} of {len(labelled)} digit variants",
        "accuracy_n": sorted({each.accuracy.n for each in measured if each.accuracy is not None}),
        "int8_drop": {each: _drop(made.values(), each) for each in ("int8-static", "int8-dynamic")},
        "bf16_drop": _drop(made.values(), "bf16"),
        "differs_from_fp32": {
            variant.name: round(published[variant.model] - variant.accuracy.value, 4)
            for variant in variants
            if variant.accuracy is not None and variant.accuracy.provenance == "published" and variant.width == 1
        },
        "variants_by_way": dict(collections.Counter(_way(each.name) for each in variants)),
        "variants_by_width": dict(collections.Counter(each.width for each in variants)),
        "refused_by_stage": dict(collections.Counter(each.stage for each in refused)),
        "refused_by_way": dict(collections.Counter(_way(each.variant) for each in refused)),
        "looked_up": len(variants) + len(refused) - sum(each.ran for each in made.values()),
    }


def _drop(made: Iterable[Generated], precision: str) -> dict[str, float]:
    lost = [drop for each in made for name, drop in each.drops.items() if f"-{precision}" in name]
    return {"max": round(max(lost), 4), "mean": round(sum(lost) / len(lost), 4)} if lost else {}


def _way(variant: str) -> str:
    way = variant.partition("/")[2]
    head, _, tail = way.rpartition("-")
    return head if tail.startswith("w") and tail[1:].isdigit() else way


def _generated(models: Iterable[Model], validation: Path, console: Console) -> dict[str, Generated]:
    spec = find_spec("sklearn")
    assert spec is not None
    assert spec.origin is not None
    photographs = Path(spec.origin).parent / "datasets" / "images"
    made: dict[str, Generated] = {}
    every = list(models)
    with Progress(TextColumn("{task.description:<48}"), BarColumn(), TimeElapsedColumn(), console=console) as bars:
        bar = bars.add_task("", total=len(every))
        for done, model in enumerate(every):

            def tell(name: str, share: float, done: int = done) -> None:
                bars.update(bar, completed=done + share, description=name)

            labelled = model.task == digits.TASK
            items = evidence_for(model, validation if labelled else None, None if labelled else photographs)
            made[model.name] = generate_variants(model, out=default_out(), items=items, tell=tell)
    return made


def _models() -> Path:
    from examples.store import default_out as models

    return models()


def main(*, as_json: bool) -> None:
    """Needs no broker. The predictor's figures are of variants drawn from the published ones, see `prediction.py`."""
    console = Console(stderr=True)
    found = run(console)
    if as_json:
        print(json.dumps({"benchmark": "variants", **found, "machine": machine()}), flush=True)
        return
    table = Table("figure", "value", title="variants")
    for name, value in found.items():
        table.add_row(name, str(value))
    Console().print(table)
