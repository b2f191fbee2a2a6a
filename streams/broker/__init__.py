"""A real Apache Kafka for one machine, from any virtual environment: `with LocalBroker() as broker: ...`."""

from streams.broker.errors import (
    BrokenCache,
    BrokerError,
    BrokerNotUp,
    DataInUse,
    DataMismatch,
    DiskSpaceShort,
    FetchFailed,
    LocalExtraMissing,
    PortTaken,
)
from streams.broker.local import LocalBroker

__all__ = [
    "BrokenCache",
    "BrokerError",
    "BrokerNotUp",
    "DataInUse",
    "DataMismatch",
    "DiskSpaceShort",
    "FetchFailed",
    "LocalBroker",
    "LocalExtraMissing",
    "PortTaken",
]
