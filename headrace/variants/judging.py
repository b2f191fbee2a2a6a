"""Whether a variant may be published, and with which accuracy: a pure function of what was found."""

from __future__ import annotations

import msgspec

from registry.generate import Stage
from registry.intervals import wilson
from registry.records import Accuracy, Artifact, Model, Variant


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a variant must keep.

    `accuracy_drop_max`: share of right answers that it may lose against fp32, on the same items.
    `agreement_min`: share of equal top answers, where no labels tell which is right.
    `difference_max`: of outputs at equal precision, in units of the largest output (at least 1).
    `error_max`: of outputs that are no classes, at reduced precision, relative to their size (2-norms).
    `compile_saves_min`: share of the time that compiling must save, at batch 1 or at the cap.
    """

    accuracy_drop_max: float = 0.01
    agreement_min: float = 0.80
    difference_max: float = 1e-4
    error_max: float = 0.05
    compile_saves_min: float = 0.10


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What the child found out about one variant; with `stage`, where it ended, and why.

    Counts are of items: `n` were run, `right` are as labelled (None: no labels), `agree` have the reference's top
    answer, `unsound` hold NaN or infinity. `difference` is the largest of any output, `scale` the reference's largest
    output, `error` the difference's 2-norm by the reference's. `saved` is what compiling saves, by batch size.
    """

    stage: Stage | None = None
    reason: str = ""
    artifact: Artifact | None = None
    n: int = 0
    right: int | None = None
    agree: int = 0
    unsound: int = 0
    difference: float = 0.0
    scale: float = 1.0
    error: float = 0.0
    saved: dict[str, float] = {}
    load_s: float = 0.0


class Refusal(msgspec.Struct, frozen=True):
    stage: Stage
    reason: str


def judge(
    variant: Variant, model: Model, found: Found, reference: Found, rules: Rules, *, drawn: bool
) -> Refusal | None:
    """None if it may be published. `drawn`: the items were noise."""
    if found.stage is not None:
        return Refusal(found.stage, found.reason)
    if found.unsound:
        return Refusal("answers", f"NaN or infinity in the answers to {found.unsound} of {found.n} items")
    if variant.precision == "fp32":
        limit = rules.difference_max * max(1.0, found.scale)
        if found.difference > limit:
            return Refusal("answers", f"an output differs from the reference's by {found.difference:.3g} > {limit:.3g}")
    elif drawn:
        return Refusal("accuracy", "neither a validation set nor sample inputs: no way to tell what it loses")
    elif model.postprocess.name != "top-k":
        if found.error > rules.error_max:
            return Refusal("answers", f"outputs differ from fp32's by {found.error:.1%} > {rules.error_max:.1%}")
    elif found.right is None and (agreement := found.agree / found.n) < rules.agreement_min:
        return Refusal(
            "answers", f"the top answer is fp32's for {agreement:.1%} of {found.n} items < {rules.agreement_min:.1%}"
        )
    lost = drop(found, reference)
    if lost is not None and lost > rules.accuracy_drop_max + 1e-12:
        return Refusal("accuracy", f"loses {lost:.4f} > {rules.accuracy_drop_max:g} of accuracy on {found.n} items")
    if variant.compiled and max(found.saved.values(), default=0.0) < rules.compile_saves_min:
        return Refusal("profile", does_not_pay(found.saved, rules.compile_saves_min))
    return None


def drop(found: Found, reference: Found) -> float | None:
    """Accuracy lost against the reference on the same items; negative: gained; None without labels."""
    if found.right is None or reference.right is None or not found.n:
        return None
    assert found.n == reference.n, (found.n, reference.n)
    return (reference.right - found.right) / found.n


def does_not_pay(saved: dict[str, float], least: float) -> str:
    told = ", ".join(f"{share:+.1%} at batch {batch}" for batch, share in saved.items())
    return f"compiling saves too little time: {told}; at least {least:.0%} at one of them is asked"


def accuracy(
    variant: Variant, model: Model, found: Found, reference: Found, *, told: str, dataset: str
) -> Accuracy | None:
    """The variant's own accuracy; None: it is the model's.

    Measured where there are labels. Else a reduced precision gets the model's figure less the share of items that it
    answers unlike fp32: if each of those had been right, and were now wrong, that is what is left.
    """
    if found.right is not None:
        low, high = wilson(found.right, found.n)
        compared = ""
        if variant.precision != "fp32" and reference.right is not None:
            compared = f"; fp32 has {reference.right / reference.n:.4f} on them, the same top answer for {found.agree}"
        return Accuracy(
            value=found.right / found.n,
            provenance="measured",
            source=f"top-1 on {told}{compared}",
            n=found.n,
            dataset=dataset,
            low=low,
            high=high,
        )
    if variant.precision == "fp32" or model.postprocess.name != "top-k":
        return None
    lost = 1 - found.agree / found.n
    return Accuracy(
        value=max(0.0, model.accuracy.value - lost),
        provenance="published",
        source=(
            f"not measured: {model.accuracy.value:g} of fp32 ({model.accuracy.source or model.accuracy.provenance}) "
            f"less {lost:.3f}: the top answer of {variant.precision} is fp32's for {found.agree} of {found.n}, {told}"
        ),
    )
