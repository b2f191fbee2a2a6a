"""The pools of a configuration as registry records, and what their machines cost."""

from __future__ import annotations

from executors.hardware import usable_cores
from registry.records import Hardware, Pool
from streams.settings import KafkaSettings

# USD for a core and hour: an eighth of EC2's m5.2xlarge, on demand in us-east-1, 0.384 for 8 vCPU.
CORE_USD_HOUR = 0.048
_KINDS: dict[str, Hardware] = {"gpu": "gpu", "inf1": "inf1", "inf2": "inf2"}


def pools(kafka: KafkaSettings, *, cores: int | None = None) -> list[Pool]:
    """One record a pool; its kind is its name up to a dash, and its machines are like this one.

    `cores` is how many one executor has; None means all of this machine's.
    """
    cores = cores or usable_cores()
    return [
        Pool(
            name=name,
            hardware=_KINDS.get(name.partition("-")[0], "cpu"),
            cores=cores,
            price_usd_hour=CORE_USD_HOUR * cores,
        )
        for name in kafka.pools
    ]
