"""An executor's Prometheus metrics and its ring of batch records.

A batch is counted in plain lists and made into metrics when someone asks: the client's own histograms take a lock and
a walk for each value, which for batches of one was a tenth of a query's cost.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Tally
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

RING = 1_000  # batch records kept for /batches
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class BatchRecord(NamedTuple):
    """One batch: how large, why it closed, and what the tightest deadline had left. Units: milliseconds."""

    variant: str
    size: int
    target: int
    reason: str
    slack_ms: float | None
    took_ms: float


class Buckets:
    """Counts of values up to each bound, and their sum."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def into(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        names = [*map(str, map(float, self._bounds)), "+Inf"]
        family.add_metric(labels, list(zip(names, accumulate(self._counts), strict=True)), self._sum)


class _Variant:
    """What is counted of one variant's batches."""

    __slots__ = ("infer", "reasons", "sizes")

    def __init__(self) -> None:
        self.sizes, self.infer = Buckets(SIZES), Buckets(SECONDS)
        self.reasons: Tally[str] = Tally()


class ExecutorMetrics(Collector):
    """`totals` counts queries by how they ended here; who ends them adds to it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.totals: Tally[str] = Tally()
        self.batches: deque[BatchRecord] = deque(maxlen=RING)
        self._variants: dict[str, _Variant] = {}
        self._queue = Buckets(SECONDS)
        self.in_flight = Gauge("headrace_executor_in_flight", "Queries taken, not answered", registry=self.registry)
        self.slots = Gauge("headrace_executor_slots", "Partitions owned", registry=self.registry)
        self.resident = Gauge("headrace_executor_variants", "Variants that can run", registry=self.registry)
        self.drift = Gauge(
            "headrace_executor_drift", "Measured over profiled time of a batch", ["variant"], registry=self.registry
        )
        self.registry.register(self)

    def batch(self, record: BatchRecord, *, queue_s: float) -> None:
        """One finished batch; `queue_s` is the longest wait in it."""
        self.batches.append(record)
        known = self._variants.get(record.variant)
        if known is None:
            known = self._variants[record.variant] = _Variant()
        known.sizes.add(record.size)
        known.infer.add(record.took_ms / 1_000)
        known.reasons[record.reason] += 1
        self._queue.add(queue_s)

    def collect(self) -> Iterator[Metric]:
        """What is counted, in Prometheus' words; called by the thread that serves them."""
        answers = CounterMetricFamily("headrace_executor_answers", "Queries by outcome here", labels=["outcome"])
        for outcome, count in dict(self.totals).items():
            answers.add_metric([outcome], count)
        sizes = HistogramMetricFamily("headrace_batch_size", "Queries per batch", labels=["variant"])
        reasons = CounterMetricFamily("headrace_batches", "Batches by why they closed", labels=["variant", "reason"])
        infer = HistogramMetricFamily("headrace_infer_seconds", "Of one batch on its lane", labels=["variant"])
        queue = HistogramMetricFamily("headrace_queue_seconds", "Waiting for a lane", labels=[])
        for name, known in dict(self._variants).items():
            known.sizes.into(sizes, [name])
            known.infer.into(infer, [name])
            for reason, count in dict(known.reasons).items():
                reasons.add_metric([name, reason], count)
        self._queue.into(queue, [])
        yield from (answers, sizes, reasons, infer, queue)

    def page(self) -> object:
        """What /batches shows: the latest records, newest last."""
        return [record._asdict() for record in list(self.batches)]
