"""Commands of the topic `scaling`: what one executor should hold, and how many machines a pool should have.

A command is the whole wanted state and not a change, so that a repeated one is harmless; its epoch says which of two
is newer, so that a stale one is as well.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

LANES_MAX, BATCH_MAX, MACHINES_MAX, ORDERS_MAX = 512, 4_096, 100_000, 1_024

Epoch = Annotated[int, msgspec.Meta(ge=1)]


class LaneOrder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=False):
    """One variant of an executor: how many instances, and the largest batch (0: the variant's own)."""

    variant: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    lanes: Annotated[int, msgspec.Meta(ge=1, le=LANES_MAX)] = 1
    batch_max: Annotated[int, msgspec.Meta(ge=0, le=BATCH_MAX)] = 0


class ExecutorOrder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="executor"):
    """Everything that one executor should hold; what it holds beside goes, once the new is there."""

    executor: str
    epoch: Epoch
    lanes: Annotated[tuple[LaneOrder, ...], msgspec.Meta(max_length=ORDERS_MAX)] = ()

    @property
    def key(self) -> str:
        return f"executor:{self.executor}"


class PoolOrder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="pool"):
    """How many machines a pool should have; those named in `leaving` go first."""

    pool: str
    epoch: Epoch
    machines: Annotated[int, msgspec.Meta(ge=0, le=MACHINES_MAX)]
    leaving: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"pool:{self.pool}"


Order = ExecutorOrder | PoolOrder

encode_order = msgspec.json.Encoder().encode
_order: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)
decode_order = _order.decode
