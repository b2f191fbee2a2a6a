"""One node of a local Kafka: its folder, its configuration and its process."""

from __future__ import annotations

import base64
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from streams.broker.config import GroupTimeouts, NodeAddress, meta_properties, render, server_properties
from streams.broker.errors import BrokerNotUp, PortTaken
from streams.broker.java import java_command, log_tail, start_jvm
from streams.broker.secured import Secured
from streams.child import Child

_BIND_FAILED = "Address already in use"


class Node:
    """A broker and controller in `folder`; may be started, killed and started again."""

    def __init__(
        self,
        folder: Path,
        *,
        jars: Path,
        node: int,
        quorum: Sequence[NodeAddress],
        timeouts: GroupTimeouts,
        secured: Secured | None = None,
    ) -> None:
        self.node, self.port = node, quorum[node].port
        self._folder, self._jars = folder, jars
        self.data = folder / "kafka"
        self.client = {} if secured is None else secured.client()
        self._properties = render(server_properties(node, quorum, self.data, timeouts, secured))
        self._process: Child | None = None

    def format(self, cluster_id: str, checkpoint: Path) -> None:
        """Give an empty folder its identity and the feature levels of this Kafka; leave a formatted one alone.

        Does what StorageTool does, without a JVM a node (0.8 s): the checkpoint is the one that it wrote.
        """
        meta = self.data / "meta.properties"
        if meta.exists():
            return
        self.data.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(checkpoint, self.data / checkpoint.name)
        meta.write_text(meta_properties(self.node, cluster_id, random_id()), encoding="utf-8")

    def cluster_id(self) -> str | None:
        """The cluster that this folder belongs to, or None if it is not formatted."""
        meta = self.data / "meta.properties"
        if not meta.exists():
            return None
        lines = meta.read_text(encoding="utf-8").splitlines()
        return next(line.removeprefix("cluster.id=") for line in lines if line.startswith("cluster.id="))

    def start(self, *, flags: Sequence[str], discard: bool, lock_fd: int | None = None) -> None:
        """Start the JVM; `discard` lets the guard remove the folder if we die without a stop."""
        assert not self.running(), self.node
        self._process = start_jvm(
            java_command(self._jars, "kafka.Kafka", str(self.write_config()), flags=flags),
            log=self._folder / "server.log",
            discard=self._folder if discard else None,
            lock_fd=lock_fd,
        )

    def write_config(self) -> Path:
        config = self._folder / "server.properties"
        config.write_text(self._properties, encoding="utf-8")
        return config

    def running(self) -> bool:
        return self._process is not None and self._process.status is None

    def require_running(self) -> None:
        """Raise if the JVM has ended.

        Raises: PortTaken if another process bound a port first, else BrokerNotUp with the tail of the log.
        """
        if self.running():
            return
        tail = self.log_tail()
        if _BIND_FAILED in tail:
            raise PortTaken(f"node {self.node} found a port taken, its own being {self.port}. Name another, or none.")
        raise BrokerNotUp(f"node {self.node} ended. The end of its log:\n{tail}")

    @property
    def pids(self) -> tuple[int, int]:
        """Process ids of the JVM and its guard."""
        assert self._process is not None
        return self._process.pid, self._process.guard_pid

    def terminate(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def wait(self, *, timeout_s: float) -> bool:
        """Whether the JVM ended in time."""
        return self._process is None or self._process.wait(timeout_s=timeout_s)

    def log_tail(self) -> str:
        return "" if self._process is None else log_tail(self._process)


def random_id() -> str:
    """A fresh id in Kafka's form: 128 bits in URL-safe base64; a leading dash would read as an option."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode().replace("-", "_")
