"""The best plans known for the planner's benchmark, from long runs; `python -m benchmarks.planner_known` makes them.

    python -m benchmarks.planner_known [--seconds 12] [--only machines|lanes] [--preset NAME] [--fresh]

`planner_known.json` keeps demand and starting plans of each case with the value of the best plan found, and how long
was searched. A later run only ever improves on what stands there, unless `--fresh`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.planner_cases import (
    BUDGET_SHARE,
    LANES,
    LARGEST,
    MACHINES,
    Case,
    Resident,
    Size,
    calibrated,
    lanes_problem,
    machines_problem,
    settled,
)
from benchmarks.planner_instances import SEED, VECTORS
from optimizer.evaluate import mismatches
from optimizer.plan import Plan
from optimizer.problem import PresetName, Problem
from optimizer.solve import solve

FILE = Path(__file__).with_name("planner_known.json")
PRESETS: tuple[PresetName, ...] = ("cheapest", "balanced", "most-accurate-within-budget")
LANES_SIZES: tuple[Size, ...] = ("270x44", "270x100")


class Known(msgspec.Struct, kw_only=True):
    """One vector's best plan. `seconds`: of the longest search."""

    objective: float
    accuracy: float
    unserved: float
    usd_hour: float
    gap_usd_hour: float | None = None
    gap_accuracy: float | None = None
    seconds: float = 0.0
    budget_usd_hour: float | None = None


class MachinesKnown(msgspec.Struct, kw_only=True):
    case: Case
    vectors: dict[str, Known] = {}


class LanesKnown(msgspec.Struct, kw_only=True):
    now: Resident
    vectors: dict[str, Known] = {}


class Book(msgspec.Struct, kw_only=True):
    """The file. Keys: `size/preset/machines`, `size/machines`; vectors by number."""

    seed: int = SEED
    made: str = ""
    machines: dict[str, MachinesKnown] = {}
    lanes: dict[str, LanesKnown] = {}


def load() -> Book:
    return msgspec.json.decode(FILE.read_bytes(), type=Book)


def save(book: Book) -> None:
    plain = msgspec.json.decode(msgspec.json.encode(book))
    lines = [f'{{"seed": {book.seed}, "made": {json.dumps(book.made)}']
    for part in ("machines", "lanes"):
        entries = [f"{json.dumps(key)}: {json.dumps(_rounded(entry))}" for key, entry in plain[part].items()]
        lines.append(f', "{part}": {{\n' + ",\n".join(entries) + "}")
    FILE.write_text("\n".join([*lines, "}"]) + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    """To ten digits, which is more than plans are compared at, and without what is not known."""
    if isinstance(value, float):
        return float(f"{value:.10g}")
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items() if inner is not None}
    return [_rounded(inner) for inner in value] if isinstance(value, list) else value


def improved(old: Known | None, plan: Plan, problem: Problem, seconds: float) -> Known:
    """The better of what was known and this plan. Raises: AssertionError on a plan that does not hold."""
    wrong = mismatches(plan, problem)
    assert not wrong, wrong
    terms = plan.terms
    new = Known(
        objective=terms.objective, accuracy=terms.accuracy, unserved=terms.unserved, usd_hour=terms.usd_hour,
        gap_usd_hour=plan.gap_usd_hour, gap_accuracy=plan.gap_accuracy, seconds=seconds,
        budget_usd_hour=problem.budget_usd_hour,
    )  # fmt: skip
    if old is None or new.unserved < old.unserved - 1e-7:
        return new
    better = new.objective > old.objective and new.unserved <= old.unserved + 1e-7
    kept = new if better else old
    kept.seconds = max(seconds, old.seconds)
    return kept


def search_machines(
    book: Book, seconds: float, sizes: dict[Size, tuple[int, ...]], presets: Sequence[PresetName] = PRESETS
) -> None:
    for size, fleets in sizes.items():
        for machines in fleets:
            for preset in presets:
                _machines(book, size, preset, machines, seconds)


def _machines(book: Book, size: Size, preset: PresetName, machines: int, seconds: float) -> None:
    key = f"{size}/{preset}/{machines}"
    if key not in book.machines:
        cheap = book.machines.get(f"{size}/cheapest/{machines}")
        if preset == "most-accurate-within-budget":
            assert cheap is not None
            case = msgspec.structs.replace(cheap.case, preset=preset)
        else:
            case = calibrated(size, preset, machines)
        book.machines[key] = MachinesKnown(case=case)
    entry = book.machines[key]
    for vector in range(VECTORS):
        budget = None
        if preset == "most-accurate-within-budget":
            cheapest = book.machines[f"{size}/cheapest/{machines}"].vectors[str(vector)]
            old = entry.vectors.get(str(vector))
            budget = old.budget_usd_hour if old is not None else None
            if budget is None:
                dearest = sum(p.usd_hour * p.machines_max for p in machines_problem(entry.case, None).pools)
                budget = round(cheapest.usd_hour + BUDGET_SHARE * (dearest - cheapest.usd_hour), 4)
        asked = machines_problem(entry.case, vector, budget_usd_hour=budget)
        _note(entry.vectors, vector, asked, seconds, key)
        save(book)


def search_lanes(book: Book, seconds: float) -> None:
    for size in LANES_SIZES:
        for machines in LANES:
            key = f"{size}/{machines}"
            if key not in book.lanes:
                case = calibrated(size, "balanced", machines)
                book.lanes[key] = LanesKnown(now=settled(size, machines, case.total_qps, seconds=3.0))
            entry = book.lanes[key]
            for vector in range(VECTORS):
                _note(entry.vectors, vector, lanes_problem(entry.now, vector), seconds, key)
                save(book)


def _note(known: dict[str, Known], vector: int, asked: Problem, seconds: float, key: str) -> None:
    plan = solve(asked, budget_s=seconds, clock=time.monotonic)
    known[str(vector)] = improved(known.get(str(vector)), plan, asked, seconds)
    print(f"{key} {vector}: {plan.terms} gap ${plan.gap_usd_hour} {plan.status} {plan.wall_s:.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--only", choices=["machines", "lanes"])
    parser.add_argument("--preset", choices=PRESETS)
    parser.add_argument("--fresh", action="store_true")
    arguments = parser.parse_args()
    book = Book() if arguments.fresh or not FILE.exists() else load()
    if arguments.only != "lanes":
        largest = f"270x44/cheapest/{LARGEST}"
        if largest not in book.machines:
            book.machines[largest] = MachinesKnown(case=calibrated("270x44", "cheapest", LARGEST))
        presets = [arguments.preset] if arguments.preset else list(PRESETS)
        search_machines(book, arguments.seconds, {"30x12": (3, 10, 30), "270x44": MACHINES}, presets)
    if arguments.only != "machines":
        search_lanes(book, arguments.seconds)


if __name__ == "__main__":
    main()
