"""What a machine offers to inference, from what was seen on it: pure. probing.py looks.

A kind is available if its devices, their driver and a library that can use them are there; else the reason and what to
do are said.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from executors.backends.neuron_sdk import SDKS, Installed, Sdk, explain
from executors.hardware import describe
from registry.records import Hardware

# What int8 and bf16 gain depends on these; without them a smaller type may well be slower than fp32.
X86 = {
    "vectors": ("avx2", "avx512f"),
    "int8": ("avx_vnni", "avx512_vnni", "amx_int8"),
    "bf16": ("avx512_bf16", "amx_bf16"),
    "fp16": ("avx512_fp16", "amx_fp16"),
}
ARM = {"vectors": ("asimd", "sve", "sve2"), "int8": ("asimddp", "i8mm"), "bf16": ("bf16",), "fp16": ("asimdhp",)}
SMI_FIELDS = ("index", "name", "uuid", "memory.total", "memory.free", "driver_version", "compute_cap")
CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU as the driver tells."""

    index: int
    name: str
    uuid: str
    memory_bytes: int
    free_bytes: int
    driver: str
    capability: str


class NeuronDevice(msgspec.Struct, frozen=True, kw_only=True):
    """One Inferentia or Trainium chip; `model` is the driver's word, such as Inf2."""

    index: int
    cores: int
    memory_bytes: int
    model: str = ""


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool said: its output, or why there is none."""

    out: str = ""
    error: str = ""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of a machine. None: there is no such tool, or it was not asked.

    `frameworks` are onnxruntime's providers and torch's CUDA as JSON; `sdks` is what the interpreter that would run
    each Neuron SDK has of it.
    """

    architecture: str
    cores: int
    memory_bytes: int
    cpuinfo: str = ""
    device_files: tuple[str, ...] = ()
    nvidia_smi: Ran | None = None
    neuron_ls: Ran | None = None
    neuron_models: dict[int, str] = {}
    frameworks: Ran | None = None
    sdks: dict[str, Installed] = {}


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One hardware kind: what there is, or why it cannot be used and what to do."""

    hardware: Hardware
    available: bool
    detail: str = ""
    why: str = ""
    todo: str = ""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer. Units: bytes. `instructions` are those that matter, by what they speed up."""

    kind: str
    architecture: str
    cores: int
    memory_bytes: int
    instructions: dict[str, tuple[str, ...]]
    gpus: tuple[Gpu, ...]
    neuron_devices: tuple[NeuronDevice, ...]
    kinds: tuple[Kind, ...]


def machine(seen: Seen) -> Machine:
    """Everything that can be said."""
    gpus, neuron = _gpus(seen), _neuron(seen)
    instructions = instruction_sets(seen.cpuinfo)
    return Machine(
        kind=describe(seen.cpuinfo, cores=seen.cores, architecture=seen.architecture),
        architecture=seen.architecture, cores=seen.cores, memory_bytes=seen.memory_bytes, instructions=instructions,
        gpus=gpus, neuron_devices=neuron,
        kinds=(
            _cpu(seen, instructions), _gpu(seen, gpus),
            *(_inferentia(seen, SDKS[hardware], neuron) for hardware in ("inf1", "inf2")),
        ),
    )  # fmt: skip


