"""The demo's own book and what is read from it: copies, broken promises, accuracy, correctness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.demo import figures
from headrace.demo.figures import AccuracyRow
from headrace.demo.ledger import Entry, Ledger
from headrace.demo.queries import DIGITS, Query
from headrace.demo.report import as_json, report
from streams.clock import Micros
from streams.contract import OnMiss, Outcome
from streams.records import Answer
from streams.responses import encode_v2_response

SECOND_US = 1_000_000


def query(*, floor: float | None = None, truth: str | None = "7", slo_ms: float | None = 100.0) -> Query:
    return Query(DIGITS, b"", "application/x-npy", slo_ms, floor, OnMiss.REJECT, truth)


def answer(query_id: str, *, label: str = "7", accuracy: float = 0.95, duplicate: bool = False) -> Answer:
    outputs: list[tuple[str, str, Sequence[int], Sequence[Any]]] = [
        ("label", "BYTES", (1,), [label]),
        ("score", "FP32", (1,), [0.9]),
    ]
    value = encode_v2_response(model_name="m", model_version="1", id=query_id, outputs=outputs)
    return Answer(
        query_id=query_id, outcome=Outcome.OK, value=value, reply_topic="results", variant="m/onnxruntime",
        accuracy=accuracy, batch=2, latency_us=50_000, duplicate=duplicate,
    )  # fmt: skip


def ledger(*asked: tuple[str, Query]) -> Ledger:
    book = Ledger()
    for query_id, what in asked:
        book.ask(query_id, what, "steady", now_us=Micros(0))
    return book


def entries(*pairs: tuple[Query, Answer]) -> list[Entry]:
    book = ledger(*((got.query_id, what) for what, got in pairs))
    for _what, got in pairs:
        book.hear(got, at_us=Micros(60_000))
    return book.entries()


def test_hear_marked_copy_is_counted_and_keeps_the_promise() -> None:
    """A second answer that says so is a copy, in whichever order the two come."""
    book = ledger(("a", query()), ("b", query()))
    for got in (answer("a"), answer("a", duplicate=True), answer("b", duplicate=True), answer("b")):
        book.hear(got, at_us=Micros(1))

    totals = book.totals()
    assert (totals.answered, totals.copies, totals.doubled, totals.open) == (2, 2, 0, 0)


def test_hear_two_unmarked_answers_break_the_promise() -> None:
    """Two answers that both claim to be the only one are what the demo exists to find."""
    book = ledger(("a", query()))
    book.hear(answer("a"), at_us=Micros(1))
    book.hear(answer("a"), at_us=Micros(2))

    found = report(book, batches={}, restarts={}, seconds=1.0, behind_s=0.0)
    assert (found.kept, found.unmarked_twice, found.lost) == (False, 1, 0)


def test_report_query_without_answer_breaks_the_promise() -> None:
    """Silence is the worst outcome."""
    found = report(ledger(("a", query())), batches={}, restarts={}, seconds=1.0, behind_s=0.0)

    assert (found.kept, found.lost) == (False, 1)


def test_hear_answer_to_a_stranger_is_not_ours() -> None:
    """Another client may share the partition."""
    book = ledger(("a", query()))
    book.hear(answer("z"), at_us=Micros(1))

    assert book.foreign == 1
    assert book.totals().answered == 0


def test_accuracies_serve_floor_and_count_what_is_right() -> None:
    """Per floor: least and mean accuracy served, how many below it, and how many labels were right."""
    rows = figures.accuracies(
        entries(
            (query(floor=0.9), answer("a", accuracy=1.0)),
            (query(floor=0.9), answer("b", accuracy=0.9, label="1")),
            (query(floor=0.99), answer("c", accuracy=0.95)),
        )
    )

    assert rows == [
        AccuracyRow(
            task=DIGITS, floor=0.9, ok=2, served_min=0.9, served_mean=0.95, below=0, labelled=2, correct=1
        ),
        AccuracyRow(
            task=DIGITS, floor=0.99, ok=1, served_min=0.95, served_mean=0.95, below=1, labelled=1, correct=1
        ),
    ]  # fmt: skip


def test_latencies_are_counted_as_the_slo_is_and_as_the_client_sees() -> None:
    """Percentiles and share in time are from the append on, as deadlines are; `seen` is from sending to reading."""
    rows = figures.latencies(entries((query(), answer("a")), (query(slo_ms=40.0), answer("b"))))

    assert [(row.slo_ms, row.p99_ms, row.seen_p99_ms, row.in_time) for row in rows] == [
        (40.0, 50.0, 60.0, 0.0),
        (100.0, 50.0, 60.0, 1.0),
    ]


def test_named_query_counts_for_its_variant_and_not_for_accuracy() -> None:
    """Who names a variant has made the choice: what it serves says nothing of how we choose."""
    found = entries((query()._replace(variant="m/onnxruntime"), answer("a")), (query(), answer("b")))

    assert [row.ok for row in figures.accuracies(found)] == [1]
    assert [(row.answers, row.named) for row in figures.variants(found)] == [(2, 1)]


def test_quantile_is_an_observed_value() -> None:
    """The smallest value that covers the share."""
    assert [figures.quantile([1.0, 2.0, 3.0, 4.0], share) for share in (0.0, 0.5, 0.51, 0.99)] == [1.0, 2.0, 3.0, 4.0]


def test_as_json_has_every_figure_by_name() -> None:
    """What a program reads."""
    book = ledger(("a", query()))
    book.hear(answer("a"), at_us=Micros(60_000))

    found = msgspec.json.decode(
        as_json(report(book, batches={"target": 3}, restarts={"executor-1": 1}, seconds=1.0, behind_s=0.0))
    )

    assert found["kept"] is True
    assert found["batches"] == {"target": 3}
    assert found["restarts"] == {"executor-1": 1}
    assert found["outcomes"][0]["outcomes"] == {"ok": 1}
