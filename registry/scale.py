"""A catalogue of INFaaS's scale, 44 architectures and 270 variants, made from measured curves with a seed.

Architectures are taken from the curves that are given (imported tables, or `invented()` where there are none) and
multiplied by what a generator would do to them: precision, width, batch caps. Nothing of it was measured in that
form, so accuracies are `published` with the source `scaled`, and no benchmark may call the figures somebody's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from registry.latency import Point
from registry.records import Record
from registry.tables.curve import Curve, Device, points, records

ARCHITECTURES, VARIANTS = 44, 270  # INFaaS, section 6
DEVICES = {
    "cpu": Device(pool="cpu", hardware="cpu", lanes=16, usd_hour=0.68),
    "gpu": Device(pool="gpu", hardware="gpu", lanes=1, usd_hour=3.06),
    "inf1": Device(pool="inf1", hardware="inf1", lanes=4, usd_hour=0.228),
    "inf2": Device(pool="inf2", hardware="inf2", lanes=2, usd_hour=0.76),
}
WIDTHS = (1, 2, 4, 8)
CAPS = (4, 8, 16, 32)
PRECISIONS = {"cpu": ("fp32", "int8", "bf16"), "gpu": ("fp32", "fp16", "int8"), "inf1": ("bf16",), "inf2": ("bf16",)}
SPEED = {"fp32": (1.0, 1.0), "fp16": (0.45, 0.75), "bf16": (0.6, 1.0), "int8": (0.4, 0.85)}  # of fp32's latency
LOSS = {"fp32": 0.0, "fp16": 0.0005, "bf16": 0.001, "int8": 0.01}  # at most, of accuracy
WIDTH_EXPONENT = (0.15, 0.7)  # l(width) = l(1) / width ** e: narrow lanes win, by as much as published tables say
TASKS = (
    "image-classification",
    "object-detection",
    "sentiment",
    "question-answering",
    "translation",
    "text-generation",
)


def scale(
    base: Sequence[Curve], *, seed: int = 1, architectures: int = ARCHITECTURES, variants: int = VARIANTS
) -> list[Record]:
    """Registry records of exactly `architectures` models with `variants` variants between them.

    The same base, seed and counts give the same records.
    Raises: ValueError on an empty base, or more variants than the dimensions offer.
    """
    rng = np.random.default_rng(seed)
    families = _families(base)
    if not families:
        raise ValueError("there is no curve with an accuracy to start from")
    names = sorted(families)
    order = [names[i] for i in rng.permutation(len(names))]
    made: dict[str, list[Curve]] = {}
    for n in range(architectures):
        family = families[order[n % len(order)]]
        copy = n // len(order)
        name = family[0].architecture + (f"-x{copy}" if copy else "")
        stretch = 1.0 if copy == 0 else float(rng.uniform(0.6, 1.8))
        made[name] = _menu(name, family, stretch, rng)
    room = sum(map(len, made.values()))
    if room < variants:
        raise ValueError(f"{architectures} architectures offer {room} variants, not {variants}")
    return records(_share_out(made, variants))


def invented() -> list[Curve]:
    """Curves of made-up architectures over six tasks, for when no table is at hand: l(b) = fixed + item b."""
    rng = np.random.default_rng(44)
    curves = []
    for n in range(ARCHITECTURES):
        task = TASKS[n % len(TASKS)]
        size = math.exp(rng.uniform(0.0, 4.0))  # in units of the smallest network
        accuracy = min(0.99, 0.55 + 0.09 * math.log(size) + float(rng.uniform(-0.03, 0.03)))
        for kind, fixed, item in (("cpu", 1.0, 4.0), ("gpu", 4.0, 0.35), ("inf1", 2.0, 0.9), ("inf2", 0.8, 0.4)):
            if kind.startswith("inf") and rng.random() < 0.5:
                continue
            jitter = float(rng.uniform(0.8, 1.25))
            p50 = [(b, (fixed * (0.5 + size / 10) + item * size / 4 * b) * jitter) for b in (1, 2, 4, 8, 16)]
            curves.append(
                Curve(
                    architecture=f"net-{n:02d}", task=task, device=DEVICES[kind], accuracy=accuracy, source="invented",
                    points=points([(b, ms, ms * 1.08) for b, ms in p50]),
                )
            )  # fmt: skip
    return curves


def _families(base: Sequence[Curve]) -> dict[str, list[Curve]]:
    families: dict[str, list[Curve]] = {}
    for curve in base:
        neuron = curve.device.hardware in ("inf1", "inf2")  # whose compiler chooses the precision
        if curve.accuracy is not None and (curve.precision == "fp32" or neuron) and curve.width == 1:
            family = families.setdefault(curve.architecture, [])
            if all(curve.device.hardware != known.device.hardware for known in family):
                family.append(curve)
    return families


def _menu(name: str, family: list[Curve], stretch: float, rng: np.random.Generator) -> list[Curve]:
    """Every variant of one architecture, the measured ones first, the others in an order by chance."""
    first: list[Curve] = []
    more: list[Curve] = []
    for curve in family:
        kind = curve.device.hardware
        widths = WIDTHS if kind == "cpu" else (1,)
        exponent = float(rng.uniform(*WIDTH_EXPONENT))
        for precision in PRECISIONS[kind]:
            known = kind in ("inf1", "inf2") or precision == curve.precision
            speed = stretch * (1.0 if known else float(rng.uniform(*SPEED[precision])))
            accuracy = max(0.0, (curve.accuracy or 0.0) - LOSS[precision] * float(rng.random()))
            for width in widths:
                ratio = speed / width**exponent
                for cap in CAPS:
                    variant = msgspec.structs.replace(
                        curve, architecture=name, device=DEVICES[kind], precision=precision, width=width,
                        accuracy=round(accuracy, 4), batch_max=cap, label=f"b{cap}",
                        points=_scaled(curve.points, ratio), source=f"scaled from {curve.source}",
                    )  # fmt: skip
                    whole = precision == PRECISIONS[kind][0] and width == 1 and cap == CAPS[-1]
                    (first if whole else more).append(variant)
    return first + [more[i] for i in rng.permutation(len(more))]


def _share_out(made: dict[str, list[Curve]], variants: int) -> list[Curve]:
    """One of each in turn, until there are enough."""
    chosen: list[Curve] = []
    for turn in range(max(map(len, made.values()))):
        for menu in made.values():
            if turn < len(menu) and len(chosen) < variants:
                chosen.append(menu[turn])
    return chosen


def _scaled(curve: Sequence[Point], ratio: float) -> tuple[Point, ...]:
    return tuple(
        Point(batch=p.batch, p50_us=max(1, round(p.p50_us * ratio)), p99_us=max(1, round(p.p99_us * ratio)))
        for p in curve
    )