def instruction_sets(cpuinfo: str) -> dict[str, tuple[str, ...]]:
    """Of those that matter, the ones of the first processor in /proc/cpuinfo."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"flags", "Features"}:
            has = set(value.split())
            wanted = X86 if name.strip() == "flags" else ARM
            return {use: tuple(flag for flag in flags if flag in has) for use, flags in wanted.items()}
    return {}


def gpus(smi: str) -> tuple[Gpu, ...]:
    """From `nvidia-smi --query-gpu=SMI_FIELDS --format=csv,noheader,nounits`; memory comes in MiB.

    A device in MIG mode, or one without a figure, says [N/A]: its memory counts as 0.
    Raises: ValueError on anything else.
    """
    found = []
    for line in filter(None, map(str.strip, smi.splitlines())):
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != len(SMI_FIELDS):
            raise ValueError(f"nvidia-smi gave {line!r}, not {', '.join(SMI_FIELDS)}")
        index, name, uuid, total, free, driver, capability = fields
        found.append(
            Gpu(
                index=int(index), name=name, uuid=uuid, memory_bytes=_mib(total), free_bytes=_mib(free), driver=driver,
                capability=capability,
            )
        )  # fmt: skip
    return tuple(found)


def neuron_devices(listed: str, models: Mapping[int, str]) -> tuple[NeuronDevice, ...]:
    """From `neuron-ls --json-output`, which knows cores and memory (bytes), and the driver's names of the chips.

    Raises: ValueError if it is not such a list.
    """
    try:
        rows: list[dict[str, Any]] = json.loads(listed)
        return tuple(
            NeuronDevice(
                index=int(row["neuron_device"]), cores=int(row["nc_count"]), memory_bytes=int(row["memory_size"]),
                model=models.get(int(row["neuron_device"]), ""),
            )
            for row in rows
        )  # fmt: skip
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"neuron-ls gave no list of devices: {error!r}") from error


def environment(hardware: Hardware, device: int | None, given: Mapping[str, str]) -> dict[str, str]:
    """The variables that give a process its one device; set before any of its libraries is loaded.

    The Neuron runtime takes every core of the machine unless told, and keeps it until the process ends; CUDA opens a
    context on the device that it finds first. `device` None keeps what is `given`, or takes the first.
    """
    if hardware == "cpu":
        return {}
    name = "CUDA_VISIBLE_DEVICES" if hardware == "gpu" else "NEURON_RT_VISIBLE_CORES"
    chosen = given.get(name, "0") if device is None else str(device)
    # CUDA counts the fastest first unless told; nvidia-smi counts by the bus.
    order = {"CUDA_DEVICE_ORDER": given.get("CUDA_DEVICE_ORDER", "PCI_BUS_ID")} if hardware == "gpu" else {}
    return {name: chosen, **order}


def _cpu(seen: Seen, instructions: Mapping[str, tuple[str, ...]]) -> Kind:
    fast = [f"{use} by {', '.join(flags)}" for use, flags in instructions.items() if flags and use != "vectors"]
    slow = [use for use, flags in instructions.items() if not flags and use != "vectors"]
    words = [f"{seen.cores} cores", *fast]
    if slow:
        words.append(f"nothing that speeds up {', '.join(slow)}")
    return Kind(hardware="cpu", available=True, detail="; ".join(words))


def _gpus(seen: Seen) -> tuple[Gpu, ...]:
    try:
        return gpus(seen.nvidia_smi.out) if seen.nvidia_smi is not None and not seen.nvidia_smi.error else ()
    except ValueError:
        return ()


def _neuron(seen: Seen) -> tuple[NeuronDevice, ...]:
    try:
        if seen.neuron_ls is not None and not seen.neuron_ls.error:
            return neuron_devices(seen.neuron_ls.out, seen.neuron_models)
    except ValueError:
        pass  # told by _inferentia; the driver's own list is the next best
    return tuple(
        NeuronDevice(index=index, cores=0, memory_bytes=0, model=model)
        for index, model in sorted(seen.neuron_models.items())
    )


def _gpu(seen: Seen, found: tuple[Gpu, ...]) -> Kind:
    if not found:
        return _no_gpu(seen)
    told = "; ".join(f"{g.index}: {g.name}, {g.memory_bytes >> 20} MiB, driver {g.driver}" for g in found)
    if seen.frameworks is None or seen.frameworks.error:
        why = seen.frameworks.error if seen.frameworks is not None else "not asked"
        return _missing("gpu", told, f"neither onnxruntime nor torch answered: {why}", 'pip install "headrace[gpu]"')
    answers = json.loads(seen.frameworks.out)
    providers, torch_cuda = answers.get("providers", []), answers.get("torch", "not installed")
    can = {
        "onnxruntime CUDA": CUDA in providers, "onnxruntime TensorRT": TENSORRT in providers,
        "torch": torch_cuda == "available",
    }  # fmt: skip
    usable = [name for name, there in can.items() if there]
    if not usable:
        return _missing(
            "gpu", told, f"onnxruntime has {providers or 'nothing'}, torch says: {torch_cuda}",
            'pip install "headrace[gpu]" in place of onnxruntime, or a torch built for the CUDA of this driver',
        )  # fmt: skip
    return Kind(hardware="gpu", available=True, detail=f"{told}; usable by {', '.join(usable)}")


def _no_gpu(seen: Seen) -> Kind:
    files = [name for name in seen.device_files if name.startswith("/dev/nvidia")]
    if seen.nvidia_smi is None and not files:
        return _missing("gpu", "", "there is no nvidia-smi and no /dev/nvidia0", "use a machine with an NVIDIA GPU")
    if seen.nvidia_smi is None:
        return _missing("gpu", ", ".join(files), "there is no nvidia-smi", "install the driver's utilities")
    why = seen.nvidia_smi.error or f"nvidia-smi lists no GPU: {seen.nvidia_smi.out.strip()[:200]!r}"
    return _missing("gpu", ", ".join(files), why, "install the driver, or give the container the device")


def _inferentia(seen: Seen, sdk: Sdk, found: tuple[NeuronDevice, ...]) -> Kind:
    mine = tuple(d for d in found if d.model.lower() == sdk.hardware)
    files = [name for name in seen.device_files if name.startswith("/dev/neuron")]
    if not mine:
        others = sorted({d.model for d in found if d.model})
        if others:
            why = f"the NeuronDevices here are {', '.join(others)}"
        elif files:
            failed = seen.neuron_ls.error if seen.neuron_ls is not None else "there is no neuron-ls"
            why = f"{len(files)} NeuronDevices of unknown kind ({failed or 'the driver does not name them'})"
        else:
            why = "there is no /dev/neuron0"
        return _missing(sdk.hardware, "", why, f"use {sdk.machine} with the driver aws-neuronx-dkms ({sdk.page})")
    told = f"{len(mine)} chips, {sum(d.cores for d in mine)} NeuronCores"
    installed = seen.sdks.get(sdk.hardware, Installed(python=(0, 0), error="no interpreter was asked"))
    if (reason := explain(sdk, installed)) is not None:
        return _missing(sdk.hardware, told, *reason)
    return Kind(hardware=sdk.hardware, available=True, detail=f"{told}; {sdk.distribution} {installed.version}")


def _missing(hardware: Hardware, detail: str, why: str, todo: str) -> Kind:
    return Kind(hardware=hardware, available=False, detail=detail, why=why, todo=todo)


def _mib(text: str) -> int:
    return 0 if text.startswith("[") else int(text) << 20
