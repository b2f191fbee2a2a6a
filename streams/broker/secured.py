"""SASL over TLS on the listener for clients, to try out what a cluster of others asks. Pure."""

from __future__ import annotations

from pathlib import Path

import msgspec

PROTOCOL = "SASL_SSL"
MECHANISMS = ("PLAIN", "SCRAM-SHA-512")
_LISTENER = f"listener.name.{PROTOCOL.lower()}"
_LOGIN = "org.apache.kafka.common.security"


class Secured(msgspec.Struct, frozen=True, kw_only=True):
    """Certificate and users; the first user is the nodes' own among themselves.

    `identity` holds an unencrypted PKCS#8 key and the certificate of 127.0.0.1, `authority` who signed it; both PEM.
    `users` are those of PLAIN. A user of SCRAM is made through an admin client once the broker is up.
    """

    identity: Path
    authority: Path
    users: dict[str, str]

    def __post_init__(self) -> None:
        unquotable = [name for pair in self.users.items() for name in pair if not name.isalnum()]
        if not self.users or unquotable:
            raise ValueError("users: at least one, and letters and digits only, in passwords too")

    def server(self) -> dict[str, str]:
        """What a node's properties say of it."""
        own, password = next(iter(self.users.items()))
        known = " ".join(f'user_{name}="{secret}"' for name, secret in self.users.items())
        return {
            "sasl.enabled.mechanisms": ",".join(MECHANISMS),
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            f"{_LISTENER}.plain.sasl.jaas.config": f"{_LOGIN}.plain.PlainLoginModule required "
            f'username="{own}" password="{password}" {known};',
            f"{_LISTENER}.scram-sha-512.sasl.jaas.config": f"{_LOGIN}.scram.ScramLoginModule required;",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.identity),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority),
        }

    def client(self) -> dict[str, str]:
        """librdkafka properties of the first user."""
        own, password = next(iter(self.users.items()))
        return {
            "security.protocol": PROTOCOL,
            "ssl.ca.location": str(self.authority),
            "sasl.mechanism": "PLAIN",
            "sasl.username": own,
            "sasl.password": password,
        }
