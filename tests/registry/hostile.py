"""Artifacts as somebody would make them who wishes us ill."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Change = Callable[[dict[str, bytes]], None]


class Bomb:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return self.mark.mkdir, ()


def pickled(mark: Path) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save(Bomb(mark), file)
    return file.getvalue()


def rewritten(path: Path, change: Change, *, packed: bool = False) -> Path:
    """The archive with its members changed; names are those inside its folder."""
    with zipfile.ZipFile(path) as source:
        root = source.namelist()[0].partition("/")[0]
        members = {name.removeprefix(f"{root}/"): source.read(name) for name in source.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as target:
        for name, content in members.items():
            target.writestr(f"{root}/{name}", content)
    return path


def graph(change: Callable[[dict[str, Any]], None]) -> Change:
    """A change to the program's graph."""

    def apply(members: dict[str, bytes]) -> None:
        parsed = json.loads(members["models/model.json"])
        change(parsed)
        members["models/model.json"] = json.dumps(parsed).encode()

    return apply


def expression(text: str) -> Change:
    """Every symbolic size becomes this expression, which sympy would evaluate."""

    def apply(members: dict[str, bytes]) -> None:
        old = members["models/model.json"]
        start = old.index(b'"expr_str": "') + len(b'"expr_str": "')
        symbol = old[start : old.index(b'"', start)]
        members["models/model.json"] = old.replace(
            b'"expr_str": "' + symbol, b'"expr_str": ' + json.dumps(text)[:-1].encode()
        )

    return apply


def guard(text: str) -> Change:
    return graph(lambda parsed: parsed.update(guards_code=[text]))


def operator(target: str) -> Change:
    return graph(lambda parsed: parsed["graph_module"]["graph"]["nodes"][0].update(target=target))
