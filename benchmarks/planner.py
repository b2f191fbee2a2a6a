"""The planner against its deadlines: exact where it can be enumerated, close to the best known where it cannot.

Exactness: INFaaS's table, 500 random small problems and InfAdapter's allocations, each beside its enumeration; every
plan of the whole run is recomputed by `evaluate`. Lanes plans at 0.2, 0.5 and 1 s and machines plans at 1 and 2 s,
model building included, on one thread, beside the best plans known from long runs (planner_known.py). No broker.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.planner_cases import LANES, LARGEST, MACHINES, lanes_problem, machines_problem
from benchmarks.planner_exact import BETAS, LOADS, best_allocation, enumerated, golden, infadapter, small
from benchmarks.planner_known import LANES_SIZES, Book, Known, load
from benchmarks.report import machine
from optimizer.evaluate import mismatches
from optimizer.plan import Plan
from optimizer.problem import Problem
from optimizer.solve import solve

BRUTE_FORCE = 500
SMALL_FLEETS = (3, 10, 30)
LANES_FIRST_S = {"270x44": 0.2, "270x100": 0.5}
LANES_S, MACHINES_S, SMALL_S, LARGEST_S, EXACT_S = 1.0, 2.0, 1.0, 1.0, 5.0
SAME = 1e-6
Step = Callable[[], None]


class Bench:
    """Solves, and counts the plans whose own account is wrong."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.plans = 0

    def solve(self, problem: Problem, seconds: float) -> Plan:
        plan = solve(problem, budget_s=seconds, clock=time.monotonic)
        self.plans += 1
        if plan.status != "infeasible":
            self.wrong += mismatches(plan, problem)[:1]
        return plan


def exactness(bench: Bench, step: Step) -> dict[str, Any]:
    """Mismatches against enumeration; all must be 0."""
    wrong_golden = 0
    for load_qps, slo_ms, plan in ((10, 300, (2, 0, 0)), (10, 50, (0, 1, 0)), (1000, 300, (0, 2, 1))):
        for real in (False, True):
            found = bench.solve(golden(load_qps, slo_ms, real=real), EXACT_S)
            wrong_golden += found.machines != plan or found.lanes != plan
    step()
    wrong_small = 0
    for seed in range(BRUTE_FORCE):
        problem = small(np.random.default_rng(seed))
        wanted, found = enumerated(problem), bench.solve(problem, EXACT_S)
        if wanted is None or found.status == "infeasible":
            wrong_small += (wanted is None) != (found.status == "infeasible")
        else:
            wrong_small += abs(wanted.unserved - found.terms.unserved) > SAME
            wrong_small += abs(wanted.objective - found.terms.objective) > 10 * SAME
        if seed % 50 == 49:
            step()
    wrong_cores = 0
    for beta in BETAS:
        for load_qps in LOADS:
            found = bench.solve(infadapter(load_qps, beta), EXACT_S)
            wrong_cores += abs(found.terms.objective - best_allocation(load_qps, beta)) > SAME
        step()
    return {
        "golden_mismatches": int(wrong_golden),
        "bruteforce_mismatches": int(wrong_small),
        "infadapter_mismatches": int(wrong_cores),
    }


def lanes(bench: Bench, book: Book, step: Step) -> dict[str, Any]:
    """Excess over the least unserved at the first deadline, accuracy below the best known at one second."""
    excess: dict[str, list[float]] = {size: [] for size in LANES_SIZES}
    below: list[float] = []
    late: list[float] = []
    for size in LANES_SIZES:
        for fleet in LANES:
            entry = book.lanes[f"{size}/{fleet}"]
            for vector, known in entry.vectors.items():
                problem = lanes_problem(entry.now, int(vector))
                first = bench.solve(problem, LANES_FIRST_S[size])
                excess[size].append(max(0.0, first.terms.unserved - known.unserved))
                late.append(first.wall_s - LANES_FIRST_S[size])
                second = bench.solve(problem, LANES_S)
                below.append(100 * (known.accuracy - second.terms.accuracy))
            step()
    return {
        "lanes_unserved_excess_200ms": _share(max(excess["270x44"])),
        "lanes_unserved_excess_500ms": _share(max(excess["270x100"])),
        "lanes_accuracy_below_best_pp_p50": round(float(np.quantile(np.maximum(0.0, below), 0.5)), 3),
        "lanes_accuracy_below_best_pp_p95": round(float(np.quantile(np.maximum(0.0, below), 0.95)), 3),
        "lanes_cases": len(below),
        "lanes_late_ms_p95": round(1000 * float(np.quantile(late, 0.95)), 1),
    }


