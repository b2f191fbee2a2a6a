"""An executor's Prometheus metrics and its ring of batch records."""

from __future__ import annotations

from collections import Counter as Tally
from collections import deque
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

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


class ExecutorMetrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.totals: Tally[str] = Tally()
        self.batches: deque[BatchRecord] = deque(maxlen=RING)
        self._answers = Counter(
            "headrace_executor_answers_total", "Queries by outcome here", ["outcome"], registry=self.registry
        )
        self._size = Histogram(
            "headrace_batch_size", "Queries per batch", ["variant"], buckets=SIZES, registry=self.registry
        )
        self._reason = Counter(
            "headrace_batches_total", "Batches by why they closed", ["variant", "reason"], registry=self.registry
        )
        self._infer = Histogram(
            "headrace_infer_seconds", "Of one batch on its lane", ["variant"], buckets=SECONDS, registry=self.registry
        )
        self._queue = Histogram("headrace_queue_seconds", "Waiting for a lane", buckets=SECONDS, registry=self.registry)
        self.in_flight = Gauge("headrace_executor_in_flight", "Queries taken, not answered", registry=self.registry)
        self.slots = Gauge("headrace_executor_slots", "Partitions owned", registry=self.registry)
        self.resident = Gauge("headrace_executor_variants", "Variants that can run", registry=self.registry)

    def batch(self, record: BatchRecord, *, queue_s: float) -> None:
        """One finished batch; `queue_s` is the longest wait in it."""
        self.batches.append(record)
        self._size.labels(record.variant).observe(record.size)
        self._reason.labels(record.variant, record.reason).inc()
        self._infer.labels(record.variant).observe(record.took_ms / 1_000)
        self._queue.observe(queue_s)

    def count(self, outcomes: Tally[str]) -> None:
        """Add a tally to the counters and empty it."""
        self.totals.update(outcomes)
        for outcome, n in outcomes.items():
            self._answers.labels(outcome).inc(n)
        outcomes.clear()

    def page(self) -> object:
        """What /batches shows: the latest records, newest last."""
        return [record._asdict() for record in list(self.batches)]
