"""Where generation keeps what it knows, and what it judges the models of a task on."""

from __future__ import annotations

from pathlib import Path

from headrace.variants import evidence, photographs
from headrace.variants.evidence import Evidence
from registry import dataset
from registry.records import Model
from streams.folders import cache_folder


def default_out() -> Path:
    """`variants` in this user's cache."""
    return cache_folder() / "variants"


def evidence_for(model: Model, validation: Path | None, samples: Path | None) -> Evidence:
    """A validation set if there is one, else photographs, else noise.

    Raises: BadDataset, BadSettings.
    """
    if validation is not None:
        return evidence.from_dataset(dataset.load(validation))
    if samples is not None:
        return photographs.crops_of(photographs.photographs_in(samples), model)
    return evidence.without(model)
