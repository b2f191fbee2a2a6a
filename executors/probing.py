"""Looking at a machine, for devices.py: files, the tools of the drivers, and what the frameworks say of themselves.

Every tool has a bounded time: nvidia-smi hangs on a GPU that fell off the bus.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from executors.backends.neuron_sdk import SDKS, Installed, Sdk
from executors.devices import SMI_FIELDS, Gpu, Ran, Seen, environment, gpus
from executors.hardware import usable_cores, work_on
from registry.records import Hardware
from streams.errors import ServerFault

TOOL_S = 10.0
FRAMEWORKS_S = 60.0  # two imports on a busy machine; torch alone reads a gigabyte
OUTPUT_CHARACTERS_MAX = 1_000_000
NEURON_LS = "/opt/aws/neuron/bin/neuron-ls"
NEURON_SYSFS = Path("/sys/devices/virtual/neuron_device")
ASK_FRAMEWORKS = """
import json
said = {}
try:
    import onnxruntime
    said["providers"] = onnxruntime.get_available_providers()
except Exception as error:
    said["onnxruntime"] = repr(error)
try:
    import torch
    there = torch.cuda.is_available()
    said["torch"] = "available" if there else f"built for CUDA {torch.version.cuda}, finds no device"
except Exception as error:
    said["torch"] = repr(error)
print(json.dumps(said))
"""
ASK_SDK = """
import json, sys
from importlib import metadata
def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
print(json.dumps([list(sys.version_info[:2]), *map(version, sys.argv[1:])]))
"""


class NoDevice(ServerFault):
    """The device is not there, or its driver does not answer."""

    code = "no_device"
    retryable = False


def look() -> Seen:
    """At everything; asks the frameworks only where there is a GPU, since their imports take seconds."""
    files = device_files()
    smi = nvidia_smi()
    return Seen(
        architecture=platform.machine(), cores=usable_cores(), memory_bytes=_memory_bytes(),
        cpuinfo=_text(Path("/proc/cpuinfo")), device_files=files, nvidia_smi=smi,
        neuron_ls=_neuron_ls(), neuron_models=neuron_models(),
        frameworks=frameworks() if smi is not None and not smi.error else None,
        sdks={name: installed(sdk) for name, sdk in SDKS.items()} if any("neuron" in f for f in files) else {},
    )  # fmt: skip


def claim(hardware: Hardware, device: int | None = None) -> None:
    """Make this process, and those that it starts, one of a single device; before any library of it is loaded.

    A GPU that does not answer is claimed all the same: what is to run on it says why it cannot.
    """
    os.environ.update(environment(hardware, device, os.environ))
    if hardware == "gpu":
        try:
            gpu = own_gpu()
        except NoDevice:
            gpu = None
        work_on(f"{gpu.name} {gpu.capability}" if gpu is not None else "a GPU")
    elif hardware != "cpu":
        work_on(hardware)


def ran(command: list[str], *, timeout_s: float) -> Ran:
    """The output of a tool, or in words why there is none."""
    name = Path(command[0]).name
    try:
        done = subprocess.run(  # noqa: S603 - the tools of the drivers, and our own interpreter
            command, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Ran(error=f"{name} did not answer within {timeout_s:g} s")
    except OSError as error:
        return Ran(error=f"{name} cannot be run: {error.strerror}")
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()
        return Ran(error=f"{name} ended with {done.returncode}: {words[-1][:500] if words else 'no word'}")
    return Ran(out=done.stdout[:OUTPUT_CHARACTERS_MAX])


def nvidia_smi(*only: str) -> Ran | None:
    """The GPUs, or those of an index or UUID; None where there is no nvidia-smi."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = [f"--query-gpu={','.join(SMI_FIELDS)}", "--format=csv,noheader,nounits"]
    return ran([tool, *query, *(f"--id={device}" for device in only)], timeout_s=TOOL_S)


def own_gpu() -> Gpu | None:
    """This process's GPU, the first of CUDA_VISIBLE_DEVICES, without a context on it; None for a share made by MIG.

    Raises: NoDevice.
    """
    device = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0].strip() or "none"
    if device.startswith("MIG-"):
        return None  # nvidia-smi queries whole GPUs
    said = nvidia_smi(device)
    if said is None or said.error:
        raise NoDevice(f"GPU {device}: {said.error if said is not None else 'there is no nvidia-smi'}")
    try:
        (found,) = gpus(said.out)
    except ValueError as error:
        raise NoDevice(f"GPU {device}: {error}") from error
    return found


def frameworks() -> Ran:
    """onnxruntime's providers and torch's CUDA, asked in a process of their own."""
    return ran([sys.executable, "-c", ASK_FRAMEWORKS], timeout_s=FRAMEWORKS_S)


def interpreter(sdk: Sdk) -> str | None:
    """The Python that runs the SDK: this one if it may, else HEADRACE_NEURON_PYTHON, else the newest that it knows."""
    if sdk.python_min <= sys.version_info[:2] <= sdk.python_max:
        return sys.executable
    newest = f"python{'.'.join(map(str, sdk.python_max))}"
    return shutil.which(os.environ.get("HEADRACE_NEURON_PYTHON") or newest)


def installed(sdk: Sdk) -> Installed:
    """What the interpreter of an SDK has of it."""
    python = interpreter(sdk)
    if python is None:
        wanted = ".".join(map(str, sdk.python_max))
        return Installed(python=(0, 0), error=f"there is no Python {wanted} here (HEADRACE_NEURON_PYTHON names one)")
    said = ran([python, "-c", ASK_SDK, sdk.distribution, sdk.compiler], timeout_s=TOOL_S)
    if said.error:
        return Installed(python=(0, 0), error=said.error)
    version, package, compiler = json.loads(said.out)
    return Installed(python=(version[0], version[1]), version=package, compiler=compiler)


def device_files(dev: Path = Path("/dev")) -> tuple[str, ...]:
    """The files by which a process reaches a GPU or a NeuronDevice."""
    found = [p for pattern in ("nvidia[0-9]*", "neuron[0-9]*") for p in dev.glob(pattern)]
    return tuple(f"/dev/{path.name}" for path in sorted(found))


def neuron_models(sysfs: Path = NEURON_SYSFS) -> dict[int, str]:
    """The driver's word for each NeuronDevice, such as Inf2, which neuron-ls does not tell."""
    found = {}
    for device in sysfs.glob("neuron[0-9]*"):
        number = device.name.removeprefix("neuron")
        if number.isdecimal():
            found[int(number)] = _text(device / "info/architecture/instance_type").strip()
    return found


def _neuron_ls() -> Ran | None:
    tool = shutil.which("neuron-ls") or (NEURON_LS if Path(NEURON_LS).exists() else None)
    return None if tool is None else ran([tool, "--json-output"], timeout_s=TOOL_S)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""  # not Linux, or a driver of another generation


def _memory_bytes() -> int:
    for line in _text(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0