def machines(bench: Bench, book: Book, step: Step) -> dict[str, Any]:
    """Cost, objective and accuracy against the best known, proven gaps, and one large fleet."""
    above: dict[str, list[float]] = {"cheapest": [], "balanced": [], "most-accurate-within-budget": []}
    gaps: list[float] = []
    excess = 0.0
    late: list[float] = []
    for preset, found in above.items():
        for fleet in MACHINES:
            entry = book.machines[f"270x44/{preset}/{fleet}"]
            for vector, known in entry.vectors.items():
                problem = machines_problem(entry.case, int(vector), budget_usd_hour=known.budget_usd_hour)
                plan = bench.solve(problem, MACHINES_S)
                late.append(plan.wall_s - MACHINES_S)
                excess = max(excess, plan.terms.unserved - known.unserved)
                found.append(_worse(preset, plan, known, problem))
                if preset == "cheapest":
                    gaps.append(1.0 if plan.gap is None else plan.gap)
            step()
    proven: list[bool] = []
    for fleet in SMALL_FLEETS:
        entry = book.machines[f"30x12/cheapest/{fleet}"]
        plans = [bench.solve(machines_problem(entry.case, int(vector)), SMALL_S) for vector in entry.vectors]
        proven += [plan.status == "optimal" for plan in plans]
    step()
    large = machines_problem(book.machines[f"270x44/cheapest/{LARGEST}"].case, None)
    plan = bench.solve(large, LARGEST_S)
    accurate = above["most-accurate-within-budget"]
    return {
        "cheapest_above_best_p95": round(float(np.quantile(above["cheapest"], 0.95)), 4),
        "cheapest_gap_max": round(max(gaps), 4),
        "balanced_above_best_p95": round(float(np.quantile(above["balanced"], 0.95)), 4),
        "accurate_below_best_pp": round(max(accurate), 3),
        "accurate_below_best_pp_p95": round(float(np.quantile(accurate, 0.95)), 3),
        "machines_unserved_excess": _share(excess),
        "machines_late_ms_p95": round(1000 * float(np.quantile(late, 0.95)), 1),
        "small_cheapest_proven_share": sum(proven) / len(proven),
        "s_10000_machines": round(plan.wall_s, 3),
        "gap_10000_machines": 1.0 if plan.gap is None else round(plan.gap, 5),
        "machines_10000": sum(plan.machines),
        "unserved_10000_machines": _share(plan.terms.unserved),
    }


def main(*, as_json: bool) -> None:
    """Everything; some nine minutes."""
    bench, book, begun_s = Bench(), load(), time.monotonic()
    steps = 14 + len(LANES_SIZES) * len(LANES) + 3 * len(MACHINES) + 1
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("planner", total=steps)
        figures: dict[str, Any] = {}
        step = partial(progress.advance, bar)
        figures |= exactness(bench, step)
        figures |= lanes(bench, book, step)
        figures |= machines(bench, book, step)
    figures["evaluate_mismatches"] = len(bench.wrong)
    figures |= {"plans": bench.plans, "wall_s": round(time.monotonic() - begun_s, 1)}
    console = Console(stderr=as_json)
    for words in bench.wrong[:10]:
        console.print(words)
    table = Table("figure", "value", title="planner")
    for name, value in figures.items():
        table.add_row(name, str(value))
    console.print(table)
    if as_json:
        about = {**machine(), "ortools": version("ortools")}
        print(json.dumps({"benchmark": "planner", **figures, "machine": about}), flush=True)


def _worse(preset: str, plan: Plan, known: Known, problem: Problem) -> float:
    """How much worse than the best known: share of dollars, or points of accuracy; 0 where it is better."""
    if preset == "cheapest":
        return max(0.0, plan.terms.usd_hour / known.usd_hour - 1.0)
    if preset == "balanced":
        lost = known.objective - plan.terms.objective
        return max(0.0, lost * problem.money_ref / problem.weights.beta / known.usd_hour)
    return max(0.0, 100 * (known.accuracy - plan.terms.accuracy))


def _share(value: float) -> float:
    """Shares below a ten-millionth are rounding of whole units."""
    return 0.0 if value <= SAME / 10 else round(value, 6)
