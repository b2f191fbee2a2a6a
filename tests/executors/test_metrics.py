"""What Prometheus is told of batches, beside what its own client would count."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram

from executors.metrics import RING, SECONDS, SIZES, BatchRecord, ExecutorMetrics

records = st.builds(
    BatchRecord,
    variant=st.sampled_from("ab"),
    size=st.integers(1, 200),
    target=st.just(4),
    reason=st.sampled_from(["full", "frontrun"]),
    slack_ms=st.none(),
    took_ms=st.sampled_from([0.5, 1.0, 1.5, 20_000.0]) | st.floats(0, 20_000),
)


def samples(registry: CollectorRegistry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample by name and labels; the client's own series of when a metric was made are left out."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created") and "executor_" not in sample.name
    }


@given(st.lists(st.tuples(records, st.floats(0, 20)), max_size=20))
def test_metrics_are_those_of_the_client_library(batches: list[tuple[BatchRecord, float]]) -> None:
    """Names, labels, buckets and sums: only the work is done later."""
    ours, theirs = ExecutorMetrics(), CollectorRegistry()
    size = Histogram("headrace_batch_size", "", ["variant"], buckets=SIZES, registry=theirs)
    reason = Counter("headrace_batches_total", "", ["variant", "reason"], registry=theirs)
    infer = Histogram("headrace_infer_seconds", "", ["variant"], buckets=SECONDS, registry=theirs)
    queue = Histogram("headrace_queue_seconds", "", buckets=SECONDS, registry=theirs)

    for record, queue_s in batches:
        ours.batch(record, queue_s=queue_s)
        size.labels(record.variant).observe(record.size)
        reason.labels(record.variant, record.reason).inc()
        infer.labels(record.variant).observe(record.took_ms / 1_000)
        queue.observe(queue_s)

    assert samples(ours.registry) == samples(theirs)


def test_metrics_count_outcomes_where_they_happen() -> None:
    """The tally is the answering's own; a scrape reads it."""
    metrics = ExecutorMetrics()
    metrics.totals["ok"] += 3

    assert metrics.registry.get_sample_value("headrace_executor_answers_total", {"outcome": "ok"}) == 3


def test_metrics_page_has_the_latest_batches() -> None:
    """A ring: old records make room."""
    metrics = ExecutorMetrics()
    for size in range(RING + 5):
        metrics.batch(BatchRecord("v", size, 1, "full", None, 1.0), queue_s=0.0)
    page = metrics.page()

    assert isinstance(page, list)
    assert [page[0]["size"], page[-1]["size"], len(page)] == [5, RING + 4, RING]
