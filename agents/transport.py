"""Whether Faust's own transport (aiokafka) reaches the cluster, which is more than librdkafka reaching it."""

from __future__ import annotations

import asyncio

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from agents.credentials import credentials
from streams.errors import Unreachable
from streams.settings import KafkaSettings


def reach(kafka: KafkaSettings, *, timeout_s: float) -> None:
    """Connect and authenticate as a router would, and leave again.

    Raises: BadSettings for what the transport cannot do, Unreachable with its own word on why.
    """
    asyncio.run(_reach(kafka, timeout_s))


async def _reach(kafka: KafkaSettings, timeout_s: float) -> None:
    auth = credentials_to_aiokafka_auth(credentials(kafka))
    client = AIOKafkaClient(bootstrap_servers=kafka.bootstrap, request_timeout_ms=round(timeout_s * 1_000), **auth)
    try:
        await asyncio.wait_for(client.bootstrap(), timeout_s)
    except (KafkaError, TimeoutError) as silent:
        told = str(silent) or type(silent).__name__
        raise Unreachable(f"the router's second transport does not reach {kafka.bootstrap}: {told}") from silent
    finally:
        await client.close()
