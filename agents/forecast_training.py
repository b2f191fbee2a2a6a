"""Training on what the topic `arrivals` keeps: read it all, fit, write the models. Minutes of one core."""

from __future__ import annotations

import logging
import os

import msgspec
import numpy as np

from agents.forecast_files import Files
from agents.forecaster_settings import ForecasterSettings
from forecasting.forecaster import GROWN_S, Models
from forecasting.rows import BLOCK_S, Series, series
from forecasting.training import Tell, train
from streams.clock import wall_us
from streams.records import decode_arrivals
from streams.settings import KafkaSettings
from streams.tail import Tail

log = logging.getLogger(__name__)

QUIET_LISTS = 20  # of 0.25 s without a record: the end
SPAN_MAX_S = 8 * 86_400
CLASSES_MAX = 256  # those with the most queries


def train_on_topic(settings: ForecasterSettings, kafka: KafkaSettings, *, tell: Tell = lambda: None) -> Models:
    """Fit on everything that `arrivals` still keeps, and store the models; `untrained` ones where that is too little.

    Raises: KafkaException if the topic cannot be read.
    """
    os.nice(settings.train_nice)
    found = read(kafka)
    models = train(found, rng=np.random.default_rng(), tell=tell)
    if models.trained_rows:
        Files(settings.folder).save_models(models)
    log.info("trained", extra={"classes": len(found), "rows": models.trained_rows})
    return models


def read(kafka: KafkaSettings) -> dict[str, Series]:
    """A series of counts for each class, all over the same seconds; none if there are less than 12 h of them."""
    counts: dict[str, dict[int, int]] = {}
    tail = Tail(kafka, "arrivals", since_ms=0)
    horizon = wall_us() // 1_000_000
    quiet = 0
    try:
        while quiet < QUIET_LISTS:
            messages = tail.listen(0.25)
            quiet = 0 if messages else quiet + 1
            for message in messages:
                try:
                    one = decode_arrivals(message.value() or b"")
                except msgspec.MsgspecError as unreadable:
                    log.warning("arrivals ignored", extra={"error": str(unreadable)})
                    continue
                if horizon - SPAN_MAX_S < one.second < horizon:
                    mine = counts.setdefault(one.klass, {})
                    mine[one.second] = mine.get(one.second, 0) + one.count
    finally:
        tail.close()
    return as_series(counts)


def as_series(counts: dict[str, dict[int, int]]) -> dict[str, Series]:
    """Counts by class and second as series; silence between them is zero, and `series` finds what is a hole."""
    if not counts:
        return {}
    begin = min(min(mine) for mine in counts.values()) // BLOCK_S * BLOCK_S
    end = max(max(mine) for mine in counts.values()) + 1
    if end - begin < GROWN_S:
        return {}
    heaviest = sorted(counts, key=lambda klass: -sum(counts[klass].values()))[:CLASSES_MAX]
    made: dict[str, Series] = {}
    for klass in heaviest:
        rate = np.zeros(end - begin, dtype=np.float32)
        for second, count in counts[klass].items():
            rate[second - begin] = count
        made[klass] = series(rate, start=begin)
    return made
