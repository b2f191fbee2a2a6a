"""What an executor tries to load, and when it tries again what was refused."""

from __future__ import annotations

from typing import Any

import pytest

from executors.backends.protocol import ArtifactBroken
from executors.orders import Want
from executors.residency import Residency
from executors.settings import ExecutorSettings
from registry.catalog import Catalog
from registry.records import Model, Variant
from streams.errors import HeadraceError, StoreUnreachable
from streams.settings import KafkaSettings
from tests.executors.models import model, variant
from tests.executors.test_emulated import catalog as emulated_catalog


class Loading(Residency):
    """Notes what is loaded, and fails as it is told; `Follower` connects to nothing before it is started."""

    def __init__(self) -> None:
        super().__init__(ExecutorSettings(), KafkaSettings(), loaded=lambda *_: None, unloaded=lambda *_: None)
        self.asked: list[str] = []
        self.fails: HeadraceError | None = None

    def _load(self, catalog: Catalog, want: Want, variant: Variant, model: Model) -> None:
        self.asked.append(variant.precision)
        if self.fails is not None:
            raise self.fails
        self._here[variant.name] = want


@pytest.fixture
def catalog() -> Catalog:
    found = Catalog()
    found.add(model())
    found.add(variant("onnxruntime"))
    return found


def test_pass_refused_variant_is_tried_again_when_it_was_registered_anew(catalog: Catalog) -> None:
    """Not before: the same file will not load by asking again."""
    residency = Loading()
    residency.fails = ArtifactBroken("spoiled")
    residency._pass(catalog)
    residency._pass(catalog)
    refused = dict(residency.refused)
    residency.fails = None
    catalog.add(variant("onnxruntime", precision="int8"))
    residency._pass(catalog)

    assert residency.asked == ["fp32", "int8"]
    assert refused == {"tiny-onnxruntime": "spoiled"}
    assert residency.refused == {}


def test_pass_store_that_is_away_is_asked_again(catalog: Catalog) -> None:
    """Its silence says nothing about the variant."""
    residency = Loading()
    residency.fails = StoreUnreachable("away")
    residency._pass(catalog)
    postponed: Any = residency._postponed
    residency.fails = None
    residency._pass(catalog)

    assert residency.asked == ["fp32", "fp32"]
    assert postponed is True
    assert (residency._postponed, residency.refused) == (False, {})


def test_pass_the_first_of_several_instances_serves_while_the_others_load() -> None:
    """One at a time, and nothing is said to be loading once all are there."""
    told: list[tuple[str, int, int, bool]] = []
    found = emulated_catalog()
    residency = Residency(
        ExecutorSettings(emulated=True, cores=3, variants=("*",)), KafkaSettings(), unloaded=lambda *_: None,
        loaded=lambda resident, backends, more: told.append(
            (resident.variant.name, len(backends), resident.lanes, more)
        ),
    )  # fmt: skip

    residency._pass(found)

    assert told == [("m/e", 1, 1, False), ("m/e", 1, 2, True), ("m/e", 1, 3, True)]
    assert residency.orders()[1] == {}
