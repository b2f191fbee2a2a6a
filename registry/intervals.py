"""Wilson's interval of a share: how far a count of right answers says what the share of right answers is."""

from __future__ import annotations

import math

from registry.records import Accuracy

Z_95 = 1.959963984540054  # two-sided 95 %


def wilson(right: float, n: int, *, z: float = Z_95) -> tuple[float, float]:
    """Lower and upper end of the interval of a share, from `right` of `n`; (0, 1) for n = 0.

    Raises: AssertionError unless 0 <= right <= n.
    Source: Wilson 1927; keeps its coverage near 0 and 1, where the normal interval does not.
    """
    assert 0 <= right <= n, (right, n)
    if n == 0:
        return 0.0, 1.0
    share = right / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (0.0 if right == 0 else centre - half), (1.0 if right == n else centre + half)  # exact, not nearly


def sure(accuracy: Accuracy) -> float:
    """The lower end of an accuracy's 95 % interval: as stated, else from its `n`; 0 where neither is known.

    A published figure without a count is nobody's measurement here: it can be believed, not relied upon.
    """
    if accuracy.low is not None:
        return accuracy.low
    if accuracy.n <= 0:
        return 0.0
    return wilson(accuracy.n * min(max(accuracy.value, 0.0), 1.0), accuracy.n)[0]
