"""What a start would find wrong, all at once, without starting, fetching or writing anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import gettempdir

import msgspec

from streams.broker import fetch, jars, local
from streams.broker.errors import BrokerError
from streams.broker.java import java
from streams.broker.ports import require_free


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at; `problem` is None when it is in order."""

    subject: str
    detail: str
    problem: BrokerError | None = None


def findings(data_dir: Path | None, *, nodes: int, ports: Sequence[int]) -> list[Finding]:
    """Look at Java, the jars, disk space and the ports, in the order in which a start needs them."""
    data = data_dir or Path(gettempdir())
    return [
        _look("java", lambda: f"{java()[1]} at {java()[0]}"),
        _look("jars", _jars),
        _look("space", lambda: _space(data, nodes)),
        _look("ports", lambda: _ports(ports)),
    ]


def _look(subject: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(subject=subject, detail=look())
    except BrokerError as problem:
        return Finding(subject=subject, detail=str(problem), problem=problem)


def _jars() -> str:
    wanted, folder = jars.pinned(), jars.cache_dir()
    missing = jars.broken(wanted, folder)
    if not missing:
        return f"{len(wanted)} in {folder}, each as pinned"
    fetch.jgo_download()  # tells whether the client that would fetch them is there
    jars.require_space(folder, bytes_min=fetch.SPACE_MIN_BYTES, purpose="Kafka's jars")
    size_mb = sum(jar.size for jar in missing) // 1_000_000
    return f"{len(missing)} of {len(wanted)} will be fetched into {folder}, {size_mb} MB"


def _space(data: Path, nodes: int) -> str:
    jars.require_space(data, bytes_min=nodes * local.DATA_MIN_BYTES, purpose=f"the data of {nodes} nodes")
    return f"enough for {nodes} nodes in {data}"


def _ports(ports: Sequence[int]) -> str:
    require_free(ports)
    return ", ".join(str(port) for port in ports) + " free" if ports else "chosen at the start"
