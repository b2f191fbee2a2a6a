"""What can keep a local broker from running; each message says what to do about it."""

from __future__ import annotations

from streams.errors import ServerFault


class BrokerError(ServerFault):
    """Root of the local broker's errors."""

    code, retryable = "broker", False


class LocalExtraMissing(BrokerError):
    """The Java runtime or the Maven client is not installed."""

    code = "broker_extra_missing"


class FetchFailed(BrokerError):
    """Kafka's jars are not in the cache and could not be fetched."""

    code, retryable = "broker_fetch_failed", True


class BrokenCache(BrokerError):
    """What lies in the cache is not what the project pins, also after fetching it again."""

    code = "broker_cache_broken"


class DiskSpaceShort(BrokerError):
    """Too little room for the jars or the data."""

    code = "broker_disk_space"


class PortTaken(BrokerError):
    """A port that was asked for belongs to someone else."""

    code = "broker_port_taken"


class DataInUse(BrokerError):
    """Another broker runs on this data folder."""

    code, retryable = "broker_data_in_use", True


class DataMismatch(BrokerError):
    """The data folder was written by a broker of another shape."""

    code = "broker_data_mismatch"


class BrokerNotUp(BrokerError):
    """A node ended or did not answer in time; the message carries the tail of its log."""

    code, retryable = "broker_not_up", True
