"""What one forecaster process holds: its outlook, the topics it hears, and its training."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence

import msgspec
from confluent_kafka import KafkaException, Message

from agents.forecast_files import Files, Kept
from agents.forecaster_settings import ForecasterSettings
from agents.outlook import Outlook, leads
from forecasting.forecaster import Forecaster, untrained
from forecasting.rows import WINDOW_S
from streams.child import Child, NotStarted
from streams.clock import wall_us
from streams.errors import Overloaded
from streams.hearing import Hearing, Word
from streams.outbox import Outbox
from streams.records import RouterReport, decode_arrivals, decode_forecast, encode
from streams.settings import KafkaSettings
from streams.tail import LIST_MAX, Tail

log = logging.getLogger(__name__)

SILENCE_S = 3.0  # a forecaster, or a router, that says nothing for so long is not there
FIRST_TRAINING_S = 600.0  # after the start, so that a restart does not train at once


class ForecasterState:
    """All of it runs in the event loop, but for the training, which is a process."""

    def __init__(self, settings: ForecasterSettings, kafka: KafkaSettings, *, train: Sequence[str] = ()) -> None:
        """train: a command that trains and writes the models; none: what is trained stays as it is."""
        self._settings = settings
        self._kafka = kafka
        self._train = tuple(train)
        self._files = Files(settings.folder)
        self._models_at = self._files.models_at()
        models = self._files.models() or untrained()
        forecaster = Forecaster(models)
        kept = self._files.load()
        self.outlook = Outlook(forecaster, forecaster.start() if kept is None else kept.state, late_s=settings.late_s)
        self._position: dict[int, int] = {} if kept is None else dict(kept.offsets)
        self._arrivals: Tail | None = None
        self._hearing: Hearing | None = None
        self._outbox: Outbox | None = None
        self._others: dict[str, float] = {}
        self._behind: dict[str, tuple[int, float]] = {}
        self._opened_at = self._published_at = self._saved_at = self._trained_at = 0.0
        self._training: Child | None = None
        self.published = 0

    def open(self) -> None:
        """Connect. Raises: KafkaException."""
        now_ms = wall_us() // 1_000
        since_ms = now_ms - (WINDOW_S + 60) * 1_000  # without a state, the last hour is learned from the topic
        self._arrivals = Tail(self._kafka, "arrivals", since_ms=since_ms, offsets=self._position)
        self._hearing = Hearing(self._kafka, back_ms=round(SILENCE_S * 1_000))
        self._outbox = Outbox(self._kafka.producer(), name="forecasts", threaded=False)
        self._opened_at = self._saved_at = time.monotonic()
        self._trained_at = self._opened_at + FIRST_TRAINING_S - self._settings.retrain_h * 3_600

    def listen(self) -> tuple[list[Message], list[Word]]:
        """What came on `arrivals` and `fleet`."""
        assert self._arrivals is not None
        assert self._hearing is not None
        return self._arrivals.listen(), self._hearing.listen()

    def count(self, messages: list[Message]) -> None:
        """Records of `arrivals`, which may be none; then a turn, if they were all."""
        now_s = wall_us() // 1_000_000
        for message in messages:
            partition, offset = message.partition() or 0, message.offset() or 0
            self._position[partition] = offset + 1
            try:
                arrivals = decode_arrivals(message.value() or b"")
            except msgspec.MsgspecError as unreadable:
                log.warning("arrivals ignored", extra={"error": str(unreadable)})
                continue
            self.outlook.add(arrivals, partition=partition, offset=offset, now_s=now_s)
        if len(messages) < LIST_MAX:  # else more are waiting, which may be of the seconds that would be closed
            self._turn()

    def other(self, value: bytes) -> None:
        """A record of `forecasts`: somebody publishes."""
        try:
            name = decode_forecast(value).forecaster
        except msgspec.MsgspecError as unreadable:
            log.warning("forecast ignored", extra={"error": str(unreadable)})
            return
        if name != self._settings.instance:
            self._others[name] = time.monotonic()

    def hear(self, words: list[Word]) -> None:
        """Records of `fleet`: how far routers are behind."""
        now = time.monotonic()
        for word in words:
            if isinstance(word, RouterReport):
                self._behind[word.router] = (word.behind, now)
        self._behind = {name: said for name, said in self._behind.items() if now - said[1] < SILENCE_S}

    def _turn(self) -> None:
        """Close what is over, publish each second, save and train now and then."""
        assert self._outbox is not None
        assert self._arrivals is not None
        now, now_s = time.monotonic(), wall_us() // 1_000_000
        if self._arrivals.reached((now_s - self._settings.late_s + 1) * 1_000):  # else what was not read would be late
            self.outlook.close(now_s)
        self._outbox.poll()
        if now - self._published_at >= 1.0 and now - self._opened_at >= SILENCE_S and self.outlook.ready(now_s):
            self._published_at = now
            self._others = {name: at for name, at in self._others.items() if now - at < SILENCE_S}
            if leads(self._settings.instance, self._others):
                self._publish()
        if now - self._saved_at >= self._settings.save_s:
            self._saved_at = now
            self.save()
        self._learn(now)

    def save(self) -> None:
        """Keep the state; a folder that cannot be written to costs what is learned since, and is logged."""
        try:
            self._files.save(Kept(self.outlook.state, self.outlook.windows.resume(self._position)))
        except OSError as full:
            log.warning("forecaster's state not saved", extra={"error": str(full)})

    def close(self) -> None:
        self.save()
        if self._training is not None:
            self._training.kill()
        for each in (self._arrivals, self._hearing, self._outbox):
            if each is not None:
                each.close()

    def _publish(self) -> None:
        assert self._outbox is not None
        backlog = sum(behind for behind, _ in self._behind.values())
        topic = self._kafka.topic("forecasts")
        try:
            for record in self.outlook.publish(backlog=backlog, name=self._settings.instance):
                self._outbox.send(topic, encode(record), key=record.klass)
                self.published += 1
        except (KafkaException, Overloaded) as refused:
            log.warning("forecasts not sent", extra={"error": str(refused)})

    def _learn(self, now: float) -> None:
        """Start the training when it is time, and take new models, whoever trained them."""
        if self._training is not None and self._training.status is not None:
            if self._training.status != 0:
                log.warning("training failed", extra={"last_lines": self._training.tail()})
            self._training.wait(timeout_s=0.0)
            self._training = None
        at = self._files.models_at()
        if at != self._models_at:
            self._models_at = at
            models = self._files.models()
            if models is not None:
                self.outlook.use(Forecaster(models))
                log.info("new models", extra={"experts": len(models.experts), "rows": models.trained_rows})
        due = self._settings.retrain_h and now - self._trained_at >= self._settings.retrain_h * 3_600
        if self._train and due and self._training is None:
            self._trained_at = now
            try:
                self._training = Child(self._train, log=self._files.folder / "training.log")
            except NotStarted as refused:
                log.warning("training not started", extra={"error": refused.message})


def command(config_arguments: Sequence[str]) -> tuple[str, ...]:
    """How a process of ours trains."""
    return (sys.executable, "-P", "-m", "headrace", "forecaster", "--train", *config_arguments)
