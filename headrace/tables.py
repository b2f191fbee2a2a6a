"""Tables of `headrace status`, from plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rich.table import Table

from headrace.lag import Lag
from headrace.listen import Heard
from headrace.state import Process
from registry.catalog import Catalog
from registry.records import EMULATED
from streams.clock import to_ms, wall_us
from streams.records import Telemetry


def processes(found: Iterable[Process]) -> Table:
    table = _table("processes here", "name", "pid", "state", "restarts", "port")
    for process in found:
        state = "given up" if process.given_up else "alive" if process.alive else "down"
        table.add_row(process.name, _or_dash(process.pid), state, str(process.restarts), _or_dash(process.port))
    return table


def fleet(heard: Heard) -> Table:
    """Executors by name, then routers; the age is that of the last word, by the clocks of both machines.

    `drift` is how many times its profile's time the slowest lane takes.
    """
    table = _table(
        "fleet", "name", "pool", "state", "slots", "variants", "queued", "running", "busy ms", "drift", "age ms"
    )
    for name, telemetry in sorted(heard.executors.items()):
        if telemetry.state == "gone":
            continue
        lanes = str(len({lane.variant for lane in telemetry.lanes}))
        queued, running = (sum(getattr(lane, field) for lane in telemetry.lanes) for field in ("queued", "running"))
        table.add_row(
            name, telemetry.pool, telemetry.state, _slots(telemetry), lanes, str(queued), str(running),
            f"{to_ms(telemetry.busy_us):.0f}", _drift(telemetry), _age(telemetry.sent_us),
        )  # fmt: skip
    for name, report in sorted(heard.routers.items()):
        if report.state != "gone":
            table.add_row(name, "router", report.state, "", "", "", "", "", "", _age(report.sent_us))
    for name, planner in sorted(heard.planners.items()):
        state = "leads" if planner.leads else "stands by"
        table.add_row(name, "planner", f"{state}, epoch {planner.epoch}", *[""] * 6, _age(planner.sent_us))
    return table


def pools(heard: Heard) -> Table:
    """Pools that have a provisioner, and their machines."""
    table = _table("machines", "pool", "wanted", "ready", "booting", "draining", "least", "most", "epoch", "state")
    for name, report in sorted(heard.pools.items()):
        counts = (report.wanted, report.ready, report.booting, report.draining, report.least, report.most, report.epoch)
        table.add_row(name, *map(str, counts), "failing" if report.failing else "")
    return table


def lag(behind: Iterable[Lag]) -> Table:
    table = _table("lag", "group", "topic", "behind", "records so far")
    for row in behind:
        table.add_row(row.group, row.topic, str(row.behind), str(row.end))
    return table


def catalogue(catalog: Catalog, heard: Heard) -> Table:
    """Variants by task and rising accuracy, and on how many executors each is resident."""
    table = _table("catalogue", "variant", "task", "pool", "accuracy", "source", "p50 ms", "USD / 1,000", "resident")
    resident = Counter(
        (lane.variant, telemetry.pool)
        for telemetry in heard.executors.values()
        if telemetry.state == "ready"
        for lane in telemetry.lanes
    )
    offers = {(offer.variant, offer.pool): offer for offer in catalog.offers()}
    rows = []
    for variant in catalog.variants.values():
        model = catalog.versions.model_of(variant)
        if model is None:
            continue
        for pool in catalog.pools.values():
            if pool.hardware != variant.hardware:
                continue
            offer = offers.get((variant.name, pool.name))
            without = "no profile" if catalog.serves(variant) else catalog.versions.role_of(variant).value
            figures = (f"{to_ms(offer.latency.p50_us[1]):.2f}", f"{offer.cost_usd:.2g}") if offer else (without, "")
            known = variant.accuracy or model.accuracy
            accuracy = (f"{known.value:.1%}", EMULATED if variant.framework == EMULATED else known.provenance)
            count = str(resident[variant.name, pool.name])
            row = (variant.name, model.task, pool.name, *accuracy, *figures, count)
            rows.append((model.task, known.value, row))
    for *_order, row in sorted(rows):
        table.add_row(*row)
    return table


def _table(title: str, *columns: str) -> Table:
    return Table(*columns, title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")


def _slots(telemetry: Telemetry) -> str:
    if len(telemetry.slots) > 4:
        return f"{telemetry.slots[0]} + {len(telemetry.slots) - 1}"
    return ", ".join(map(str, telemetry.slots)) or "-"


def _drift(telemetry: Telemetry) -> str:
    """Of the lane that runs slowest beside its profile; with a question mark where that is old."""
    worst = max(telemetry.lanes, key=lambda lane: lane.drift, default=None)
    return "-" if worst is None else f"{worst.drift:.2f}{'?' if worst.doubt else ''}"


def _age(sent_us: int) -> str:
    return f"{to_ms(wall_us() - sent_us):.0f}"


def _or_dash(value: int | None) -> str:
    return str(value) if value else "-"
