"""Which ways there are to run a model on a machine: the menu that generation tries, in order.

What the machine cannot run natively stands on the menu too, once, with the reason: people look for it. Hardware that
the machine lacks does not: a machine that has it generates its own variants, and the registry is the union.
"""

from __future__ import annotations

import math
import re
from typing import Literal

import msgspec

from registry.records import Framework, Hardware, Model, RefusedVariant, Variant

Stage = Literal["convert", "load", "answers", "accuracy", "profile"]
DIGEST = re.compile(r"[0-9a-f]{12,64}")
REASON_CHARACTERS_MAX = 1_000  # errors of frameworks can hold whole graphs

SMALL_INPUT_MAX = 10_000  # elements; small inputs gain from large batches, images run out of cache
BATCH_MAX_SMALL, BATCH_MAX_LARGE = 64, 8

PRECISIONS: dict[Framework, tuple[str, ...]] = {
    "onnxruntime": ("fp32", "int8-static", "int8-dynamic", "fp16"),
    "torch": ("fp32", "bf16", "fp16"),
}
CONVERTED = {("onnxruntime", "int8-static"), ("onnxruntime", "int8-dynamic"), ("onnxruntime", "fp16")}
"""What needs a file of its own. torch casts the weights of the model's file as it loads them."""

NATIVE = {"bf16": ("avx512_bf16", "amx_bf16", "bf16"), "fp16": ("avx512_fp16", "amx_fp16", "asimdhp")}
"""Flags of /proc/cpuinfo, any of which lets a CPU compute in that precision; without, each operator emulates it."""

DOT_PRODUCT = ("avx512_vnni", "avx_vnni", "asimddp")
"""Flags of CPUs that sum products of 8-bit numbers in 32 bits. Others saturate at 16, so weights get 7 bits there."""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What a machine offers. `flags` are those of /proc/cpuinfo, `frameworks` what is installed."""

    kind: str
    cores: int
    hardware: tuple[Hardware, ...] = ("cpu",)
    flags: frozenset[str] = frozenset()
    frameworks: tuple[Framework, ...] = ("onnxruntime", "torch")
    architecture: str = "x86_64"

    @property
    def reduce_range(self) -> bool:
        """Whether 8-bit weights must be kept to 7 bits here."""
        return self.flags.isdisjoint(DOT_PRODUCT)


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A variant to try; with `unsupported`, why it need not be tried here."""

    variant: Variant
    unsupported: str = ""

    @property
    def converts(self) -> bool:
        return (self.variant.framework, self.variant.precision) in CONVERTED


def menu(model: Model, machine: Machine) -> tuple[Candidate, ...]:
    """Every candidate for `model` on `machine`: plain ones first, then reduced precision, compiled ones last.

    The first is the reference that the answers of all others are compared with. Within one way to run, widths follow
    each other upwards: what does not work with one core is not tried with more.
    """
    ways = [
        (precision, compiled, framework, hardware)
        for hardware in machine.hardware
        for framework in sorted(model.artifacts)
        if framework in machine.frameworks
        for precision in PRECISIONS.get(framework, ())
        for compiled in ((False, True) if framework == "torch" else (False,))
        if hardware in ("cpu", "gpu") or (framework == "torch" and not compiled and precision in ("fp32", "bf16"))
    ]
    ways.sort(key=lambda way: (way[1], way[0] != "fp32"))  # stable: otherwise as above
    found = []
    for precision, compiled, framework, hardware in ways:
        unsupported = _unsupported(framework, precision, hardware, machine)
        if unsupported and compiled:
            continue  # said once, of the plain one
        for width in (1,) if unsupported else widths(hardware, machine):
            variant = Variant(
                name=name(model, framework, precision=precision, compiled=compiled, hardware=hardware, width=width),
                model=model.name,
                version=model.version,
                framework=framework,
                hardware=hardware,
                precision=precision,
                width=width,
                compiled=compiled,
                batch_max=batch_max(model),
            )
            found.append(Candidate(variant=variant, unsupported=unsupported))
    return tuple(found)


def name(
    model: Model,
    framework: str,
    *,
    precision: str = "fp32",
    compiled: bool = False,
    hardware: Hardware = "cpu",
    width: int = 1,
) -> str:
    """`<model>[@version]/<framework>[-<precision>][-compiled][-<hardware>][-w<width>]`, the usual left out.

    A version stands in the name if it is one that people ask for: not the first, and not a digest of a build.
    """
    versioned = model.version not in ("", "1") and not DIGEST.fullmatch(model.version)
    parts = [
        framework,
        *([] if precision == "fp32" else [precision]),
        *(["compiled"] if compiled else []),
        *([] if hardware == "cpu" else [hardware]),
        *([] if width == 1 else [f"w{width}"]),
    ]
    return f"{model.name}{f'@{model.version}' if versioned else ''}/{'-'.join(parts)}"


def widths(hardware: Hardware, machine: Machine) -> tuple[int, ...]:
    """1, 2, 4 ... up to the cores of a CPU, all of them included. A device's shares come from its lanes: 1."""
    if hardware != "cpu":
        return (1,)
    powers = {2**power for power in range(machine.cores.bit_length()) if 2**power <= machine.cores}
    return tuple(sorted(powers | {machine.cores}))


def batch_max(model: Model) -> int:
    """The cap until a profile says more: 64 small items, 8 large ones."""
    return BATCH_MAX_SMALL if math.prod(model.input_shape) <= SMALL_INPUT_MAX else BATCH_MAX_LARGE


def refused(variant: Variant, machine: Machine, *, stage: Stage, reason: str, at: str) -> RefusedVariant:
    """The record of a variant that is not published. `at` is an ISO time."""
    return RefusedVariant(
        variant=variant.name,
        model=variant.model,
        version=variant.version,
        stage=stage,
        reason=reason[:REASON_CHARACTERS_MAX],
        machine=machine.kind,
        refused_at=at,
    )


def _unsupported(framework: str, precision: str, hardware: Hardware, machine: Machine) -> str:
    if hardware != "cpu" or precision not in NATIVE:
        return ""
    if framework == "onnxruntime":
        return f"onnxruntime has no {precision} kernels for CPUs; it would cast every operator to fp32 and back"
    if machine.flags.isdisjoint(NATIVE[precision]):
        return f"this CPU does not compute in {precision}: it has none of {', '.join(NATIVE[precision])}"
    return ""
