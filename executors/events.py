"""What the executor's machine hears and says: events in the past tense, commands in the imperative."""

from __future__ import annotations

from typing import Literal

import msgspec

from executors.batching import Reason
from executors.job import Job
from registry.latency import LatencyProfile

# Events.


class Arrived(msgspec.Struct, frozen=True, gc=False):
    """Jobs read together; those that are not `ready` are known for their deadlines until `Prepared` or `Spoiled`."""

    jobs: list[Job]


class Prepared(msgspec.Struct, frozen=True, gc=False):
    """The input is decoded, or fetched and decoded. Units: `took_us` of the decoder, if one was asked by `Decode`."""

    job: Job
    took_us: int = 0


class Spoiled(msgspec.Struct, frozen=True, gc=False):
    """The input cannot be had or not be decoded."""

    job: Job
    took_us: int = 0


class BatchFinished(msgspec.Struct, frozen=True, gc=False):
    batch_id: int
    took_us: int


class BatchFailed(msgspec.Struct, frozen=True, gc=False):
    """The backend raised; which input was to blame is not known if there was more than one."""

    batch_id: int


class VariantLoaded(msgspec.Struct, frozen=True, kw_only=True):
    """A variant can run here, or its profile or the number of its instances changed (0: as many as cores allow)."""

    variant: str
    latency: LatencyProfile
    width: int = 1
    lanes: int = 0


class VariantUnloaded(msgspec.Struct, frozen=True):
    variant: str


class Ticked(msgspec.Struct, frozen=True):
    """Time has passed; nothing else."""


class Draining(msgspec.Struct, frozen=True):
    """This executor was asked to leave: what cannot start now goes back."""


class SlotsRevoked(msgspec.Struct, frozen=True):
    slots: frozenset[int]


Event = (
    Arrived
    | Prepared
    | Spoiled
    | BatchFinished
    | BatchFailed
    | VariantLoaded
    | VariantUnloaded
    | Ticked
    | Draining
    | SlotsRevoked
)

# Commands. Each job gets exactly one of the last four.


class Decode(msgspec.Struct, frozen=True, gc=False):
    """Decode this job's input in a thread; `Prepared` or `Spoiled` must follow."""

    job: Job


class RunBatch(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Run these jobs together, in this order.

    Units: `slack_us` is what the tightest deadline leaves beyond the predicted end; NEVER if there is none.
    """

    batch_id: int
    variant: str
    jobs: list[Job]
    reason: Reason
    target: int
    slack_us: int


class Deliver(msgspec.Struct, frozen=True, gc=False):
    """Answer with output `index` of the batch."""

    job: Job
    batch_id: int
    index: int


class Expire(msgspec.Struct, frozen=True, gc=False):
    job: Job
    code: Literal["deadline_passed", "would_be_late"]


class Fail(msgspec.Struct, frozen=True, gc=False):
    """The model raised on this job alone, or (`batch_id` None) its input could not be decoded."""

    job: Job
    batch_id: int | None


class HandBack(msgspec.Struct, frozen=True, gc=False):
    """Let the router choose again."""

    job: Job


Command = Decode | RunBatch | Deliver | Expire | Fail | HandBack
