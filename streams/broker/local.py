"""A local Kafka of one or more nodes, for tests, demos and a first try: real, on loopback, gone when its owner is."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from streams.broker import ready
from streams.broker.config import GroupTimeouts, NodeAddress
from streams.broker.errors import DataInUse, DataMismatch, PortTaken
from streams.broker.jars import require_space
from streams.broker.node import Node, random_id
from streams.broker.ports import free, require_free
from streams.broker.prepare import Runtime, install
from streams.broker.secured import Secured

NODES_MAX = 5  # each takes some 300 MB
DATA_MIN_BYTES = 256 << 20  # a node; Kafka on a full disk halts in the middle of its work
PORT_ATTEMPTS = 3
STOP_GRACE_S = 10.0


class LocalBroker:
    """Apache Kafka 4.3 in processes of its own; they end with this one, also under kill -9.

    `data_dir` is kept and may be started again with as many nodes; without it the data is temporary.
    `ports` has a client port a node; without it free ones are chosen. `secured` asks clients for TLS and a password.
    Not thread-safe.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str] | None = None,
        nodes: int = 1,
        ports: Sequence[int] | None = None,
        session_timeout_ms: int = 3_000,
        heartbeat_interval_ms: int = 500,
        start_timeout_s: float = 60.0,
        secured: Secured | None = None,
    ) -> None:
        assert 1 <= nodes <= NODES_MAX, nodes
        assert ports is None or len(set(ports)) == nodes, ports
        self._keep = None if data_dir is None else Path(data_dir).expanduser().resolve()
        self._count, self._ports = nodes, None if ports is None else tuple(ports)
        self._timeouts = GroupTimeouts(session_ms=session_timeout_ms, heartbeat_ms=heartbeat_interval_ms)
        self._start_timeout_s = start_timeout_s
        self._secured = secured
        self._folder: Path | None = None
        self._lock_fd: int | None = None
        self._runtime: Runtime | None = None
        self._nodes: list[Node] = []

    def start(self) -> None:
        """Start every node and wait until an admin client sees them all; fetches Kafka on the first start.

        Raises: a leaf of BrokerError; nothing is left running or behind.
        """
        assert not self._nodes, "already started"
        self._runtime = install()
        try:
            self._open()
            for attempt in range(PORT_ATTEMPTS):
                try:
                    self._launch()
                    break
                except PortTaken:  # lost between our look and the broker's bind
                    self._kill_all()
                    if self._ports is not None or attempt + 1 == PORT_ATTEMPTS:
                        raise
        except BaseException:
            self._kill_all()
            self._release()
            raise

    @property
    def bootstrap(self) -> str:
        """`host:port` of every node, comma separated."""
        assert self._nodes, "not started"
        return ready.bootstrap(self._nodes)

    @property
    def pids(self) -> tuple[tuple[int, int], ...]:
        """Process ids of each node's JVM and its guard."""
        return tuple(node.pids for node in self._nodes)

    def alive(self, node: int | None = None) -> bool:
        """Whether this node's process runs, or every node's."""
        nodes = self._nodes if node is None else [self._nodes[node]]
        return bool(nodes) and all(each.running() for each in nodes)

    def require_alive(self) -> None:
        """Raise with the tail of the log of the first node that has ended.

        Raises: BrokerNotUp.
        """
        for node in self._nodes:
            node.require_running()

    def kill(self, node: int = 0) -> None:
        """Kill -9 one node and return when it is gone; its data and ports stay its own."""
        self._nodes[node].kill()

    def restart(self, node: int = 0) -> None:
        """Start one node again on the same ports and data, stopping it first if it runs.

        Raises: BrokerNotUp, PortTaken.
        """
        self._nodes[node].terminate()
        if not self._nodes[node].wait(timeout_s=STOP_GRACE_S):
            self._nodes[node].kill()
        self._start(self._nodes[node])
        ready.wait_ready(
            [each for each in self._nodes if each.running()],
            deadline=time.monotonic() + self._start_timeout_s,
        )

    def stop(self) -> None:
        """Stop every node; temporary data is removed. May be called again."""
        if self._keep is not None:  # nobody will read temporary data: no need to close it in order
            # One by one, and only while the rest is a quorum: a node without one waits 5 s for leave that nobody gives.
            majority = self._count // 2 + 1
            for node in reversed(self._nodes[majority - 1 :]):
                node.terminate()
                node.wait(timeout_s=STOP_GRACE_S)
        self._kill_all()
        self._release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _open(self) -> None:
        """Take the data folder for ourselves.

        The lock is shared with the guards, so that the folder stays taken until the last JVM is gone.
        """
        temporary = self._keep is None
        folder = Path(tempfile.mkdtemp(prefix="headrace-kafka-")) if self._keep is None else self._keep
        self._folder = folder
        require_space(folder, bytes_min=self._count * DATA_MIN_BYTES, purpose=f"the data of {self._count} nodes")
        if temporary:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._lock_fd = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataInUse(f"another broker runs on {folder}. Stop it, or name another folder.") from None
        found = len(list(folder.glob("node-*/kafka/meta.properties")))
        if found not in (0, self._count):
            raise DataMismatch(
                f"{folder} was written by {found} nodes, asked for {self._count}. "
                f"Ask for {found}, or name another folder."
            )

    def _launch(self) -> None:
        assert self._folder is not None
        assert self._runtime is not None
        if self._ports is not None:
            require_free(self._ports)
        spare = [port for port in free(3 * self._count) if port not in (self._ports or ())]
        ports = self._ports or tuple(spare[self._count : 2 * self._count])
        quorum = [
            NodeAddress(node=node, port=port, controller_port=controller)
            for node, (port, controller) in enumerate(zip(ports, spare[: self._count], strict=True))
        ]
        self._nodes = [
            Node(
                self._folder / f"node-{node}",
                jars=self._runtime.jars,
                node=node,
                quorum=quorum,
                timeouts=self._timeouts,
                secured=self._secured,
            )
            for node in range(self._count)
        ]
        cluster_id = self._nodes[0].cluster_id() or random_id()
        for node in self._nodes:
            node.format(cluster_id, self._runtime.checkpoint)
            self._start(node)
        ready.wait_ready(self._nodes, deadline=time.monotonic() + self._start_timeout_s)

    def _start(self, node: Node) -> None:
        assert self._runtime is not None
        node.start(flags=self._runtime.flags, discard=self._keep is None, lock_fd=self._lock_fd)

    def _kill_all(self) -> None:
        for node in self._nodes:
            node.kill()
        self._nodes = []

    def _release(self) -> None:
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None
        if self._folder is not None and self._keep is None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None
