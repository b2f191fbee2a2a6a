"""How large a batch should become: from a latency curve, an SLO and a rate, for executors and routers alike.

Too small a batch wastes the machine, too large a one is late. The target is the largest batch that a query
can afford when it just misses one: it waits for the running batch to leave room, then for its own. The need
is the smallest batch at which the lanes keep up with the rate at all.
"""

from __future__ import annotations

from registry.latency import LatencyProfile

SECOND_US = 1_000_000


def batch_target(latency: LatencyProfile, *, slo_us: int, rate_qps: float, lanes: int, reserve_us: int) -> int:
    """The largest batch whose queries, the unluckiest included, are answered within the SLO.

    With n = r l(b) / b lanes busy on average, a query that just missed a batch waits l(b) / min(n, lanes) for the
    next lane if n > 1; else lanes are idle and it waits only until b queries have come: b / r.

    Units:   `slo_us` and `reserve_us` (transport and reply) are durations in microseconds; `rate_qps` is what
             all `lanes` lanes get together.
    Returns: 1 <= target <= batch_max; 1 also when nothing fits, for the deadline then decides, not the target.
    Raises:  AssertionError on fewer than one lane or a negative rate.
    Source:  Symphony's target (abcdabcd987/nexuslb); the executor recipe of the field notes.
    """
    assert lanes >= 1, lanes
    assert rate_qps >= 0, rate_qps
    budget_us = slo_us - reserve_us
    target = 1
    for batch in range(1, latency.batch_max + 1):
        run_us = latency.p99_us[batch]
        busy_lanes = rate_qps * run_us / (batch * SECOND_US)
        if busy_lanes > 1:
            fits = run_us * (1 + 1 / min(busy_lanes, lanes)) <= budget_us
        else:
            fits = rate_qps * (budget_us - run_us) >= batch * SECOND_US  # l(b) + b / r <= budget, also at r = 0
        if fits:
            target = batch
    return target


def batch_need(latency: LatencyProfile, *, rate_qps: float, lanes: int, utilisation: float) -> int:
    """The smallest batch at which `lanes` lanes carry the rate at no more than `utilisation`.

    Returns: the smallest b with r l(b) / b <= utilisation lanes; batch_max where no batch keeps up.
    Raises:  AssertionError on fewer than one lane or a utilisation outside (0, 1].
    Source:  the block rule of the routing study, which uses a utilisation of 0.95.
    """
    assert lanes >= 1, lanes
    assert 0 < utilisation <= 1, utilisation
    capacity_us = utilisation * lanes * SECOND_US
    for batch in range(1, latency.batch_max + 1):
        if rate_qps * latency.p99_us[batch] <= capacity_us * batch:
            return batch
    return latency.batch_max
