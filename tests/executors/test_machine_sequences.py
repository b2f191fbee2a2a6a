"""The executor's machine under any sequence of events: builders.Bench checks its rules after each of them."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from executors.deadlines import SPARE
from executors.events import Draining, Prepared, SlotsRevoked, Spoiled, VariantUnloaded
from executors.job import Job
from streams.clock import NEVER
from tests.executors.builders import MS, T0, Bench

CORES = 3
WIDTHS = {"thin": 1, "wide": 2, "whole": 3}
ENDS_MAX = 500  # events until everything must have ended, once nothing new comes


class Sequences(RuleBasedStateMachine):
    """Queries, decoders, lanes, the clock, the registry and the group, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[Job] = []
        self.bench = Bench(*WIDTHS.items(), cores=CORES, phi=0.5, reserve_us=MS, decoders=2)
        self.drained = False

    @rule(
        wishes=st.lists(
            st.tuples(
                st.sampled_from(sorted(WIDTHS)),
                st.none() | st.integers(-2, 60),  # ms from now to the deadline
                st.booleans(),  # late_ok
                st.sampled_from(["ready", "fetched", "heavy"]),
                st.integers(0, 1),  # slot
            ),
            min_size=1,
            max_size=9,
        )
    )
    def arrive(self, wishes: list[tuple[str, int | None, bool, str, int]]) -> None:
        now_ms = (self.bench.now_us - T0) / MS
        jobs = [
            self.bench.job(
                None if left_ms is None else now_ms + left_ms, variant=variant, late_ok=late_ok, slot=slot,
                ready=comes == "ready", heavy=comes == "heavy",
            )
            for variant, left_ms, late_ok, comes, slot in wishes
        ]  # fmt: skip
        self.fetched += [job for job in jobs if not job.ready and not job.heavy]
        self.bench.arrive(*jobs)

    @rule(rate_qps=st.sampled_from([100, 300, 1_000]))
    def come_often(self, rate_qps: int) -> None:
        for variant in self.bench.widths:
            self.bench.busy(rate_qps, variant)

    @precondition(lambda self: self.fetched or self.bench.decoding)
    @rule(which=st.integers(0, 50), spoiled=st.booleans(), took_us=st.integers(0, 20_000))
    def decode(self, which: int, spoiled: bool, took_us: int) -> None:
        jobs = [*self.fetched, *self.bench.decoding]
        job = jobs[which % len(jobs)]
        self.fetched = [one for one in self.fetched if one is not job]
        self.bench.now_us += took_us
        self.bench.tell(Spoiled(job, took_us) if spoiled else Prepared(job, took_us))

    @precondition(lambda self: self.bench.running)
    @rule(which=st.integers(0, 50), fails=st.booleans(), after_ms=st.integers(0, 8))
    def end_batch(self, which: int, fails: bool, after_ms: int) -> None:
        self.bench.now_us += after_ms * MS
        batch_id = sorted(self.bench.running)[which % len(self.bench.running)]
        (self.bench.fail if fails else self.bench.finish)(batch_id)

    @rule(after_us=st.integers(0, 20_000))
    def tick(self, after_us: int) -> None:
        self.bench.tick((self.bench.now_us + after_us - T0) / MS)

    @precondition(lambda self: self.bench.machine.next_wake_us < NEVER)
    @rule()
    def tick_when_asked_to(self) -> None:
        self.bench.tick((self.bench.machine.next_wake_us - T0) / MS)

    @rule(variant=st.sampled_from(sorted(WIDTHS)))
    def unload(self, variant: str) -> None:
        self.bench.tell(VariantUnloaded(variant))

    @rule(variant=st.sampled_from(sorted(WIDTHS)), width=st.integers(1, CORES))
    def load(self, variant: str, width: int) -> None:
        self.bench.load(variant, width=width)

    @rule(slot=st.integers(0, 1))
    def revoke(self, slot: int) -> None:
        self.bench.tell(SlotsRevoked(frozenset({slot})))

    @precondition(lambda self: len(self.bench.jobs) > 20)
    @rule()
    def drain(self) -> None:
        self.bench.tell(Draining())
        self.drained = True

    @invariant()
    def drained_machine_holds_only_what_runs(self) -> None:
        if self.drained:
            started = sum(len(batch.jobs) for batch in self.bench.running.values())
            again = sum(len(jobs) for _, jobs in self.bench.machine._retries)
            assert sum(not job.done for job in self.bench.jobs) <= started + again

    @invariant()
    def finished_jobs_are_forgotten(self) -> None:
        open_jobs = sum(not job.done for job in self.bench.jobs)
        assert len(self.bench.machine._deadlines._heap) <= 2 * open_jobs + SPARE
        assert len(self.bench.machine._deadlines) == sum(not job.done and job.timed for job in self.bench.jobs)

    def teardown(self) -> None:
        """Let everything that began end: then every job has had exactly one of the four ends."""
        bench = self.bench
        while self.fetched:
            bench.prepared(self.fetched.pop())
        for _ in range(ENDS_MAX):
            if bench.decoding:
                bench.prepared(bench.decoding[0])
            elif bench.running:
                bench.now_us += MS
                bench.finish(min(bench.running))
            elif bench.machine.next_wake_us < NEVER:
                bench.tick((bench.machine.next_wake_us - T0) / MS)
            else:
                break

        assert bench.running == {}
        assert {id(job) for job in bench.jobs} == set(bench.ends)
        assert bench.machine.cores.free == CORES
        assert bench.machine._preparing == {}
        reports = bench.machine.reports(now_us=bench.now_us)
        assert [(r.queued, r.patient, r.undecoded) for r in reports] == [(0, 0, 0)] * len(bench.widths)


TestSequences = Sequences.TestCase
TestSequences.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
