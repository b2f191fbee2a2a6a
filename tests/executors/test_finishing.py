"""Rows to answers: each step against a slow and obvious oracle, and each item failing alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from executors.finishing import PASSES_MAX, Labelled, best, finish
from registry.records import Model, Step
from streams.errors import BadSettings, ModelFailed
from streams.openinference import Array
from streams.responses import Response, decode_v2_response, encode_v2_response
from tests.executors.models import model

LABELS = tuple("abcdefghij")


def responses(step: Step, of: Model, rows: Array) -> list[Response]:
    values = finish(step, of)(rows, [f"q{i}" for i in range(len(rows))])
    assert all(isinstance(value, bytes) for value in values), values
    return [decode_v2_response(value) for value in values if isinstance(value, bytes)]


def top_k(k: int, *, logits: bool = False) -> Step:
    return Step(name="top-k", params={"k": k, "logits": logits})


@given(
    hnp.arrays("float32", st.tuples(st.integers(1, 5), st.just(10)), elements=st.floats(-50, 50, width=32)),
    st.integers(1, 10),
    st.booleans(),
)
def test_top_k_any_scores_equal_a_sort(rows: Array, k: int, logits: bool) -> None:
    """Best first, of equals the lower class; with logits the scores are the softmax over all classes."""
    of = model(labels=LABELS)

    got = responses(top_k(k, logits=logits), of, rows)

    exact = rows.astype("float64")
    scores = np.exp(exact) / np.exp(exact).sum(axis=1, keepdims=True) if logits else exact
    for i, (response, row) in enumerate(zip(got, rows, strict=True)):
        order = sorted(range(10), key=lambda c: (-row[c], c))[:k]
        assert (response.id, response.model_name, response.model_version) == (f"q{i}", "tiny", "1")
        assert response.output("class").data == order
        assert response.output("label").data == [LABELS[c] for c in order]
        np.testing.assert_allclose(response.output("score").data, scores[i, order], rtol=1e-5, atol=1e-30)


@given(hnp.arrays("float32", (3, 100), elements=st.integers(-5, 5).map(float)), st.integers(1, 100))
def test_best_passes_and_sort_agree(rows: Array, k: int) -> None:
    """The two ways of choosing differ in speed only, ties included."""
    by_sort = np.argsort(-rows, axis=1, kind="stable")[:, :k]

    classes, values, sound = best(rows, k)

    np.testing.assert_array_equal(classes, by_sort)
    np.testing.assert_array_equal(values, np.take_along_axis(rows, by_sort, axis=1))
    assert all(sound)
    assert PASSES_MAX < 100


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("k", [1, 3, 80])
def test_best_says_which_rows_are_sound(bad: float, k: int) -> None:
    """By passes and by sort: one number that is none spoils its row, wherever it stands."""
    rows = np.ones((4, 100), "float32")
    rows[1, 99] = rows[3, 0] = bad

    assert best(rows, k)[2] == [True, False, True, False]


@given(
    st.text(max_size=20),
    st.lists(st.text(min_size=1, max_size=9), min_size=3, max_size=3),
    st.lists(st.tuples(st.integers(0, 2), st.floats(width=32, allow_nan=False, allow_infinity=False)), min_size=1),
    st.booleans(),
)
def test_labelled_is_what_encode_v2_response_says(
    query_id: str, labels: list[str], rows: list[tuple[int, float]], named: bool
) -> None:
    """The pieces put together are the whole, byte for byte, whatever the names contain."""
    of = model(labels=tuple(labels) if named else ())
    classes, scores = [c for c, _ in rows], [score for _, score in rows]
    shape = (len(rows),)
    outputs: list[tuple[str, str, Sequence[int], Sequence[Any]]] = [
        ("class", "INT64", shape, classes),
        ("score", "FP32", shape, scores),
    ]
    if named:
        outputs.insert(0, ("label", "BYTES", shape, [labels[c] for c in classes]))

    assert Labelled(of, len(rows))(query_id, classes, scores) == encode_v2_response(
        model_name=of.name, model_version=of.version, id=query_id, outputs=outputs
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("logits", [False, True])
@pytest.mark.parametrize("k", [1, 3])
def test_top_k_item_that_is_not_finite_fails_alone(bad: float, logits: bool, k: int) -> None:
    """One poisoned row is one failed query; its neighbours are answered."""
    rows = np.eye(3, dtype="float32")
    rows[1, 2] = bad

    first, second, third = finish(top_k(k, logits=logits), model())(rows, ["a", "b", "c"])

    assert isinstance(second, ModelFailed)
    assert second.message == "tiny: the scores of this item are not finite"
    for value, label in ((first, "zero"), (third, "two")):
        assert isinstance(value, bytes)
        assert decode_v2_response(value).output("label").data[0] == label


def test_top_k_masked_class_is_never_chosen() -> None:
    """A model may mask classes with -inf, as long as k others are left."""
    rows = np.array([[1, -np.inf, 2]], "float32")

    assert responses(top_k(2, logits=True), model(), rows)[0].output("class").data == [2, 0]
    assert isinstance(finish(top_k(3), model())(rows, ["q"])[0], ModelFailed)


def test_top_k_leaves_the_outputs_as_they_were_and_takes_any_number_type() -> None:
    """The batch's array may be shared; doubles and integers are scores as well."""
    for dtype in ("float64", "int64", "float16", "float32"):
        rows = np.array([[1, 3, 2]], dtype)

        assert responses(top_k(3), model(), rows)[0].output("class").data == [1, 2, 0]
        assert rows.tolist() == [[1, 3, 2]]


