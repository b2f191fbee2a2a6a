"""Section `[executor]` of the configuration."""

from __future__ import annotations

import os
import socket

from pydantic import BaseModel, ConfigDict, Field

from registry.records import Hardware


def _instance() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


class ExecutorSettings(BaseModel):
    """How one executor loads, batches and leaves. Every bound names what it prevents."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    instance: str = Field(
        default_factory=_instance, pattern=r"^[A-Za-z0-9._-]{1,80}$", description="unique among live executors"
    )
    pool: str = Field(default="cpu", pattern=r"^[a-z0-9][a-z0-9-]{0,40}$", description="whose work it takes")
    hardware: Hardware = "cpu"
    device: int | None = Field(
        default=None, ge=0, le=1_023,
        description="which GPU or NeuronCore; unset: as CUDA_VISIBLE_DEVICES or NEURON_RT_VISIBLE_CORES say, or 0",
    )  # fmt: skip
    cores: int = Field(default=1, ge=1, le=512, description="that its lanes may keep busy at once; lanes of a device")
    variants: tuple[str, ...] = Field(
        default=("*",), description="which of the pool's variants to load, as globs, until ordered"
    )
    cpus: tuple[int, ...] = Field(default=(), description="which CPUs of the machine it runs on; unset: any")
    memory_mb: int = Field(
        default=0, ge=0, description="that the loaded variants may take in all; 0: four fifths of what there is"
    )
    phi: float = Field(default=0.2, ge=0.0, le=1.0, description="how long a batch waits to grow; 0: never")
    reply_reserve_ms: float = Field(default=3.0, ge=0.0, le=1_000.0, description="of each deadline, for the way back")
    window_drop: bool = Field(default=True, description="drop what would be late, so that the rest is in time")
    in_flight_max: int = Field(default=2_000, ge=1, le=1_000_000, description="records taken and not yet answered")
    preparing_threads: int = Field(default=1, ge=1, le=64, description="for images and other heavy payloads")
    emulated: bool = Field(
        default=False, description="load what a fleet file registered as emulated, and nothing else; see emulation.md"
    )
    boot_s: float = Field(
        default=0.0, ge=0.0, le=3_600.0, description="that an emulated machine takes to start; of a real one: ignored"
    )
    seed: int = Field(default=0, ge=0, le=2**32, description="of the latencies that an emulated machine draws")
    measure_s: float = Field(default=1.0, ge=0.1, le=600.0, description="for the profile of a variant not measured yet")
    heartbeat_ms: int = Field(default=100, ge=20, le=10_000, description="between telemetry records at the most")
    telemetry_min_ms: int = Field(default=20, ge=0, le=10_000, description="between them at the least")
    kept_max: int = Field(default=4_096, ge=0, le=1_000_000, description="answers kept for repeated query ids")
    kept_bytes: int = Field(default=64_000_000, ge=0, description="of them in all")
    attempts_max: int = Field(default=5, ge=1, le=100, description="takeovers of one query before it fails")
    grace_ms: int = Field(default=5_000, ge=0, le=600_000, description="for running batches at SIGTERM")
