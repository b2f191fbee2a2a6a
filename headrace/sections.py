"""Sections of the configuration that only the command line needs; the roles' own stand beside the roles."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from executors.hardware import usable_cores


class BrokerSettings(BaseModel):
    """Section `[broker]`: the local broker that `up` and `demo` start when no cluster is configured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    port: int = Field(default=0, ge=0, le=65_000, description="client port; 0 takes a free one")
    data: Path | None = Field(default=None, description="folder that keeps the data; unset: removed at the end")
    nodes: int = Field(default=1, ge=1, le=5, description="brokers; three survive the loss of one")


class UpSettings(BaseModel):
    """Section `[up]`: what `headrace up` runs on this machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    executors: int = Field(
        default_factory=lambda: min(4, usable_cores()),
        ge=0,
        le=256,
        description="processes, one slot or more each",
    )
    routers: int = Field(default=1, ge=0, le=16, description="more than one pays from 16 executors a router on")
    pool: str = Field(default="cpu", pattern=r"^[a-z0-9][a-z0-9-]{0,40}$", description="which the executors join")
    control: bool = Field(
        default=False, description="forecaster, planner and a provisioner of at most so many executors decide what runs"
    )
    models: Path | None = Field(default=None, description="folder of model manifests; unset: the examples, if built")
    remember_profiles: bool = Field(default=True, description="of this machine, in the user's cache")
    state: Path = Field(default=Path(".headrace"), description="folder for logs and for what `status` reads")
    observe_port: int = Field(
        default=0, ge=0, le=65_000, description="first port of metrics and health, one more a process; 0 serves none"
    )
    restarts_max: int = Field(
        default=5, ge=0, le=1_000, description="of one process within a minute, then it stays down"
    )
    stop_s: float = Field(default=20.0, ge=1.0, le=600.0, description="for a process to drain after SIGTERM")
