"""librdkafka's security properties, as Faust's transport wants them."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from agents.credentials import credentials
from streams.errors import BadSettings
from streams.settings import KafkaSettings

SCRAM = {"sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "me", "sasl.password": "hunter2"}


def given(**properties: str) -> KafkaSettings:
    return KafkaSettings(properties={key.replace("_", "."): value for key, value in properties.items()})


def test_credentials_plaintext_is_none() -> None:
    """Nothing said is nothing asked."""
    assert credentials(KafkaSettings()) is None


@pytest.mark.parametrize("protocol", ["sasl_ssl", "SASL_PLAINTEXT"])
def test_credentials_sasl_carries_user_and_mechanism(protocol: str) -> None:
    """TLS is there exactly where the protocol says it."""
    made: Any = credentials(KafkaSettings(properties={"security.protocol": protocol, **SCRAM}))

    assert made.protocol.value == protocol.upper()
    assert (made.mechanism.value, made.username, made.password) == ("SCRAM-SHA-512", "me", "hunter2")
    assert isinstance(made.ssl_context, ssl.SSLContext) == (protocol == "sasl_ssl")


def test_credentials_verification_off_is_off_here_too() -> None:
    """The two transports must not disagree on whom they trust."""
    made: Any = credentials(given(security_protocol="ssl", enable_ssl_certificate_verification="false"))
    strict: Any = credentials(given(security_protocol="ssl"))

    assert (made.context.check_hostname, made.context.verify_mode) == (False, ssl.CERT_NONE)
    assert (strict.context.check_hostname, strict.context.verify_mode) == (True, ssl.CERT_REQUIRED)


@pytest.mark.parametrize(
    ("properties", "told"),
    [
        ({"security.protocol": "tls"}, "security.protocol 'TLS' is unknown"),
        ({"security.protocol": "sasl_ssl"}, "sasl.mechanism 'GSSAPI' is not available to the router"),
        ({"security.protocol": "ssl", "ssl.ca.location": "/no/such"}, r"No such file .*ssl.ca.location = /no/such"),
        ({"security.protocol": "ssl", "ssl.ca.pem": "none"}, "cadata does not contain a certificate"),
        ({"security.protocol": "ssl", "ssl.keystore.location": "k"}, "ssl.keystore.location cannot be given"),
    ],
)
def test_credentials_impossible_is_refused_in_words(properties: dict[str, str], told: str) -> None:
    """Before anything connects, with the property's name."""
    with pytest.raises(BadSettings, match=told):
        credentials(KafkaSettings(properties=properties))


def test_credentials_file_without_certificate_is_refused(tmp_path: Path) -> None:
    """A wrong file is told by its place."""
    wrong = tmp_path / "ca.pem"
    wrong.write_text("not a certificate")

    with pytest.raises(BadSettings, match=f"ssl.ca.location = {wrong}"):
        credentials(given(security_protocol="ssl", ssl_ca_location=str(wrong)))
