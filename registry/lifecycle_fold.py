"""Versions and releases as the registry topic tells them: the same state from all of it and from what compaction left.

The fold keeps what the topic holds now, one record a key in the order of their last writes, which is what is left of
any log after compaction; everything else is computed from that.
"""

from __future__ import annotations

from typing import TypeVar

from registry.lifecycle import Role, role
from registry.records import Model, Release, Variant

_T = TypeVar("_T")


class Versions:
    """Every version of every model, and which of them is in force."""

    def __init__(self) -> None:
        self.models: dict[str, Model] = {}  # by name: the stable version, else the one registered last
        self.releases: dict[str, Release] = {}  # by model: the event that holds
        self._known: dict[str, dict[str, Model]] = {}  # model -> key -> record
        self._events: dict[str, dict[str, Release]] = {}

    def add(self, key: str, record: Model | Release) -> None:
        if isinstance(record, Model):
            _put(self._known.setdefault(record.name, {}), key, record)
            self._settle(record.name)
        else:
            _put(self._events.setdefault(record.model, {}), key, record)
            self._settle(record.model)

    def remove(self, key: str) -> None:
        """Forget what one key of the topic said."""
        for shelf in (self._known, self._events):
            for name in [name for name, records in shelf.items() if key in records]:
                del shelf[name][key]
                if not shelf[name]:
                    del shelf[name]
                self._settle(name)

    def of(self, model: str) -> dict[str, Model]:
        """The registered versions of one model, the one written last last."""
        found: dict[str, Model] = {}
        for record in self._known.get(model, {}).values():
            _put(found, record.version, record)
        return found

    def has(self, key: str) -> bool:
        """Whether the topic holds an event under this key."""
        return any(key in events for events in list(self._events.values()))

    def history(self, model: str) -> list[Release]:
        """The events that held, oldest first, as far back as the topic goes."""
        held: list[Release] = []
        for event in self._events.get(model, {}).values():
            if not held or event.number > held[-1].number:
                held.append(event)
        return held

    def void(self, model: str) -> list[Release]:
        """The events that never held, since another with that number, or a later one, was first."""
        held = {event.key for event in self.history(model)}
        return [event for event in self._events.get(model, {}).values() if event.key not in held]

    def version_of(self, variant: Variant) -> str:
        """The version that a variant belongs to; empty for a model that has none but one, under whatever name."""
        if variant.version:
            return variant.version
        release = self.releases.get(variant.model)
        return release.unversioned if release is not None else ""

    def model_of(self, variant: Variant) -> Model | None:
        """The record of exactly the version that a variant is made from."""
        version = self.version_of(variant)
        return self.of(variant.model).get(version) if version else self.models.get(variant.model)

    def role_of(self, variant: Variant) -> Role:
        return role(self.releases.get(variant.model), self.version_of(variant))

    def _settle(self, name: str) -> None:
        history = self.history(name)
        if history:
            self.releases[name] = history[-1]
        else:
            self.releases.pop(name, None)
        known = self.of(name)
        if not known:
            self.models.pop(name, None)
            return
        stable = self.releases[name].stable if history else ""
        self.models[name] = known.get(stable) or next(reversed(known.values()))


def _put(shelf: dict[str, _T], key: str, record: _T) -> None:
    shelf.pop(key, None)  # a key that is written again moves to the end, as in the compacted topic
    shelf[key] = record
