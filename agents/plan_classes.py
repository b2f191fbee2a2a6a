"""From a class's key, as counts and forecasts have it, back to what it requires. Pure."""

from __future__ import annotations

import re
from typing import Literal, cast

from optimizer.serving import Wanted

KEY = re.compile(
    r"^(?P<level>task|model|variant)=(?P<target>.*) slo=(?P<slo>any|[0-9.e+]+) acc=(?P<acc>[0-9.e-]+?)(?:-lower)?"
    r" cost=(?P<cost>any|[0-9.e+-]+) prio=(?P<prio>[0-9])$"
)
OFFLINE = 0  # the priority that waits for idle capacity: nothing is loaded or started for it
PRIORITY_WEIGHT = 0.2  # a class of priority 5 counts once, of priority 9 nearly twice


def wanted_of(klass: str, demand_qps: float) -> Wanted | None:
    """What the planner should serve; None for classes that are not planned for: offline ones, and `other`.

    The SLO is the bucket's, which is at most what was asked for (counts.py).
    """
    found = KEY.match(klass)
    if found is None or int(found["prio"]) == OFFLINE:
        return None
    try:
        return Wanted(
            name=klass, target=found["target"], level=cast("Literal['task', 'model', 'variant']", found["level"]),
            slo_us=None if found["slo"] == "any" else round(float(found["slo"]) * 1_000),
            accuracy_min=float(found["acc"]), cost_max_usd=None if found["cost"] == "any" else float(found["cost"]),
            demand_qps=demand_qps, weight=PRIORITY_WEIGHT * int(found["prio"]),
        )  # fmt: skip
    except ValueError:
        return None
