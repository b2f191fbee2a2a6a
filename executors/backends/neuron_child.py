"""Another interpreter with an SDK of AWS Neuron in it, spoken to over pipes; see neuron_worker.py.

One a process, because a NeuronCore belongs to one process: all variants and lanes of an executor go through it, one
call at a time, as they would through the core itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from executors.backends import neuron_worker
from executors.backends.neuron_sdk import Installed, Sdk, explain
from executors.backends.neuron_worker import write
from executors.backends.protocol import Array, BackendMissing, LoadFailed
from streams.errors import ModelFailed

START_S = 120.0  # importing torch and the SDK, and opening the core
LOAD_S = 300.0
RUN_S = 60.0
COMPILE_S = 3_600.0
RESTARTS_MAX = 3
HEADER_BYTES_MAX = 1 << 20


class Child:
    """The worker: started at the first call, and again, a few times, after it died or hung."""

    def __init__(self, sdk: Sdk, python: str) -> None:
        self._sdk, self._python = sdk, python
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0
        self._paths: dict[int, Path] = {}  # ours -> what is loaded
        self._theirs: dict[int, int] = {}  # ours -> the worker's handle, new after each start
        self._count = 0
        self._versions: dict[str, str] = {}

    def versions(self) -> dict[str, str]:
        """Raises: BackendMissing."""
        with self._lock:
            self._alive()
            return self._versions

    def compile(self, order: dict[str, Any]) -> None:
        """Raises: BackendMissing, LoadFailed."""
        with self._lock:
            try:
                self._ask({**order, "do": "compile"}, timeout_s=COMPILE_S)
            except ModelFailed as error:
                raise LoadFailed(error.message) from error

    def load(self, path: Path) -> int:
        """Raises: BackendMissing, LoadFailed."""
        with self._lock:
            try:
                theirs = self._ask({"do": "load", "path": str(path)}, timeout_s=LOAD_S)[0]["handle"]
            except ModelFailed as error:
                raise LoadFailed(error.message) from error
            self._count += 1
            self._paths[self._count], self._theirs[self._count] = path, theirs
            return self._count

    def unload(self, handle: int) -> None:
        with self._lock:
            self._paths.pop(handle, None)
            theirs = self._theirs.pop(handle, None)
            if theirs is not None and self._process is not None and self._process.poll() is None:
                with contextlib.suppress(ModelFailed):  # it died just now, and holds nothing any more
                    self._ask({"do": "unload", "handle": theirs}, timeout_s=LOAD_S)

    def run(self, handle: int, batch: Array) -> Array:
        """Raises: ModelFailed; if the worker died with this batch, the next one starts it anew."""
        with self._lock:
            self._alive()
            order = {"do": "run", "handle": self._theirs[handle], "shape": batch.shape, "dtype": batch.dtype.str}
            header, payload = self._ask(order, np.ascontiguousarray(batch).tobytes(), timeout_s=RUN_S)
            return np.frombuffer(payload, header["dtype"]).reshape(header["shape"])

    def close(self) -> None:
        with self._lock:
            self._end()

    def _alive(self) -> subprocess.Popen[bytes]:
        """The running worker, with everything loaded that was."""
        if self._process is not None and self._process.poll() is None:
            return self._process
        if self._starts > RESTARTS_MAX:
            raise ModelFailed(f"{self._sdk.module}: its process ended {self._starts} times and is left down")
        self._starts += 1
        command = [self._python, str(Path(neuron_worker.__file__))]
        arguments = [self._sdk.module, self._sdk.distribution, self._sdk.compiler]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own file
                [*command, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
            )
        except OSError as error:
            raise BackendMissing(f"{self._python} cannot be run: {error.strerror}") from error
        header, _ = self._reply(self._process, START_S)
        if "missing" in header:
            self._end()
            raise _missing(self._sdk, self._python, header)
        self._versions = header["versions"]
        for ours, path in self._paths.items():
            self._theirs[ours] = self._call(self._process, {"do": "load", "path": str(path)}, b"", LOAD_S)[0]["handle"]
        return self._process

    def _ask(self, order: dict[str, Any], payload: bytes = b"", *, timeout_s: float) -> tuple[dict[str, Any], bytes]:
        return self._call(self._alive(), order, payload, timeout_s)

    def _call(
        self, process: subprocess.Popen[bytes], order: dict[str, Any], payload: bytes, timeout_s: float
    ) -> tuple[dict[str, Any], bytes]:
        assert process.stdin is not None
        try:
            write(process.stdin, order, payload)  # type: ignore[arg-type]
        except OSError as error:
            self._end()
            raise ModelFailed(f"{self._sdk.module}: its process ended: {error.strerror}") from error
        header, answer = self._reply(process, timeout_s)
        if "error" in header:
            raise ModelFailed(f"{self._sdk.module}: {header['error']}")
        return header, answer

    def _reply(self, process: subprocess.Popen[bytes], timeout_s: float) -> tuple[dict[str, Any], bytes]:
        """One frame, or the worker's end in words: silence is bounded, and a worker that hangs is killed."""
        assert process.stdout is not None
        pipe, until, buffer = process.stdout.fileno(), time.monotonic() + timeout_s, b""
        header: dict[str, Any] | None = None
        said = False  # a whole line
        while header is None or len(buffer) < header["bytes"]:
            if not select.select([pipe], [], [], max(0.0, until - time.monotonic()))[0]:
                self._end()
                raise ModelFailed(f"{self._sdk.module}: no answer within {timeout_s:g} s")
            part = os.read(pipe, 1 << 20)
            if not part:
                self._end()
                raise ModelFailed(f"{self._sdk.module}: its process ended with {process.returncode}")
            buffer += part
            if header is None and b"\n" in buffer:
                line, _, buffer = buffer.partition(b"\n")
                header, said = _header(line), True
            if header is None and (said or len(buffer) > HEADER_BYTES_MAX):
                self._end()
                raise ModelFailed(f"{self._sdk.module}: its process speaks something else")
        return header, buffer

    def _end(self) -> None:
        process, self._process = self._process, None
        self._theirs.clear()
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was buffered for a process that is gone
                    pipe.close()
        try:
            process.wait(1.0)  # it ends with its stdin
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _header(line: bytes) -> dict[str, Any] | None:
    """A frame's header; None if it is something else."""
    try:
        header = json.loads(line)
    except ValueError:
        return None
    return header if isinstance(header, dict) and isinstance(header.get("bytes"), int) else None


def _missing(sdk: Sdk, python: str, header: dict[str, Any]) -> BackendMissing:
    # The interpreter is the SDK's own choice, so that its version is not the reason.
    found = Installed(python=sdk.python_max, version=header["version"])
    why, todo = explain(sdk, found, error=header["missing"]) or (header["missing"], f"see {sdk.page}")
    return BackendMissing(f"{why} ({python}); {todo}")
