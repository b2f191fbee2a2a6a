"""`headrace hardware`: what this machine offers, and why a kind of hardware cannot be used on it."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from executors.devices import Machine, machine
from executors.probing import look


def hardware(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Say which kinds of hardware executors can use here: cpu, gpu, inf1, inf2; and what is missing for the others."""
    found = machine(look())
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
        return
    for line in lines(found):
        typer.echo(line)


def lines(found: Machine) -> list[str]:
    """For people: the machine, then one line a kind."""
    vectors = ", ".join(found.instructions.get("vectors", ())) or "none known"
    told = [f"{found.kind} ({found.architecture}), {found.memory_bytes / 2**30:.1f} GiB, vectors: {vectors}"]
    for kind in found.kinds:
        state = "available" if kind.available else "unavailable"
        reason = f"{kind.why} -> {kind.todo}" if kind.why else ""
        told.append(f"{kind.hardware:<4}  {state:<11}  {'; '.join(filter(None, (kind.detail, reason)))}")
    return told
