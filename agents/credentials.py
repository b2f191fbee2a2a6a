"""The security properties of librdkafka, translated for Faust's own transport (aiokafka)."""

from __future__ import annotations

import ssl
from pathlib import Path

import faust

from streams.errors import BadSettings
from streams.settings import KafkaSettings

MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
TRANSLATED = {
    "ssl.ca.location", "ssl.ca.pem", "ssl.certificate.location", "ssl.key.location", "ssl.key.password",
    "ssl.endpoint.identification.algorithm",
}  # fmt: skip
ONLY_FASTER = {"ssl.providers", "ssl.cipher.suites", "ssl.curves.list", "ssl.sigalgs.list"}  # the defaults do as well


def credentials(kafka: KafkaSettings) -> faust.SASLCredentials | faust.SSLCredentials | None:
    """None for plaintext.

    Raises: BadSettings for what the transport cannot do, and for files that cannot be read.
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
    mechanism = given.get("sasl.mechanism", given.get("sasl.mechanisms", "GSSAPI")).upper()  # librdkafka's default
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
    unknown = sorted(key for key in given if key.startswith("ssl.") and key not in TRANSLATED | ONLY_FASTER)
    if unknown:
        raise BadSettings(
            f"kafka.properties: {', '.join(unknown)} cannot be given to the router's second transport; "
            f"it knows {', '.join(sorted(TRANSLATED))}"
        )
    place = given.get("ssl.ca.location")
    place = None if place == "probe" else place  # librdkafka's word for the system's own
    folder = place is not None and Path(place).is_dir()
    try:
        context = ssl.create_default_context(
            cafile=None if folder else place, capath=place if folder else None, cadata=given.get("ssl.ca.pem")
        )
        if certificate := given.get("ssl.certificate.location"):
            context.load_cert_chain(certificate, given.get("ssl.key.location"), given.get("ssl.key.password"))
    except OSError as unreadable:  # ssl.SSLError is one
        files = ", ".join(f"{key} = {value}" for key, value in sorted(given.items()) if key.endswith(".location"))
        told = f"{unreadable.strerror or unreadable} (of {files or 'ssl.ca.pem'})"
        raise BadSettings(f"kafka.properties: a certificate or key cannot be read: {told}") from unreadable
    if given.get("ssl.endpoint.identification.algorithm") == "none":
        context.check_hostname = False
    if given.get("enable.ssl.certificate.verification", "true").lower() == "false":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
