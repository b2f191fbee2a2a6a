"""Make this machine ready to start Kafka: jars, the checkpoint of feature levels, and a cache of loaded classes.

The class cache (JEP 514) is recorded from one broker start and halves every later one: 1.8 s -> 0.9 s here, for 6 s
and 65 MB once. It is a convenience: where recording fails, an empty file says not to try again, and Kafka starts
without it.
"""

from __future__ import annotations

import logging
import tempfile
import time
import zlib
from pathlib import Path

import msgspec
from rich.console import Console

from streams.broker import fetch, jars
from streams.broker.config import GroupTimeouts, NodeAddress
from streams.broker.errors import BrokerError, BrokerNotUp
from streams.broker.java import java, java_command, log_tail, start_jvm
from streams.broker.node import Node, random_id
from streams.broker.ports import free
from streams.broker.ready import wait_ready

FORMAT_TIMEOUT_S = 60.0
RECORD_TIMEOUT_S = 60.0

log = logging.getLogger(__name__)


class Runtime(msgspec.Struct, frozen=True, kw_only=True):
    """What every node is started from."""

    jars: Path
    checkpoint: Path
    flags: tuple[str, ...]


def install() -> Runtime:
    """Fetch, verify and prepare whatever this user's cache lacks; about 1 ms when it lacks nothing.

    Raises: a leaf of BrokerError.
    """
    _path, java_version = java()
    folder = jars.cache_dir()
    fetch.ensure(jars.pinned(), folder)
    checkpoint = folder / "bootstrap.checkpoint"
    # The JVM refuses classes recorded by another Java or from jars of other times, so both are in the name.
    stamp = zlib.crc32((folder / jars.STAMP).read_bytes())
    classes = folder / f"classes-{java_version}-{stamp:08x}.aot"
    if not (checkpoint.exists() and classes.exists()):
        told = Console(stderr=True).status("Preparing Kafka for quick starts, once; about 10 s")  # on a terminal only
        with fetch.locked(folder), told:
            if not checkpoint.exists():
                _write_checkpoint(folder, checkpoint)
            if not classes.exists():
                _record_classes(folder, checkpoint, classes)
    flags = (f"-XX:AOTCache={classes}",) if classes.stat().st_size else ()
    return Runtime(jars=folder, checkpoint=checkpoint, flags=flags)


def _write_checkpoint(folder: Path, checkpoint: Path) -> None:
    """Let Kafka's StorageTool format a folder, and keep the one file of it that is the same for every node."""
    with tempfile.TemporaryDirectory(prefix="format-", dir=folder) as scratch:
        quorum = [NodeAddress(node=0, port=1, controller_port=2)]  # never bound
        node = Node(Path(scratch), jars=folder, node=0, quorum=quorum, timeouts=GroupTimeouts())
        config = node.write_config()
        command = java_command(folder, "kafka.tools.StorageTool", "format", "-t", random_id(), "-c", str(config))
        tool = start_jvm(command, log=Path(scratch) / "format.log", discard=Path(scratch))
        done = tool.wait(timeout_s=FORMAT_TIMEOUT_S)
        tool.kill()
        written = node.data / checkpoint.name
        if not done or not written.exists():
            raise BrokerNotUp(f"Kafka's StorageTool wrote no {checkpoint.name}. Its output:\n{log_tail(tool)}")
        written.replace(checkpoint)


def _record_classes(folder: Path, checkpoint: Path, classes: Path) -> None:
    """Start one broker and stop it; the JVM writes the cache as it ends."""
    log.info("recording Kafka's classes for faster starts, once, about 6 s")
    for old in folder.glob("classes-*.aot"):
        old.unlink()
    with tempfile.TemporaryDirectory(prefix="record-", dir=folder) as scratch:
        fresh = Path(scratch) / classes.name
        port, controller_port = free(2)
        quorum = [NodeAddress(node=0, port=port, controller_port=controller_port)]
        node = Node(Path(scratch) / "node-0", jars=folder, node=0, quorum=quorum, timeouts=GroupTimeouts())
        try:
            node.format(random_id(), checkpoint)
            node.start(flags=(f"-XX:AOTCacheOutput={fresh}",), discard=True)
            wait_ready([node], deadline=time.monotonic() + RECORD_TIMEOUT_S)
            node.terminate()
            node.wait(timeout_s=RECORD_TIMEOUT_S)
        except BrokerError as error:
            log.warning("Kafka starts without a class cache: %s", error)
        finally:
            node.kill()
        if not fresh.exists():
            log.warning("Kafka starts without a class cache: Java wrote none. %s", node.log_tail())
            fresh.touch()
        fresh.replace(classes)
