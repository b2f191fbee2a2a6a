"""The security properties of librdkafka, translated for Faust's own transport (aiokafka)."""

from __future__ import annotations

import ssl

import faust

from streams.errors import BadSettings
from streams.settings import KafkaSettings

MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


def credentials(kafka: KafkaSettings) -> faust.SASLCredentials | faust.SSLCredentials | None:
    """None for plaintext.

    Raises: BadSettings for a protocol or mechanism that the transport cannot do.
    """
    given = kafka.properties
    protocol = given.get("security.protocol", "plaintext").upper()
    if protocol == "PLAINTEXT":
        return None
    if protocol not in {"SSL", "SASL_SSL", "SASL_PLAINTEXT"}:
        raise BadSettings(f"kafka.properties: security.protocol {protocol!r} is unknown")
    context = _tls(given) if protocol.endswith("SSL") else None
    if protocol == "SSL":
        return faust.SSLCredentials(context=context)
    mechanism = given.get("sasl.mechanism", given.get("sasl.mechanisms", "PLAIN")).upper()
    if mechanism not in MECHANISMS:
        raise BadSettings(
            f"kafka.properties: sasl.mechanism {mechanism!r} is not available to the router; "
            f"it can do {', '.join(MECHANISMS)}"
        )
    return faust.SASLCredentials(
        mechanism=mechanism,
        username=given.get("sasl.username", ""),
        password=given.get("sasl.password", ""),
        ssl_context=context,
    )


def _tls(given: dict[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=given.get("ssl.ca.location"))
    if certificate := given.get("ssl.certificate.location"):
        context.load_cert_chain(certificate, given.get("ssl.key.location"), given.get("ssl.key.password"))
    if given.get("ssl.endpoint.identification.algorithm") == "none":
        context.check_hostname = False
    return context
