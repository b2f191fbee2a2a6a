"""Everything on this machine, up and down as one: broker if none is configured, topics, models, roles."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from fnmatch import fnmatchcase
from pathlib import Path
from types import TracebackType
from typing import Self

from headrace import state
from headrace.control import forget_counts, measure_missing
from headrace.fleet_parts import Fleet
from headrace.listen import Ear, Heard
from headrace.profiles import remember, remembered
from headrace.readiness import Awaited, lacking
from headrace.roles import FORECASTS, provisioned, roles
from headrace.settings import Loaded
from headrace.supervise import Supervisor
from registry import topic
from registry.emulation import leftovers
from registry.lifecycle_shell import admitted
from registry.records import Record, Variant
from streams import topics
from streams.broker import LocalBroker
from streams.errors import ServerFault
from streams.settings import KafkaSettings

READY_S = 180.0  # the first time every variant is loaded and measured
TELL_S = 3.0  # between two words on how far that is

Tell = Callable[[str], None]
Prepare = Callable[[KafkaSettings], Iterable[Record]]
"""Registers more once there is a cluster, before anything serves from it; returns what it registered."""


class NotReady(ServerFault):
    """What was started did not come up in time; the message names the log to read."""

    code = "not_ready"


class Stack:
    """A broker (unless a cluster is configured), the topics, the registered records, and the processes of roles.py.

    Use it as a context manager: whatever happens, all that it started is stopped, the broker last. `tell` hears
    each step in one line. With a `fleet`, `loaded` has its flags, and `records` are of it (fleet_records.py).
    """

    def __init__(
        self,
        loaded: Loaded,
        *,
        config: Path | None,
        records: Iterable[Record],
        tell: Tell,
        prepare: Prepare = lambda _kafka: (),
        fleet: Fleet | None = None,
        fleet_file: Path | None = None,
    ) -> None:
        """fleet_file: where it was read, for `status` to say."""
        self._loaded = loaded
        self._config = config
        self._records = list(records)
        self._tell = tell
        self._prepare = prepare
        self._fleet, self._fleet_file = fleet, fleet_file
        self._open = ExitStack()
        self.broker: LocalBroker | None = None
        self.supervisor: Supervisor | None = None
        self.kafka: KafkaSettings = loaded.settings.kafka

    def __enter__(self) -> Self:
        """Start everything, in order; returns when the processes run, not yet when they serve (`wait_ready`).

        Raises: AlreadyUp, StateUnusable, BrokerError leaves, Unreachable, NotStarted.
        """
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def wait_ready(self, timeout_s: float = READY_S) -> Heard:
        """Until every router, executor and provisioner has been heard of, a planner leads, and executors own slots.

        What an emulated machine takes to boot and load comes on top of `timeout_s`. Raises: NotReady.
        """
        up = self._loaded.settings.up
        timeout_s += 0.0 if self._fleet is None else self._fleet.start_s
        awaited = self._awaited()
        now = time.monotonic()
        end, told, tell_at = now + timeout_s, "", now + TELL_S
        with Ear(self.kafka) as ear:
            while True:
                heard = ear.listen(0.1)
                lacks = lacking(heard, awaited)
                if not lacks:
                    if up.remember_profiles:
                        remember(topic.read(self.kafka))
                    return heard
                self.require_hope()
                if time.monotonic() > tell_at and (news := self._loading(heard, lacks)) != told:
                    told, tell_at = news, time.monotonic() + TELL_S
                    self._tell(news)
                if time.monotonic() > end:
                    raise NotReady(
                        f"after {timeout_s:g} s: {', '.join(lacks)}; the logs are in {self._state / state.LOGS}"
                    )

    def require_hope(self) -> None:
        """Raise if a process was given up. Raises: NotReady."""
        assert self.supervisor is not None
        for process in self.supervisor.running():
            if process.given_up:
                raise NotReady(f"{process.name} ended again and again; its log {process.log} says why")

    def _awaited(self) -> Awaited:
        settings = self._loaded.settings
        pools = provisioned(self._loaded, self._fleet)
        serving = settings.planner.warm == "always" if settings.up.control else bool(settings.executor.variants)
        return Awaited(
            settings.up.routers, 0 if pools else settings.up.executors, pools, planner=settings.up.control,
            serving=serving,
        )  # fmt: skip

    def _loading(self, heard: Heard, lacks: list[str]) -> str:
        """How far the executors are; importing a framework and measuring a variant take seconds each."""
        if provisioned(self._loaded, self._fleet):
            return f"waiting: {', '.join(lacks)}"
        globs = self._loaded.settings.executor.variants
        names = [record.name for record in self._records if isinstance(record, Variant)]
        wanted = sum(any(fnmatchcase(name, glob) for glob in globs) for name in names)
        loaded = [str(len({lane.variant for lane in t.lanes})) for t in heard.executors.values() if t.state != "gone"]
        of = f" of {wanted}" if wanted else ""
        return f"loading models, and measuring those that are new here: {', '.join(sorted(loaded)) or 0}{of} variants"

    @property
    def _state(self) -> Path:
        return self._loaded.settings.up.state

    def _start(self) -> None:
        settings = self._loaded.settings
        logs = self._open.enter_context(state.held(self._state))
        if not self._loaded.cluster_given:
            self._tell("starting Kafka on this machine (the first time it is fetched, 45 MB)")
            own = settings.broker
            ports = list(range(own.port, own.port + own.nodes)) if own.port else None
            self.broker = LocalBroker(own.data, nodes=own.nodes, ports=ports, session_timeout_ms=self.kafka.session_ms)
            self._open.enter_context(self.broker)
            self.kafka = self.kafka.model_copy(update={"bootstrap": self.broker.bootstrap})
        self._tell(f"Kafka at {self.kafka.bootstrap}")
        self._tell(f"{len(topics.create(self.kafka))} changes to topics with prefix {self.kafka.prefix}")
        self._register()
        self._records += self._prepare(self.kafka)
        if settings.up.control:
            self._prepare_control()
        self.supervisor = Supervisor(
            roles(self._loaded, config=self._config, bootstrap=self.kafka.bootstrap, fleet=self._fleet),
            logs=logs,
            restarts_max=settings.up.restarts_max,
            stop_s=settings.up.stop_s,
            changed=self._write_state,
        )
        self._open.callback(self._stop_roles)
        self.supervisor.launch()
        kinds = Counter(process.name.rpartition("-")[0] for process in self.supervisor.running())
        kinds["provisioner"] = len(provisioned(self._loaded, self._fleet))
        self._tell(f"started {', '.join(f'{count} {kind}(s)' for kind, count in kinds.items() if count)}")

    def _register(self) -> None:
        known = remembered(self._records) if self._loaded.settings.up.remember_profiles else []
        if not self._records:
            return
        catalog = topic.read(self.kafka)
        count = topic.publish(self.kafka, [*admitted(catalog, self._records), *known])
        if self._fleet is not None and (old := leftovers(catalog, self._records)):
            topic.forget(self.kafka, old)
        self._tell(f"registered {count} records, {len(known)} of them profiles measured earlier")

    def _prepare_control(self) -> None:
        """A planner chooses among what has a profile, so that has to be there before it; and it begins anew where the
        forecaster's last counts are of a cluster that is gone."""
        if self.broker is not None and self._loaded.settings.broker.data is None:
            forget_counts(self._state / FORECASTS)
        if self._fleet is None:
            measure_missing(self._loaded, self.kafka, self._tell)

    def _stop_roles(self) -> None:
        assert self.supervisor is not None
        self._tell("stopping: routers first, then those who decide, then executors finish what they have")
        for name in self.supervisor.stop():
            self._tell(f"{name} did not drain within {self._loaded.settings.up.stop_s:g} s and was killed")

    def _stop(self) -> None:
        self._open.close()

    def _write_state(self) -> None:
        assert self.supervisor is not None
        processes = [state.process("headrace", os.getpid())]
        if self.broker is not None:
            processes += [state.process(f"broker-{n}", jvm) for n, (jvm, _guard) in enumerate(self.broker.pids, 1)]
        processes += [
            state.process(
                r.name, r.pid, port=r.port, restarts=r.restarts, given_up=r.given_up, log=str(r.log.resolve())
            )
            for r in self.supervisor.running()
        ]
        state.write(
            self._state,
            state.State(
                bootstrap=self.kafka.bootstrap,
                prefix=self.kafka.prefix,
                config=None if self._config is None else str(self._config.resolve()),
                local_broker=self.broker is not None,
                pools=self.kafka.pools,
                fleet=None if self._fleet_file is None else str(self._fleet_file.resolve()),
                processes=tuple(processes),
            ),
        )
