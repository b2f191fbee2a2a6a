"""What a forecaster keeps on disk: its state with the place to read on from, and the models that were trained."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import NamedTuple

from forecasting.errors import BadForecasters
from forecasting.forecaster import Models, State
from forecasting.store import dump_models, dump_state, load_models, load_state

log = logging.getLogger(__name__)

STATE, PLACE, MODELS = "state.npz", "place.json", "models.npz"


class Kept(NamedTuple):
    """A state, and the offsets of `arrivals` by partition from which the counts after it are complete."""

    state: State
    offsets: dict[int, int]


class Files:
    """One folder; every file is written beside its place and then put there whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, kept: Kept) -> None:
        """State and place go together: the place is written last, and names the state's second."""
        self._write(STATE, dump_state(kept.state))
        place = {"second": kept.state.history.second, "offsets": kept.offsets}
        self._write(PLACE, json.dumps(place).encode())

    def load(self) -> Kept | None:
        """What was saved last; None if there is none, or it cannot be used (which is logged)."""
        try:
            place = json.loads((self.folder / PLACE).read_bytes())
            state = load_state((self.folder / STATE).read_bytes())
            if state.history.second != place["second"]:
                log.warning("forecaster's state is of another moment than its place; starting from the topic")
                return None
            return Kept(state, {int(partition): int(offset) for partition, offset in place["offsets"].items()})
        except FileNotFoundError:
            return None
        except (BadForecasters, OSError, ValueError, KeyError, AttributeError) as unusable:
            log.warning("forecaster's state is not usable", extra={"error": str(unusable)})
            return None

    def models_at(self) -> float:
        """When the models were written; 0 if there are none."""
        try:
            return (self.folder / MODELS).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def models(self) -> Models | None:
        """The trained models; None if there are none, or they cannot be used (which is logged)."""
        try:
            return load_models((self.folder / MODELS).read_bytes())
        except FileNotFoundError:
            return None
        except (BadForecasters, OSError) as unusable:
            log.warning("trained models are not usable", extra={"error": str(unusable)})
            return None

    def save_models(self, models: Models) -> None:
        self._write(MODELS, dump_models(models))

    def _write(self, name: str, data: bytes) -> None:
        part = self.folder / f"{name}.{os.getpid()}.part"
        part.write_bytes(data)
        part.replace(self.folder / name)
