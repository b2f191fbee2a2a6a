"""Section `[provisioner]` of the configuration."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class ProvisionerSettings(BaseModel):
    """How many machines of one pool may run, and how long each phase of one may take."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pool: str = Field(default="cpu", pattern=r"^[a-z0-9][a-z0-9-]{0,40}$", description="whose machines it keeps")
    least: int = Field(default=1, ge=0, le=1_000, description="machines, whatever is ordered")
    most: int = Field(default=4, ge=0, le=1_000, description="machines, whatever is ordered")
    first: int = Field(default=1, ge=0, le=1_000, description="machines until there is an order")
    cores: int = Field(default=1, ge=1, le=512, description="of each machine")
    boot_s: float = Field(default=120.0, ge=1.0, le=3_600.0, description="until a machine must be heard of")
    silence_s: float = Field(default=10.0, ge=1.0, le=600.0, description="after which a machine is given up")
    drain_s: float = Field(default=30.0, ge=1.0, le=3_600.0, description="for a machine to finish what it has")
    starts_max: int = Field(default=4, ge=1, le=100, description="machines that boot at once")
    failures_max: int = Field(default=5, ge=1, le=1_000, description="machines that end by themselves in a minute")
    logs: Path = Field(default=Path(".headrace/machines"), description="folder for the output of local machines")
