"""The figures of `headrace bench variants`, counted from what was generated."""

from __future__ import annotations

from benchmarks.variants import figures
from headrace.variants.generating import Generated
from registry.records import Accuracy, RefusedVariant
from tests.executors.models import model, variant

MEASURED = Accuracy(value=0.9, provenance="measured", n=40, dataset="d", low=0.77, high=0.96)
LOWERED = Accuracy(value=0.85, provenance="published", source="not measured")


def test_figures_count_ways_and_say_what_int8_loses() -> None:
    """Only digit variants count as measured; a drop counts whether the variant was published or refused."""
    digits = model(task="digit-classification")
    photos = model(name="photos", task="image-classification")
    made = {
        "tiny": Generated(
            variants=(
                variant("torch", name="tiny/torch-w2", width=2, accuracy=MEASURED),
                variant("onnxruntime", name="tiny/onnxruntime-int8-static", accuracy=MEASURED),
            ),
            refused=(
                RefusedVariant(variant="tiny/onnxruntime-int8-dynamic", model="tiny", stage="accuracy", reason="loses"),
            ),
            drops={"tiny/onnxruntime-int8-static": 0.005, "tiny/onnxruntime-int8-dynamic": 0.02},
            ran=1,
        ),
        "photos": Generated(
            variants=(
                variant("torch", name="photos/torch", model="photos"),
                variant("torch", name="photos/torch-bf16", model="photos", accuracy=LOWERED),
            ),
            refused=(),
        ),
    }

    found = figures([digits, photos], made)

    assert (found["variants"], found["refused"], found["looked_up"]) == (4, 1, 4)
    assert found["accuracy_measured"] == "2 of 2 digit variants"
    assert found["int8_drop"] == {
        "int8-static": {"max": 0.005, "mean": 0.005}, "int8-dynamic": {"max": 0.02, "mean": 0.02},
    }  # fmt: skip
    assert found["variants_by_way"] == {"torch": 2, "onnxruntime-int8-static": 1, "torch-bf16": 1}
    assert found["variants_by_width"] == {2: 1, 1: 3}
    assert found["differs_from_fp32"] == {"photos/torch-bf16": 0.05}
    assert found["refused_by_stage"] == {"accuracy": 1}
