"""What the planner decided, and from what: records of the topic `plans`.

The snapshot travels with the plan, so that a decision can be made again later.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """An executor that is ready; `held` are its lanes by variant, `failed` what it could not load.

    Units: `memory_mb` millions of bytes for all its lanes; 0 where it did not say.
    """

    name: str
    pool: str
    cores: int
    memory_mb: int = 0
    held: dict[str, int] = {}
    failed: tuple[str, ...] = ()


class PoolNow(msgspec.Struct, frozen=True, kw_only=True):
    """A pool's bounds, and its machines that boot or are ready; `cores` each is started with, 0 if unknown."""

    pool: str
    least: int
    most: int
    alive: int
    cores: int = 0


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """One class. Units: queries per second; `near` and `far` are forecasts for the two plans' horizons, `measured` is
    the present level, `backlog` queries that no router has read.
    """

    klass: str
    near: float
    far: float
    measured: float
    backlog: float = 0.0


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All that a plan depends on, beside the registry as it was at that moment.

    `warm`: targets (`task=digits`, `model=m`, `variant=v`) of which a lane runs, asked for or not; None: every task.
    `eta`: by `variant@pool`, learnt share of its nominal capacity that a lane delivers (optimizer/eta.py).
    """

    made_us: int
    hosts: tuple[Host, ...]
    pools: tuple[PoolNow, ...]
    demands: tuple[Demand, ...]
    warm: tuple[str, ...] | None = None
    eta: dict[str, float] = {}


class ClassPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one class: queries per second by variant and pool, what is left, and what binds."""

    klass: str
    demand_qps: float
    unserved_qps: float
    binding: str
    flows: tuple[tuple[str, str, float], ...] = ()


class PlanRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One plan. Key: its epoch as text; the last one is repeated every minute.

    Shapes: `hosts` lanes by executor and variant; `machines` what is ordered by pool, `planned` what the solver wanted,
            `held_back` why they differ; `homeless` lanes that fit on no executor, by kind: they serve nobody.
    `rounds`: solves it took, the later ones with what the first could not place bounded.
    `trigger`: why it was made. `options`: how, for agents.planning.Options.
    """

    epoch: int
    planner: str
    made_us: int
    trigger: str
    snapshot: Snapshot
    options: dict[str, Any]
    hosts: dict[str, dict[str, int]]
    classes: tuple[ClassPlan, ...]
    status: str
    method: str
    objective: float
    accuracy: float
    usd_hour: float
    bound: float | None = None
    gap_usd_hour: float | None = None
    wall_s: float = 0.0
    homeless: dict[str, int] = {}
    rounds: int = 1
    machines: dict[str, int] = {}
    planned: dict[str, int] = {}
    held_back: dict[str, str] = {}


encode_plan = msgspec.json.Encoder().encode
decode_plan = msgspec.json.Decoder(PlanRecord).decode
