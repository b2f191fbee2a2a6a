"""`headrace send`: queries from files or labelled digits, with requirements, and their answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from headrace.options import Config, Level, Set, configure, kafka_of
from headrace.printing import answer_json, answer_line
from streams.asking import Asked
from streams.client import Client
from streams.contract import AccuracyBound, OnMiss
from streams.errors import AnswerMissing, BadSettings
from streams.pending import Pending

FAILED = 1
DIGITS_TASK = "digit-classification"
_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".npy": "application/x-npy",
          ".json": "application/json"}  # fmt: skip


class _Query(NamedTuple):
    """A payload, its content type, and what is known to be right about it."""

    payload: bytes
    content_type: str
    name: str


def send(
    files: Annotated[
        list[Path] | None, typer.Argument(exists=True, dir_okay=False, help="JPEG, PNG, npy, JSON.")
    ] = None,
    config: Config = None,
    pairs: Set = None,
    level: Level = "warning",
    digits: Annotated[int, typer.Option(min=0, max=10_000, help="Labelled digits that no model was trained on.")] = 0,
    task: Annotated[str | None, typer.Option(help="What is asked, e.g. image-classification.")] = None,
    model: Annotated[str | None, typer.Option(help="Ask this model.")] = None,
    variant: Annotated[str | None, typer.Option(help="Ask exactly this variant.")] = None,
    slo_ms: Annotated[float | None, typer.Option(help="Deadline, ms after the query's arrival.")] = None,
    accuracy_min: Annotated[float | None, typer.Option(help="0 to 1.")] = None,
    accuracy_bound: Annotated[
        AccuracyBound | None, typer.Option(help="What must keep it: the value, or the lower end of its interval.")
    ] = None,
    cost_max: Annotated[float | None, typer.Option(help="USD per 1,000 queries.")] = None,
    priority: Annotated[int | None, typer.Option(help="0 (offline) to 9.")] = None,
    on_miss: Annotated[OnMiss | None, typer.Option(help="If requirements cannot all be met.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Keep why, for `headrace explain query ID`.")] = False,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for the answers.")] = 60.0,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print answers as they come, not in order.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Send queries and print their answers; exit status 1 if any outcome is not ok."""
    queries = [*_files(files or []), *_digits(digits)]
    if not queries:
        raise BadSettings("nothing to send: name files, or ask for --digits N")
    if digits and not (task or model or variant):
        task = DIGITS_TASK
    loaded = configure(config, pairs, level)
    asked: Asked = {
        "task": task, "model": model, "variant": variant, "slo_ms": slo_ms, "accuracy_min": accuracy_min,
        "accuracy_bound": accuracy_bound, "cost_max": cost_max, "priority": priority, "on_miss": on_miss,
        "explain": explain or None,
    }  # fmt: skip
    ok = True
    with Client(kafka_of(loaded), blobs=loaded.settings.blobs) as client:
        sent = {_submit(client, query, asked): query for query in queries}
        try:
            for pending in client.as_completed(sent, timeout_s) if follow else sent:
                reply = pending.result(timeout_s)
                ok = ok and reply.ok
                line = f"{sent[pending].name}  {answer_line(reply.answer)}"
                typer.echo(answer_json(reply.answer) if as_json else line)
        except TimeoutError as late:
            raise AnswerMissing(f"{client.in_flight} of {len(sent)} answers did not come in {timeout_s:g} s") from late
    raise typer.Exit(0 if ok else FAILED)


def _submit(client: Client, query: _Query, asked: Asked) -> Pending:
    typed: Asked = {**asked, "content_type": query.content_type}
    return client.submit(query.payload, **typed)


def _files(paths: list[Path]) -> Iterator[_Query]:
    for path in paths:
        content_type = _TYPES.get(path.suffix.lower())
        if content_type is None:
            raise BadSettings(f"{path}: the name must end in one of {', '.join(_TYPES)}")
        yield _Query(path.read_bytes(), content_type, path.name)


def _digits(count: int) -> Iterator[_Query]:
    if count == 0:
        return
    from examples.digits.data import held_out
    from streams.payloads import encode_npy

    images, labels = held_out()
    for number in range(count):
        at = number % len(images)
        yield _Query(encode_npy(images[at]), "application/x-npy", f"digit {labels[at]}")
