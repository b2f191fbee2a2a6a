"""What is published and with which accuracy: a pure function of counts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.variants.judging import Found, Refusal, Rules, accuracy, drop, judge
from registry.intervals import wilson
from registry.records import Accuracy, Step
from tests.executors.models import model, variant

FP32 = Found(n=100, right=90, agree=100)
PUBLISHED = model(accuracy=Accuracy(value=0.75, provenance="published", source="a paper"))


def verdict(found: Found, **changes: Any) -> Refusal | None:
    drawn = changes.pop("drawn", False)
    return judge(variant("torch", **changes), model(), found, FP32, Rules(), drawn=drawn)


@pytest.mark.parametrize("right", [89, 90, 95])
def test_judge_a_drop_within_what_is_allowed_is_published(right: int) -> None:
    """One of a hundred less is exactly the default."""
    assert verdict(Found(n=100, right=right, agree=95), precision="bf16") is None


def test_judge_a_larger_drop_is_refused_with_both_figures() -> None:
    """Two of a hundred less are more than 0.01."""
    assert verdict(Found(n=100, right=88, agree=95), precision="int8-static") == Refusal(
        "accuracy", "loses 0.0200 > 0.01 of accuracy on 100 items"
    )


def test_judge_equal_precision_must_give_equal_outputs() -> None:
    """fp32 in another framework is the same function: agreeing on top answers is not enough."""
    found = Found(n=100, right=90, agree=100, difference=0.01)

    assert verdict(found) == Refusal("answers", "an output differs from the reference's by 0.01 > 0.0001")
    assert verdict(Found(n=100, right=90, agree=100, difference=0.01, scale=1_000.0)) is None


def test_judge_nan_is_refused_before_anything_is_compared() -> None:
    """A row of NaN has a top answer, too: the first."""
    assert verdict(Found(n=100, right=90, agree=100, unsound=3), precision="bf16") == Refusal(
        "answers", "NaN or infinity in the answers to 3 of 100 items"
    )


def test_judge_without_labels_asks_for_agreement() -> None:
    """Where nothing says which answer is right, a copy must mostly give the original's."""
    few, many = Found(n=100, agree=79), Found(n=100, agree=80)

    assert verdict(few, precision="int8-static") == Refusal(
        "answers", "the top answer is fp32's for 79.0% of 100 items < 80.0%"
    )
    assert verdict(many, precision="int8-static") is None


def test_judge_noise_proves_nothing_about_reduced_precision() -> None:
    """Random inputs show that it runs, which is all that equal precision needs."""
    refusal = verdict(Found(n=32, agree=32), precision="bf16", drawn=True)

    assert refusal is not None
    assert refusal.stage == "accuracy"
    assert verdict(Found(n=32, agree=32), drawn=True) is None


def test_judge_outputs_that_are_no_classes_are_compared_by_size() -> None:
    """A top answer of a regression means nothing."""
    regression = model(postprocess=Step(name="tensor"))
    near, far = Found(n=10, agree=0, error=0.05), Found(n=10, agree=10, error=0.051)

    def of(found: Found) -> Refusal | None:
        return judge(variant("torch", precision="bf16"), regression, found, FP32, Rules(), drawn=False)

    assert of(near) is None
    assert of(far) == Refusal("answers", "outputs differ from fp32's by 5.1% > 5.0%")


@pytest.mark.parametrize(("saved", "published"), [({"1": 0.1, "8": -0.5}, True), ({"1": 0.09, "8": 0.0}, False)])
def test_judge_compiled_must_pay_at_one_end(saved: dict[str, float], published: bool) -> None:
    """A tenth of the time at batch 1, or at the cap."""
    refusal = verdict(Found(n=100, right=90, agree=100, saved=saved), compiled=True)

    assert (refusal is None) is published
    assert refusal is None or refusal.stage == "profile"


def test_judge_what_ended_in_the_child_keeps_its_stage() -> None:
    """The child's own words are the reason."""
    assert verdict(Found(stage="load", reason="no such operator")) == Refusal("load", "no such operator")


@given(n=st.integers(1, 10_000), data=st.data())
def test_accuracy_measured_is_the_share_with_its_interval(n: int, data: st.DataObject) -> None:
    """Provenance, count, data set and Wilson's interval belong to every measured figure, and the value is inside."""
    right = data.draw(st.integers(0, n))

    made = accuracy(
        variant("torch"), model(), Found(n=n, right=right, agree=n), Found(n=n, right=n), told="items", dataset="d"
    )

    assert made is not None
    assert (made.provenance, made.n, made.dataset, made.value) == ("measured", n, "d", right / n)
    assert (made.low, made.high) == wilson(right, n)
    assert made.low is not None
    assert made.high is not None
    assert made.low <= made.value <= made.high


def test_accuracy_without_labels_is_never_called_measured() -> None:
    """A copy gets what is left if every item that it answers differently had been right before."""
    made = accuracy(
        variant("torch", precision="int8-static"), PUBLISHED, Found(n=50, agree=45), Found(n=50, agree=50),
        told="50 crops of cat.jpg", dataset="",
    )  # fmt: skip

    assert made is not None
    assert made.value == pytest.approx(0.65)
    assert (made.provenance, made.n, made.dataset, made.low, made.high) == ("published", 0, "", None, None)
    assert made.source == (
        "not measured: 0.75 of fp32 (a paper) less 0.100: the top answer of int8-static is fp32's for 45 of 50, "
        "50 crops of cat.jpg"
    )


def test_accuracy_of_equal_precision_stays_the_published_one() -> None:
    """The figure is of this function, in whichever framework."""
    found = Found(n=50, agree=50)

    assert accuracy(variant("torch"), PUBLISHED, found, found, told="crops", dataset="") is None


def test_drop_is_of_the_same_items() -> None:
    """Positive: lost. None where nothing is labelled."""
    assert drop(Found(n=100, right=88), FP32) == pytest.approx(0.02)
    assert drop(Found(n=100, agree=100), FP32) is None
