"""The router's Prometheus metrics; counted per batch, since a labelled counter costs a microsecond."""

from __future__ import annotations

from collections import Counter as Tally

from prometheus_client import CollectorRegistry, Counter, Gauge


class RouterMetrics:
    """Counters by what became of a query, and gauges that the shell sets each second."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.totals: Tally[str] = Tally()
        self._routed = Counter(
            "headrace_router_queries_total", "Queries by what became of them here", ["what"], registry=self.registry
        )
        self.in_flight = Gauge("headrace_router_in_flight", "Queries read, not yet passed on", registry=self.registry)
        self.parked = Gauge("headrace_router_parked", "Queries waiting for an executor", registry=self.registry)
        self.executors = Gauge("headrace_router_executors", "Executors that can be routed to", registry=self.registry)
        self.spared = Gauge(
            "headrace_router_spared", "Lanes spared for being slower than others of their kind", registry=self.registry
        )
        self.epoch = Gauge("headrace_router_plan_epoch", "Epoch of the plan followed, 0: none", registry=self.registry)
        self.decisions = Counter(
            "headrace_router_decisions_total",
            "Explained selections: told, or dropped",
            ["what"],
            registry=self.registry,
        )
        self.progress_age = Gauge(
            "headrace_router_progress_age_seconds", "Since the intake last turned", registry=self.registry
        )

    def count(self, outcomes: Tally[str]) -> None:
        """Add a tally to the counters and empty it."""
        self.totals.update(outcomes)
        for what, n in outcomes.items():
            self._routed.labels(what).inc(n)
        outcomes.clear()
