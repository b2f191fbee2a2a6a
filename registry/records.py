"""What can be served: tasks, models, variants, pools and profiles, as records of the compacted registry topic.

Keys are `kind:id`. Fields are only ever added, with a default; unknown fields are ignored.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from registry.latency import Point

Hardware = Literal["cpu", "gpu", "inf1", "inf2"]
Framework = Literal["onnxruntime", "torch", "stub", "emulated"]
EMULATED: Final = "emulated"  # the framework of variants of a fleet file, and the machine of their profiles


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A named pre- or post-processing step of `executors/processing.py`, with its parameters."""

    name: str
    params: dict[str, Any] = {}


class Task(msgspec.Struct, frozen=True, kw_only=True, tag="task"):
    """What is asked. `slo_ms_default` None means best effort."""

    name: str
    accepts: tuple[str, ...] = ("application/json", "application/x-npy")
    slo_ms_default: float | None = None
    description: str = ""

    @property
    def key(self) -> str:
        return f"task:{self.name}"


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """A share of right answers, 0 to 1, and where it comes from.

    Measured: on `n` items of the validation set whose sha256 is `dataset`, with a 95 % interval from `low` to `high`.
    """

    value: float
    provenance: Literal["measured", "published"]
    source: str = ""
    n: int = 0
    dataset: str = ""
    low: float | None = None
    high: float | None = None


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """A file by its content. `path` is where the registrar has it; empty, or absent here: ask the store by `sha256`."""

    path: str
    sha256: str
    bytes: int = 0
    format: str = ""  # onnx, pt2, torchscript, state-dict


class Model(msgspec.Struct, frozen=True, kw_only=True, tag="model"):
    """An architecture with weights. Shapes: `input_shape` is one item, without the batch axis."""

    name: str
    task: str
    version: str
    accuracy: Accuracy
    input_name: str
    input_shape: tuple[int, ...]
    input_dtype: str
    output_name: str
    preprocess: Step
    postprocess: Step
    labels: tuple[str, ...] = ()
    artifacts: dict[str, Artifact] = {}  # by framework

    @property
    def key(self) -> str:
        return f"model:{self.name}@{self.version}"  # so that versions stand side by side; older writers left it out


class Variant(msgspec.Struct, frozen=True, kw_only=True, tag="variant"):
    """model x framework x precision x hardware x width (cores, or lanes of a device).

    `artifact` and `accuracy` are the variant's own, of a quantised copy for instance; None: the model's.
    `version` is the model's; empty: the only one there was before versions were written down.
    """

    name: str
    model: str
    framework: Framework
    hardware: Hardware = "cpu"
    precision: str = "fp32"
    width: int = 1
    batch_max: int = 32
    version: str = ""
    compiled: bool = False  # torch.compile; TensorRT with onnxruntime on a GPU
    artifact: Artifact | None = None
    accuracy: Accuracy | None = None

    @property
    def key(self) -> str:
        return f"variant:{self.name}"


class RefusedVariant(msgspec.Struct, frozen=True, kw_only=True, tag="refused"):
    """A variant that was generated and not published, and why."""

    variant: str
    model: str
    stage: Literal["convert", "load", "answers", "accuracy", "profile"]
    reason: str
    version: str = ""
    machine: str = ""
    refused_at: str = ""

    @property
    def key(self) -> str:
        return f"refused:{self.variant}"


class Release(msgspec.Struct, frozen=True, kw_only=True, tag="release"):
    """Which version of a model answers, from this event on; the whole state, not a difference.

    Of all events of a model the one with the highest `number` holds, of equal numbers the first in the topic: whoever
    writes takes the number after the one that it has seen, so that of two who write at once the second is void.
    Every event has a key of its own, since compaction would keep the void one of two that share a key.
    Units: `share` of the queries, 0 to 1, that goes to the canary.
    """

    model: str
    number: int
    id: str
    stable: str = ""  # empty: nothing answers for this model
    canary: str = ""
    share: float = 0.0
    retired: tuple[str, ...] = ()
    unversioned: str = ""  # the version that variants without one belong to
    action: str = ""
    at: str = ""
    by: str = ""
    reason: str = ""

    @property
    def key(self) -> str:
        return f"release:{self.model}:{self.number}:{self.id}"


class Pool(msgspec.Struct, frozen=True, kw_only=True, tag="pool"):
    """Machines of one kind and size. Units: `price_usd_hour` for one machine with `cores` cores."""

    name: str
    hardware: Hardware = "cpu"
    cores: int = 1
    price_usd_hour: float = 0.0

    @property
    def key(self) -> str:
        return f"pool:{self.name}"


class Profile(msgspec.Struct, frozen=True, kw_only=True, tag="profile"):
    """One variant measured on one kind of machine, published for the pool that consists of it.

    `lanes` instances ran at once, each in its own thread, when `points` were measured; `memory_bytes` is of one.
    `load_us` is with its libraries imported; `load_cold_us` the first load of a fresh process, imports included, with
    the page cache as it was (0: not measured). `artifact` is the sha256 of the file; empty: not written down.
    `disturbed` is the share of the machine's CPU that others took meanwhile.
    """

    variant: str
    pool: str
    machine: str
    points: tuple[Point, ...]
    load_us: int = 0
    memory_bytes: int = 0
    measured_at: str = ""
    versions: dict[str, str] = {}
    lanes: int = 1
    load_cold_us: int = 0
    artifact: str = ""
    source: Literal["executor", "profiler"] = "executor"
    disturbed: float = 0.0

    @property
    def key(self) -> str:
        return f"profile:{self.variant}@{self.pool}"


Record = Task | Model | Variant | RefusedVariant | Release | Pool | Profile

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)

encode = _encoder.encode
decode = _decoder.decode  # raises msgspec.MsgspecError
