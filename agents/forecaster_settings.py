"""Section `[forecaster]` of the configuration."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


def _instance() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


class ForecasterSettings(BaseModel):
    """What one forecaster keeps, and how often it learns."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    instance: str = Field(
        default_factory=_instance, pattern=r"^[A-Za-z0-9._-]{1,80}$",
        description="unique among live forecasters; of several the first by name publishes",
    )  # fmt: skip
    folder: Path = Field(default=Path(".headrace/forecaster"), description="for its state and the trained models")
    late_s: int = Field(default=3, ge=1, le=60, description="after which a second's counts are complete")
    save_s: float = Field(default=60.0, ge=1.0, le=3_600.0, description="between two copies of the state on disk")
    retrain_h: float = Field(default=6.0, ge=0.0, le=168.0, description="between trainings on what was kept; 0: never")
    train_nice: int = Field(default=10, ge=0, le=19, description="priority of the training process, 19 the lowest")
