"""What backends on a device have beyond the protocol, and what their lanes share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

import numpy as np

from executors.backends.padding import stepped
from executors.backends.protocol import Array, Backend, LoadFailed
from registry.latency import Point
from registry.records import Model
from streams.errors import ModelFailed

RESERVE_BYTES = 512 << 20  # of a device's memory: contexts and library handles, which no allocator counts

T = TypeVar("T")


class DeviceBackend(Backend, Protocol):
    """A backend whose batches run in a few sizes and whose memory is not the host's."""

    @property
    def batches(self) -> tuple[int, ...]:
        """The sizes that really run, rising; a smaller batch is padded up to one. See padding.py."""
        ...

    @property
    def device_bytes(self) -> int:
        """The device's memory that loading took, largest batch included; 0 before `load`, or for what others share."""
        ...


def charged(backend: Backend, points: Sequence[Point]) -> tuple[Point, ...]:
    """The points of a profile as its batches are paid for: a padded batch takes the time of a full one."""
    sizes: tuple[int, ...] | None = getattr(backend, "batches", None)  # what runs on the CPU has none
    return tuple(points) if sizes is None else stepped(points, sizes)


def held_bytes(lanes: Sequence[Backend], *, host_bytes: int) -> int:
    """The memory of one lane where its weights are: the device's share if it tells one, else the host's."""
    device_bytes: int = sum(getattr(lane, "device_bytes", 0) for lane in lanes)
    return max(0, device_bytes or host_bytes) // len(lanes)


def require_fit(what: str, *, needs_bytes: int, free_bytes: int, reserve_bytes: int = RESERVE_BYTES) -> None:
    """Refuse what cannot fit, before the device's allocator does in the middle of another lane's batch.

    Raises: LoadFailed.
    """
    if needs_bytes > free_bytes - reserve_bytes:
        raise LoadFailed(
            f"{what}: needs at least {needs_bytes >> 20} MiB of device memory; {free_bytes >> 20} MiB are free, "
            f"{reserve_bytes >> 20} MiB of them reserved"
        )


def require_items(batch: Array, model: Model, *, variant: str) -> None:
    """Refuse a batch of other items than the device's memory was laid out for: a copy could broadcast or read beyond.

    Raises: ModelFailed.
    """
    if batch.shape[1:] != tuple(model.input_shape) or batch.dtype != np.dtype(model.input_dtype):
        raise ModelFailed(
            f"{variant}: items of {list(batch.shape[1:])} {batch.dtype} are not {list(model.input_shape)} "
            f"{model.input_dtype}"
        )


class Shared(Generic[T]):
    """Loaded models by key: lanes of one variant run one copy of the weights, and the last that leaves drops it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[object, tuple[T, int]] = {}

    def take(self, key: object, make: Callable[[], T]) -> tuple[T, bool]:
        """The one of `key`, made if there is none yet, and whether this call made it; one is made at a time."""
        with self._lock:
            if key in self._held:
                kept, users = self._held[key]
                self._held[key] = (kept, users + 1)
                return kept, False
            made = make()
            self._held[key] = (made, 1)
            return made, True

    def give_back(self, key: object) -> bool:
        """One user less; whether it was the last."""
        with self._lock:
            kept, users = self._held.pop(key)
            if users > 1:
                self._held[key] = (kept, users - 1)
            return users == 1

    def __len__(self) -> int:
        return len(self._held)
