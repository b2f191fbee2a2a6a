"""What Headrace's own processes say to each other: typed records, as JSON on the wire.

Fields are only ever added, with a default; unknown fields of a newer writer are ignored.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from streams.contract import Outcome, Style


class Dispatch(msgspec.Struct, frozen=True, omit_defaults=True):
    """The router's decision on one query, in the internal header of a `work.<pool>` record.

    Units: `*_us` are microseconds since the epoch; `cost_max` is USD per 1,000 queries.
    `seq` counts what this router sent to this executor, so that telemetry can say how far it has read.
    """

    query_id: str
    variant: str
    deadline_us: int
    arrived_us: int
    reply_topic: str
    router: str = ""
    seq: int = 0
    reply_partition: int = -1
    correlation: bytes | None = None
    style: Style = Style.PLAIN
    content_type: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    attempt: int = 1
    marked: bool = False
    late_ok: bool = False
    missed: str | None = None
    keep: bool = False  # the id was given, so the answer is kept for a repeated query
    origin: int = -1  # the partition of `queries`: equal ids count as repeated only within one


class Return(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A query handed back to `queries` by an executor: its identity, deadline and history go with it."""

    query_id: str
    deadline_us: int
    arrived_us: int
    attempt: int = 2
    marked: bool = True


class LaneReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One resident variant inside an executor.

    `done` (answered in time), `batches` and `busy_us` count since it was loaded: a smaller number means loaded anew.
    Units: `busy_us` of instances that had a batch, together.
    """

    variant: str
    queued: int = 0
    patient: int = 0  # of the queued, those without a deadline to keep: timed ones overtake them
    running: int = 0
    drift: float = 1.0  # measured latency / profiled latency, of the median of the last batches
    sizes: tuple[tuple[int, float], ...] = ()  # by rising batch size: the same of its p99, over `drift`
    doubt: int = 0  # a drift above 1 that 1: no batch has shown for a second, 2: and the last one contradicts
    undecoded: int = 0  # of the queued, payloads that wait for being decoded, or are (photographs; tensors never)
    lanes: int = 0  # instances; 0: as many as the cores can run
    free_us: int = 0  # until one of them is free while all run
    decode_us: int = 0  # after so long one more of them is decoded, on average; 0: none was yet
    done: int = 0
    batches: int = 0
    busy_us: int = 0


class Telemetry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an executor says of itself: at batch starts and at least every heartbeat.

    Units: `busy_us` is a duration from the moment of sending, so that clocks need not agree.
    `received` maps a router's name to the highest `seq` read from it. `epoch` is of the last order taken from
    `scaling` (0: none); `pending` maps variants that are not as it says yet to `loading`, `draining` or `failed: why`.
    `memory_mb`: what all its instances may take together, in millions of bytes; 0: unknown.
    """

    executor: str
    pool: str
    hardware: str = "cpu"
    slots: tuple[int, ...] = ()
    cores: int = 1
    busy_us: int = 0
    lanes: tuple[LaneReport, ...] = ()
    received: dict[str, int] = {}
    state: Literal["starting", "ready", "draining", "gone"] = "ready"
    sent_us: int = 0
    epoch: int = 0
    pending: dict[str, str] = {}
    memory_mb: int = 0


class RouterReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A live router, so that several can divide the executors among themselves."""

    router: str
    sent_us: int = 0
    state: Literal["ready", "gone"] = "ready"
    behind: int = 0  # queries in its partitions that it has not read, and those that wait in it


class PlannerReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A live planner; `epoch` of the last order that it gave or saw."""

    planner: str
    sent_us: int = 0
    epoch: int = 0
    leads: bool = False


class PoolReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a provisioner says of its pool every second. `failing`: machines ended, and the next start must wait.

    `cores`: that each machine is started with; 0: unknown.
    """

    pool: str
    epoch: int = 0
    wanted: int = 0
    booting: int = 0
    ready: int = 0
    draining: int = 0
    least: int = 0
    most: int = 0
    failing: bool = False
    cores: int = 0


class Arrivals(msgspec.Struct, frozen=True, kw_only=True):
    """Queries of one class that one partition received in one second; several records of one second add up.

    `part` of the second had passed when these were counted: below 1, more of them will follow.
    """

    klass: str = msgspec.field(name="class")
    second: int
    partition: int
    count: int
    part: float = 1.0


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """The highest rate that one class is expected to have within each horizon, from `second` on.

    Shapes: `qps`, `loss` and `covered` by horizon and quantile. `loss` is the recent mean pinball loss of what was
            published, in units of `level_qps`; `covered` the recent share that stayed under it; None until scored.
    `backlog`: the class's part of the queries that no router has read yet. `fresh`: counts are coming in.
    """

    klass: str = msgspec.field(name="class")
    second: int
    horizons_s: tuple[int, ...]
    quantiles: tuple[float, ...]
    qps: tuple[tuple[float, ...], ...]
    level_qps: float
    forecaster: str
    loss: tuple[tuple[float | None, ...], ...] = ()
    covered: tuple[tuple[float | None, ...], ...] = ()
    backlog: float = 0.0
    fresh: bool = True


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One terminal answer, before it becomes headers and bytes (answers.py)."""

    query_id: str
    outcome: Outcome
    value: bytes
    reply_topic: str
    reply_partition: int = -1
    correlation: bytes | None = None
    style: Style = Style.PLAIN
    traceparent: str | None = None
    tracestate: str | None = None
    code: str | None = None
    variant: str | None = None
    accuracy: float | None = None
    attempt: int = 1
    latency_us: int = 0
    queue_us: int = 0
    batch: int = 0
    cost_usd: float = 0.0
    missed: str | None = None
    duplicate: bool = False
    claim: str | None = None  # then the value is in the store, and empty here


_encoder = msgspec.json.Encoder()
_dispatch = msgspec.json.Decoder(Dispatch)
_return = msgspec.json.Decoder(Return)
_telemetry = msgspec.json.Decoder(Telemetry)
_router = msgspec.json.Decoder(RouterReport)
_pool = msgspec.json.Decoder(PoolReport)
_planner = msgspec.json.Decoder(PlannerReport)
_forecast = msgspec.json.Decoder(Forecast)
_arrivals = msgspec.json.Decoder(Arrivals)

encode = _encoder.encode
decode_dispatch = _dispatch.decode
decode_return = _return.decode
decode_telemetry = _telemetry.decode
decode_router = _router.decode
decode_pool = _pool.decode
decode_planner = _planner.decode
decode_forecast = _forecast.decode
decode_arrivals = _arrivals.decode
