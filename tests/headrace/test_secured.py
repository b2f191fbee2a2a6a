"""A cluster that asks for TLS and a password, as others' clusters do: every part reaches it, by the config file."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from agents.transport import reach
from benchmarks.stubs import ITEM, stub_task
from headrace import Client
from headrace.listen import Ear
from headrace.settings import load
from registry import topic
from streams.broker import LocalBroker
from streams.broker.secured import Secured
from streams.errors import Unreachable
from streams.settings import KafkaSettings
from tests.streams.certificates import issue

USER, PASSWORD = "headrace", "hunter2"
PASSWORD_ENV = "HEADRACE_KAFKA__PROPERTIES__SASL_PASSWORD"
FILE = """
[kafka]
bootstrap = "{bootstrap}"

[kafka.properties]
"security.protocol" = "SASL_SSL"
"sasl.mechanism" = "SCRAM-SHA-512"
"sasl.username" = "headrace"
"ssl.ca.location" = "{authority}"
"""
PATIENCE_S = 90.0

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with `headrace.toml` for a broker over SASL_SSL that runs, and that knows a user of SCRAM."""
    folder = tmp_path_factory.mktemp("secured")
    identity, authority = issue(folder)
    secured = Secured(identity=identity, authority=authority, users={"admin": "admins"})
    with LocalBroker(secured=secured) as broker:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap, **secured.client()})
        scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4_096)
        wanted = UserScramCredentialUpsertion(USER, scram, PASSWORD.encode())
        admin.alter_user_scram_credentials([wanted])[USER].result(10)
        (folder / "headrace.toml").write_text(FILE.format(bootstrap=broker.bootstrap, authority=authority))
        yield folder


def settings(home: Path, password: str = PASSWORD) -> KafkaSettings:
    return load(home / "headrace.toml", environ={PASSWORD_ENV: password}).settings.kafka


def start(home: Path, *args: str, password: str = PASSWORD) -> subprocess.Popen[str]:
    """`headrace ARGS` beside the file; the password comes from the environment alone."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HEADRACE_", "KAFKA_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "headrace", *args],
        cwd=home, env={**kept, PASSWORD_ENV: password}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def run(home: Path, *args: str, password: str = PASSWORD) -> tuple[int, str]:
    with start(home, *args, password=password) as process:
        out, _ = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out


def wait_for_fleet(kafka: KafkaSettings) -> None:
    """Until both are heard of: what was asked before has its answers marked."""
    end = time.monotonic() + PATIENCE_S
    with Ear(kafka) as ear:
        while not (ear.heard.routers and ear.heard.ready):
            assert time.monotonic() < end, ear.heard
            ear.listen(0.2)


def test_secured_cluster_serves_router_executor_and_client(home: Path) -> None:
    """Topics, registry, both transports of the router, executor, client and doctor all pass with one file."""
    created = run(home, "topics", "create")
    kafka = settings(home)
    topic.publish(kafka, stub_task("secured", per_item_ms=1.0))
    with ExitStack() as stack:
        roles = [stack.enter_context(start(home, role, "--log-level", "error")) for role in ("router", "executor")]
        for role in roles:
            stack.callback(role.kill)
        wait_for_fleet(kafka)
        with Client(kafka) as client:
            end = time.monotonic() + PATIENCE_S
            pendings = [client.submit(np.ones(ITEM, np.float32), task="secured") for _ in range(50)]
            replies = [pending.result(max(1.0, end - time.monotonic())) for pending in pendings]
        doctor = run(home, "doctor")
        for role in roles:
            role.terminate()
        ends = [(role.communicate(timeout=PATIENCE_S)[0], role.returncode) for role in roles]

    assert created[0] == 0, created[1]
    assert [(reply.ok, reply.answer.duplicate) for reply in replies] == [(True, False)] * 50
    assert ends == [("", 0), ("", 0)]
    assert "ok    router          its second transport reaches the cluster too (SASL_SSL, SCRAM-SHA-512)" in doctor[1]
    assert doctor[0] == 0, doctor[1]


def test_wrong_password_is_refused_in_words(home: Path) -> None:
    """By either transport, with a status, and not by silence."""
    wrong = "hunter3"

    status, said = run(home, "topics", "diff", password=wrong)

    assert status == 3
    assert "headrace: " in said
    assert "uthentication failed" in said, said
    with pytest.raises(Unreachable, match="does not reach"):
        reach(settings(home, wrong), timeout_s=3.0)


def test_client_without_tls_is_not_served(home: Path) -> None:
    """The listener is the only one for clients, and it is what its name says."""
    admin = AdminClient({"bootstrap.servers": settings(home).bootstrap, "log_level": 0})

    with pytest.raises(KafkaException):
        admin.list_topics(timeout=3)
