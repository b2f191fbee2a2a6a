"""Find ports on loopback that are free now and unlikely to be taken soon."""

from __future__ import annotations

import random
import socket
from collections.abc import Sequence

from streams.broker.errors import PortTaken

HOST = "127.0.0.1"
# Below the kernel's ephemeral range (from 32,768): a killed node's port must still be free at its restart, and inside
# that range a client that reconnects in a loop can be given the very port that it dials, and so connect to itself.
_CANDIDATES = range(20_000, 32_000)
_TRIES_MAX = 200


def free(count: int) -> tuple[int, ...]:
    """`count` different ports that nothing listens on; the caller retries if one is lost before it is bound.

    Raises: PortTaken when `_TRIES_MAX` candidates were all taken.
    """
    chance = random.SystemRandom()  # two brokers that start together should try different ports
    found: list[int] = []
    for port in chance.sample(_CANDIDATES, _TRIES_MAX):
        if len(found) == count:
            break
        if bindable(port):
            found.append(port)
    if len(found) < count:
        raise PortTaken(
            f"{len(found)} of {_TRIES_MAX} ports tried from {_CANDIDATES.start} up are free < {count}. "
            "Name ports yourself."
        )
    return tuple(found)


def require_free(ports: Sequence[int]) -> None:
    """Raise unless each port that was asked for can be bound.

    Raises: PortTaken with the port.
    """
    for port in ports:
        if not bindable(port):
            raise PortTaken(f"port {port} on {HOST} is taken. Stop what listens there, name another, or name none.")


def bindable(port: int) -> bool:
    with socket.socket() as probe:
        # As the broker does: a port with only closing connections left on it is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
