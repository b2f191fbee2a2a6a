"""Section `[planner]` of the configuration."""

from __future__ import annotations

import os
import socket

from pydantic import BaseModel, ConfigDict, Field

from agents.planning import Options
from agents.warmth import Policy
from optimizer.problem import PresetName
from optimizer.transition import Hysteresis


def _instance() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


class PlannerSettings(BaseModel):
    """What a plan is to reach, how often one is made, and what holds it back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    instance: str = Field(
        default_factory=_instance, pattern=r"^[A-Za-z0-9._-]{1,80}$",
        description="unique among live planners; of several the first by name plans",
    )  # fmt: skip
    preset: PresetName = Field(default="balanced", description="what is worth how much: accuracy against dollars")
    budget_usd_hour: float = Field(default=0.0, ge=0.0, le=1e6, description="for all machines together; 0: no budget")
    headroom: float = Field(
        default=1.0, ge=1.0, le=10.0, description="factor on every demand that is planned for, a quantile as it is"
    )
    drain_s: float = Field(default=10.0, gt=0.0, le=3_600.0, description="in which a backlog is to be worked off")
    lanes_s: float = Field(default=1.0, ge=0.2, le=60.0, description="between two looks at the lanes")
    machines_s: float = Field(default=15.0, ge=1.0, le=600.0, description="between two looks at the machines")
    solve_s: float = Field(default=0.3, ge=0.05, le=30.0, description="of the solver for one plan, at most")
    near_s: float = Field(default=10.0, ge=1.0, le=600.0, description="how far a lanes plan looks ahead")
    far_s: float = Field(default=60.0, ge=1.0, le=3_600.0, description="and a machines plan: boot and load")
    gain_min: float = Field(
        default=0.002, ge=0.0, le=1.0, description="of accuracy, for which lanes that suffice are changed"
    )
    gain_hold_s: float = Field(default=5.0, ge=0.0, le=600.0, description="for which such a gain must be there")
    hold: int = Field(default=2, ge=1, le=100, description="machines plans in a row that must want fewer")
    step_out: int = Field(default=16, ge=1, le=1_000, description="machines more of a pool in one plan")
    step_in: int = Field(default=4, ge=1, le=1_000, description="machines fewer of a pool in one plan")
    settle_s: float = Field(
        default=30.0, ge=0.0, le=3_600.0, description="for lanes to load elsewhere before a machine goes, at most"
    )
    forget_s: float = Field(default=120.0, ge=10.0, le=86_400.0, description="until orders of a gone executor go too")
    warm: Policy = Field(
        default="always",
        description="what stays loaded while nobody asks: a lane of every task, nothing, what was asked for within"
        " `keep_s`, or by the histogram of each task's idle times",
    )
    keep_s: float = Field(
        default=600.0, ge=10.0, le=86_400.0, description="after the last query, for `idle`, or where a histogram fails"
    )
    classes_max: int = Field(default=256, ge=1, le=4_096, description="classes planned for, those of most load first")


def options_of(settings: PlannerSettings) -> Options:
    """The planning options that these settings mean."""
    return Options(
        preset=settings.preset, budget_usd_hour=settings.budget_usd_hour or None, headroom=settings.headroom,
        drain_s=settings.drain_s, solve_s=settings.solve_s,
        hysteresis=Hysteresis(hold=settings.hold, step_out=settings.step_out, step_in=settings.step_in),
    )  # fmt: skip
