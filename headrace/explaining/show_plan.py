"""A plan explained, as text and tables for people. Pure but for the time that it is given."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from headrace.explaining.plan import Alternative, ClassExplained, PlanExplained
from streams.plans import PlanRecord

SHOWN_MAX = 20  # variants of a class that were not taken
DIFFERENCES_MAX = 10
OLD_S = 150.0  # a plan that holds is repeated every minute
STATUS = {
    "optimal": "proven the best",
    "feasible": "the best found in its time",
    "greedy": "by the rule of thumb: no solver had found better",
    "hint": "what was held was not beaten",
    "kept": "what was held was kept: nothing else was worth a change",
    "infeasible": "its bounds contradict each other, so it is empty",
}


def rendered(found: PlanExplained, *, now_us: int, planner: bool) -> RenderableType:
    """Everything, from the plan as a whole to what did not serve which class."""
    return Group(*_parts(found, now_us=now_us, planner=planner))


def _parts(found: PlanExplained, *, now_us: int, planner: bool) -> Iterator[RenderableType]:
    record = found.plan
    yield from _head(record, now_us, planner=planner)
    yield from _replay(found)
    yield Text()
    if not found.classes:
        yield Text("nobody asked for anything")
    else:
        yield _demand(found)
    if found.offline:
        yield Text(f"not planned for (priority 0, or not a class that is known): {', '.join(found.offline)}")
    yield Text()
    yield _lanes(record)
    if record.homeless:
        held = ", ".join(f"{kind} x{count}" for kind, count in sorted(record.homeless.items()))
        yield Text(f"fit the pool in sum and no executor: {held}")
    if record.machines or record.planned:
        yield Text()
        yield _machines(record)
    yield Text()
    yield from _next_best(found)
    for each in found.classes:
        yield Text()
        yield from _class(each)


def _head(record: PlanRecord, now_us: int, *, planner: bool) -> Iterator[Text]:
    made = datetime.fromtimestamp(record.made_us / 1e6, UTC)
    age_s = (now_us - record.made_us) / 1e6
    yield Text(f"plan {record.epoch}", style="bold") + Text(
        f", made {made:%Y-%m-%d %H:%M:%S} UTC ({_ago(age_s)}) by {record.planner}", style="not bold"
    )
    yield Text(f"why then: {record.trigger}")
    gap = "unknown" if record.gap_usd_hour is None else f"${max(0.0, round(record.gap_usd_hour, 6)):.4g} an hour"
    yield Text(
        f"{record.status}: {STATUS.get(record.status, record.status)}; method {record.method}, gap {gap}, "
        f"{record.wall_s:.3f} s in {record.rounds} round{'s' if record.rounds > 1 else ''}"
    )
    yield Text(
        f"accuracy served {record.accuracy:.2%}, ${record.usd_hour:.4g} an hour, objective {record.objective:.4f} "
        f"(preset {record.options.get('preset', '?')})"
    )
    if not planner:
        yield Text("no planner is heard now: nobody makes or repeats plans", style="yellow")
    elif age_s > OLD_S:
        yield Text(f"it has stood for {_span(age_s)}: nothing has given a reason for another")


def _replay(found: PlanExplained) -> Iterator[Text]:
    same = "the same shares" if found.plan.status == "kept" else "the same lanes"
    if not found.replay:
        yield Text(f"replay: made again from its snapshot and today's registry, it gives {same}")
        return
    yield Text("replay: made again from its snapshot and today's registry, it differs (the registry may have changed,")
    yield Text("or the solver's time ended elsewhere):")
    for line in found.replay[:DIFFERENCES_MAX]:
        yield Text(f"  {line}")
    if len(found.replay) > DIFFERENCES_MAX:
        yield Text(f"  and {len(found.replay) - DIFFERENCES_MAX} more")


def _demand(found: PlanExplained) -> Table:
    table = _table("demand, queries a second", "class", "forecast", "measured", "backlog", "planned for", "unserved")
    for each in found.classes:
        table.add_row(
            each.klass, f"{each.near:.1f}", f"{each.measured:.1f}", f"{each.backlog:.0f}", f"{each.demand_qps:.1f}",
            f"{each.unserved_qps:.1f}" if each.unserved_qps > 0 else "-",
        )  # fmt: skip
    return table


def _lanes(record: PlanRecord) -> Table:
    table = _table("lanes", "executor", "pool", "cores", "holds")
    where = {host.name: host for host in record.snapshot.hosts}
    for name, held in sorted(record.hosts.items()):
        host = where.get(name)
        before = host.held if host is not None else {}
        lanes = [
            f"{variant} x{count}{_moved(count, before.get(variant, 0))}" for variant, count in sorted(held.items())
        ]
        gone = [f"{variant} goes" for variant in sorted(before.keys() - held.keys())]
        table.add_row(
            name, host.pool if host else "?", str(host.cores) if host else "?", ", ".join(lanes + gone) or "nothing"
        )  # fmt: skip
    if not record.hosts:
        table.add_row("no executor is there", "", "", "")
    return table


def _moved(count: int, before: int) -> str:
    return "" if count == before else " (new)" if before == 0 else f" (was x{before})"


def _machines(record: PlanRecord) -> Table:
    table = _table("machines", "pool", "there", "least", "most", "wanted", "ordered", "held back by")
    pools = {pool.pool: pool for pool in record.snapshot.pools}
    for name in sorted(pools.keys() | record.machines.keys() | record.planned.keys()):
        pool = pools.get(name)
        now = ("?", "?", "?") if pool is None else (str(pool.alive), str(pool.least), str(pool.most))
        table.add_row(
            name, *now, str(record.planned.get(name, "-")), str(record.machines.get(name, "-")),
            record.held_back.get(name, ""),
        )  # fmt: skip
    return table


def _next_best(found: PlanExplained) -> Iterator[RenderableType]:
    if not found.alternatives:
        yield Text("next best: there is none, for no variant was chosen")
        return
    best = found.alternatives[0]
    yield Text(f"next best plan: the one without {best.without}: {_costs(best)}", style="bold")
    held = ", ".join(f"{variant} x{count}" for variant, count in best.lanes.items()) or "nothing"
    yield Text(f"  it would hold {held}")
    if len(found.alternatives) > 1:
        table = _table("", "without", "accuracy, points", "unserved a second")
        for each in found.alternatives:
            table.add_row(each.without, f"{each.accuracy_pp:+.2f}", f"{each.unserved_qps:+.1f}")
        yield table
    if found.left_out:
        yield Text(f"  {found.left_out} more that were chosen were not left out by way of trial")


def _costs(best: Alternative) -> str:
    parts = [f"accuracy {best.accuracy_pp:+.2f} points", f"{best.unserved_qps:+.1f} unserved a second"]
    if best.usd_hour is not None:
        parts.append(f"{'-' if best.usd_hour < 0 else '+'}${abs(best.usd_hour):.4g} an hour for machines")
    return ", ".join(parts)


def _class(each: ClassExplained) -> Iterator[RenderableType]:
    yield Text(each.klass, style="bold")
    flows = ", ".join(f"{qps:.1f}/s to {variant} on {pool}" for variant, pool, qps in each.flows) or "nobody"
    missed = f"; {each.unserved_qps:.1f}/s unserved" if each.unserved_qps > 0 else ""
    yield Text(f"  served by: {flows}{missed}")
    yield Text(f"  bound by {each.words}")
    if not each.not_taken:
        yield Text("  no other variant answers this")
        return
    table = _table("", "  why not", "pool", "accuracy", "")
    for other in each.not_taken[:SHOWN_MAX]:
        table.add_row(f"  {other.variant}", other.pool, f"{other.accuracy:.4g}", f"{other.reason}: {other.why}")
    yield table
    if len(each.not_taken) > SHOWN_MAX:
        yield Text(f"  and {len(each.not_taken) - SHOWN_MAX} more, in --json")


def _table(title: str, *columns: str) -> Table:
    return Table(
        *columns, title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold"
    )  # fmt: skip


def _ago(seconds: float) -> str:
    return f"{_span(seconds)} ago"


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"
