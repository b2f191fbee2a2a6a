"""An emulated fleet on real Kafka: its answers say so, and real and emulated executors keep to their own."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.stubs import stub_task
from headrace import Client, state
from headrace.fleet_file import Fleet, read
from headrace.fleet_records import records_of
from headrace.listen import Ear, Heard
from headrace.roles import environment
from headrace.settings import Loaded, load
from headrace.stack import Stack
from registry import topic
from registry.records import Pool
from streams.child import Child
from streams.outbox import Outbox
from streams.scaling import ExecutorOrder, LaneOrder, encode_order
from streams.settings import KafkaSettings

TEXT = """
[pools.cpu]
cores = 2
price_usd_hour = 0.1
most = 2

[pools.inf1]
hardware = "inf1"
cores = 4
price_usd_hour = 0.2
most = 1
boot_s = 1

[models.quick]
task = "look"
accuracy = 0.7
variants = [{ pool = "cpu", latency_ms = [[1, 5, 6], [8, 20, 24]], load_s = 0.2 }]

[models.best]
task = "look"
accuracy = 0.9
variants = [{ pool = "inf1", latency_ms = [[1, 8, 9], [8, 30, 33]], load_s = 0.2 }]
"""
QUICK, BEST, REAL = "quick/emulated-fp32-cpu", "best/emulated-fp32-inf1", "real-model/stub"
ITEM = np.zeros(4, dtype=np.float32)
PATIENCE_S = 60.0

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    path = tmp_path_factory.mktemp("fleet") / "fleet.toml"
    path.write_text(TEXT)
    return read(path)


def settings(fleet: Fleet, bootstrap: str, folder: Path, *, control: bool) -> Loaded:
    prefix = f"emulated-{'control' if control else 'plain'}."
    pairs = [f"kafka.bootstrap={bootstrap}", f"kafka.prefix={prefix}", f"up.state={folder}"]
    return load(pairs=pairs, flags=fleet.flags(control=control), environ={})


@pytest.fixture(scope="module")
def loaded(fleet: Fleet, bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return settings(fleet, bootstrap, tmp_path_factory.mktemp("state"), control=False)


@pytest.fixture(scope="module")
def kafka(fleet: Fleet, loaded: Loaded) -> Iterator[KafkaSettings]:
    """The fleet without a planner, and beside it a real executor of one of its pools, with a variant of its own."""
    with Stack(loaded, config=None, records=records_of(fleet), tell=print, fleet=fleet) as stack:
        real = [record for record in stub_task("real", fixed_ms=1.0) if not isinstance(record, Pool)]
        topic.publish(stack.kafka, real)
        env = environment(loaded, config=None, bootstrap=stack.kafka.bootstrap)
        env["HEADRACE_EXECUTOR__INSTANCE"] = "real-1"
        command = (sys.executable, "-P", "-m", "headrace", "executor")
        child = Child(command, log=loaded.settings.up.state / "real.log", env=env)
        try:
            stack.wait_ready()
            until(stack.kafka, lambda heard: {"cpu-1", "inf1-1", "real-1"} <= {word.executor for word in heard.ready})
            yield stack.kafka
        finally:
            child.terminate()
            if not child.wait(timeout_s=20.0):
                child.kill()


def until(kafka: KafkaSettings, true: Callable[[Heard], bool]) -> Heard:
    """What was heard once it was so."""
    end = time.monotonic() + PATIENCE_S
    with Ear(kafka) as ear:
        while not true(heard := ear.listen(0.1)):
            assert time.monotonic() < end, heard
    return heard


def held(heard: Heard) -> dict[str, list[str]]:
    return {name: sorted(lane.variant for lane in word.lanes) for name, word in heard.executors.items()}


def test_ask_an_emulated_fleet_answers_say_so(kafka: KafkaSettings) -> None:
    """Of CPU and of a machine that is not here; with the accuracy of the file, and a label that says it too."""
    with Client(kafka) as client:
        cheap, good = (client.ask(ITEM, task="look", accuracy_min=least, timeout=PATIENCE_S) for least in (0.5, 0.8))
        real = client.ask(ITEM, task="real", timeout=PATIENCE_S)
        refused = client.ask(ITEM[:2], variant=BEST, timeout=PATIENCE_S)

    assert (good.outcome, good.variant, good.accuracy, good.emulated) == ("ok", BEST, 0.9, True)
    assert (cheap.ok, cheap.emulated) == (True, True)
    assert [label for label, _ in good.top(1)] == ["emulated"]
    assert (real.ok, real.variant, real.emulated) == (True, REAL, False)
    assert (refused.ok, refused.emulated) == (False, True)


def test_executors_of_one_pool_hold_their_own_also_when_ordered_otherwise(kafka: KafkaSettings) -> None:
    """What all match by name and hardware, and what an order says by mistake."""
    before = held(until(kafka, lambda heard: {"cpu-1", "inf1-1", "real-1"} <= heard.executors.keys()))
    both = (LaneOrder(variant=QUICK), LaneOrder(variant=REAL))
    outbox = Outbox(kafka.producer(), name="orders")
    try:
        for name in ("cpu-1", "real-1"):
            order = ExecutorOrder(executor=name, epoch=1, lanes=both)
            outbox.send(kafka.topic("scaling"), encode_order(order), key=order.key)
        outbox.flush(10.0)
    finally:
        outbox.close()
    after = until(
        kafka,
        lambda heard: (
            all(
                heard.executors[name].epoch == 1 and other in heard.executors[name].pending
                for name, other in (("cpu-1", REAL), ("real-1", QUICK))
                if name in heard.executors
            )
            and {"cpu-1", "real-1"} <= heard.executors.keys()
        ),
    )

    assert before == {"cpu-1": [QUICK], "inf1-1": [BEST], "real-1": [REAL]}
    assert (held(after)["cpu-1"], held(after)["real-1"]) == ([QUICK], [REAL])
    assert after.executors["real-1"].pending[QUICK].startswith("failed: no such variant")


def test_up_with_control_is_ready_when_a_planner_has_loaded_something(
    fleet: Fleet, bootstrap: str, tmp_path: Path
) -> None:
    """Its processes are in the state file, with the fleet's pools, and all of them end by themselves."""
    mine = settings(fleet, bootstrap, tmp_path, control=True)
    said: list[str] = []
    with Stack(mine, config=None, records=records_of(fleet), tell=said.append, fleet=fleet) as stack:
        heard = stack.wait_ready()
        with Client(stack.kafka) as client:
            reply = client.ask(ITEM, task="look", timeout=PATIENCE_S)
        written = state.read(tmp_path)

    assert (reply.ok, reply.emulated) == (True, True)
    assert any(planner.leads for planner in heard.planners.values())
    assert written is not None
    assert written.pools == ("cpu", "inf1")
    assert [process.name for process in written.processes] == [
        "headrace", "router-1", "forecaster-1", "planner-1", "provisioner-cpu", "provisioner-inf1",
    ]  # fmt: skip
    assert not [line for line in said if "killed" in line]
