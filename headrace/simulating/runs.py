"""Policies times seeds, in processes beside each other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from headrace.simulating.file import read
from simulator.scores import Score
from simulator.world import World

FIGURES = ("violations", "accuracy", "usd_hour", "cores", "lost")

Runs = Mapping[str, Sequence[tuple[Score, Mapping[str, int]]]]


def run_all(
    path: Path, policies: Sequence[str], seeds: Sequence[int], *, processes: int | None,
    tell: Callable[[int], None] = lambda _done: None,
) -> Runs:  # fmt: skip
    """Scores and codes of every run, by policy, in the order of the seeds. Raises: what `World` and the file raise."""
    places = [(policy, seed) for policy in policies for seed in seeds]
    found: dict[tuple[str, int], tuple[Score, Mapping[str, int]]] = {}
    count = min(len(places), processes or len(os.sched_getaffinity(0)))
    if count == 1:
        for place in places:
            found[place] = run_one(path, *place)
            tell(len(found))
    else:
        with ProcessPoolExecutor(count) as pool:
            futures = {pool.submit(run_one, path, *place): place for place in places}
            for future in as_completed(futures):
                found[futures[future]] = future.result()
                tell(len(found))
    return {policy: [found[policy, seed] for seed in seeds] for policy in policies}


def run_one(path: Path, policy: str, seed: int) -> tuple[Score, Mapping[str, int]]:
    """One policy and seed; the load is the seed's, the same for every policy."""
    scenario = read(path)
    scene = scenario.scene(seed=seed)
    ran = World(scenario.setup(policy, scene), scene, seed=seed).run()
    return ran.score, ran.codes


def summary(runs: Runs) -> Iterator[tuple[str, dict[str, Any]]]:
    """By policy: the mean and the extremes of each figure over the seeds."""
    for policy, each in runs.items():
        row: dict[str, Any] = {"seeds": len(each), "queries": sum(score.queries for score, _ in each)}
        for figure in FIGURES:
            values = np.array([getattr(score, figure) for score, _ in each], dtype=np.float64)
            row |= {figure: float(values.mean()), f"{figure}_low": values.min(), f"{figure}_high": values.max()}
        codes: dict[str, int] = {}
        for _, some in each:
            for code, n in some.items():
                codes[code] = codes.get(code, 0) + n
        yield policy, {**row, "codes": codes}
