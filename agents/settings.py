"""Section `[router]` of the configuration."""

from __future__ import annotations

import os
import socket
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


def _instance() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


class RouterSettings(BaseModel):
    """How one router selects and sends. Every bound names what it prevents."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    instance: str = Field(
        default_factory=_instance, pattern=r"^[A-Za-z0-9._-]{1,80}$", description="unique among live routers"
    )
    policy: Literal["blocks", "round-robin", "random"] = Field(default="blocks", description="which executor of a pool")
    live_correction: bool = Field(
        default=True, description="whether executors' measurements correct their profiles; off only to compare"
    )
    in_flight_max: int = Field(default=20_000, ge=100, le=1_000_000, description="queries taken and not yet dispatched")
    batch_max: int = Field(default=250, ge=1, le=10_000, description="queries per turn of the event loop")
    backlog_min: int = Field(
        default=64, ge=1, le=10_000, description="queries read at once from which dispatches linger for 5 ms"
    )
    parked_max: int = Field(default=10_000, ge=0, le=1_000_000, description="queries waiting for an executor to appear")
    park_ms: int = Field(default=30_000, ge=0, le=600_000, description="longest wait for one, without a deadline")
    window_max: int = Field(default=100_000, ge=0, le=10_000_000, description="query ids remembered per partition")
    window_ms: int = Field(default=600_000, ge=0, description="for how long")
    history: int = Field(default=2_000, ge=0, le=1_000_000, description="records per partition reread for their ids")
    silence_ms: int = Field(default=1_000, ge=100, le=60_000, description="an executor silent for longer gets nothing")
    reply_reserve_ms: float = Field(default=3.0, ge=0.0, le=1_000.0, description="of each deadline, for the way back")
    heartbeat_ms: int = Field(default=500, ge=50, le=10_000, description="between two signs of life on `fleet`")
    grace_ms: int = Field(default=1_000, ge=0, le=60_000, description="for dispatches in flight when partitions go")
    plan_max_age_s: float = Field(
        default=180.0, ge=0.0, le=86_400.0, description="for which a plan's shares are followed; 0: never"
    )
    decisions: float = Field(
        default=0.001, ge=0.0, le=1.0, description="share of queries of which is told why, at most 50 a second; 0: none"
    )
    seed: int = Field(default=0, ge=0, description="of the random policy and of samples; 0 draws one")