def test_top_k_without_labels_gives_classes_and_scores() -> None:
    """Labels are optional."""
    response = responses(top_k(1), model(labels=()), np.array([[0.25, 0.75]], "float32"))[0]

    assert [(o.name, o.datatype, o.shape, o.data) for o in response.outputs] == [
        ("class", "INT64", (1,), [1]),
        ("score", "FP32", (1,), [0.75]),
    ]


def test_top_k_other_number_of_scores_than_labels_is_model_failed() -> None:
    """The record and the model disagree: no item of the batch can be trusted."""
    with pytest.raises(ModelFailed, match="4 scores for 3 labels and k = 1"):
        finish(top_k(1), model())(np.zeros((2, 4), "float32"), ["a", "b"])


@pytest.mark.parametrize("k", [0, 4, 1.5, "1"])
def test_top_k_out_of_bounds_is_bad_settings(k: object) -> None:
    """k is bounded by the labels."""
    with pytest.raises(BadSettings, match="is not within 1 to 3"):
        finish(Step(name="top-k", params={"k": k}), model())


def test_finish_unknown_step_or_parameter_is_bad_settings() -> None:
    """The message lists what there is."""
    with pytest.raises(BadSettings, match="postprocess 'boxes' is not one of top-k, tensor"):
        finish(Step(name="boxes"), model())
    with pytest.raises(BadSettings, match=r"no parameter \['n'\]; it has \['k', 'logits'\]"):
        finish(Step(name="top-k", params={"n": 1}), model())


@given(hnp.arrays(st.sampled_from(["float32", "int64", "bool", "float16"]), (2, 3, 2)))
def test_tensor_rows_round_trip_or_fail_alone(rows: Array) -> None:
    """The row as the model gave it, under its own name, without the batch axis."""
    values = finish(Step(name="tensor"), model())(rows, ["a", "b"])

    for value, row in zip(values, rows, strict=True):
        if np.isfinite(row).all():
            assert isinstance(value, bytes)
            np.testing.assert_array_equal(decode_v2_response(value).output("y").as_numpy(), row)
        else:
            assert isinstance(value, ModelFailed)


def test_tensor_type_without_a_name_in_the_protocol_is_model_failed() -> None:
    """No silent change of type."""
    with pytest.raises(ModelFailed, match="complex64 is not one of"):
        finish(Step(name="tensor"), model())(np.ones((1, 2), "complex64"), ["a"])
