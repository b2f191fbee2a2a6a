"""The two Neuron SDKs: what each is called, where it comes from, and why it cannot be used here. Pure.

Inf1 and Inf2 share neither package nor compiler nor artefacts. The public index holds packages of the same names that
only raise ImportError (aws-neuron/aws-neuron-sdk#916); the real ones come from AWS's own index.
"""

from __future__ import annotations

from typing import NamedTuple

from registry.records import Hardware

DOCS = "https://awsdocs-neuron.readthedocs-hosted.com/en/latest"


class Sdk(NamedTuple):
    """One SDK. `python_min` to `python_max` are the interpreters that its last release has wheels for."""

    hardware: Hardware
    machine: str
    module: str
    distribution: str
    compiler: str
    pinned: str
    python_min: tuple[int, int]
    python_max: tuple[int, int]
    page: str


class Installed(NamedTuple):
    """What one interpreter has of an SDK: None where the package is absent, `error` if the interpreter is."""

    python: tuple[int, int]
    version: str | None = None
    compiler: str | None = None
    error: str = ""


SDKS: dict[str, Sdk] = {
    "inf1": Sdk(
        hardware="inf1", machine="an inf1 instance", module="torch_neuron", distribution="torch-neuron",
        compiler="neuron-cc", pinned='"torch-neuron==1.13.1.2.11.13.0" "neuron-cc[tensorflow]" protobuf',
        python_min=(3, 7), python_max=(3, 10), page=f"{DOCS}/archive/setup/legacy-inf1/pytorch.html",
    ),
    "inf2": Sdk(
        hardware="inf2", machine="an inf2 instance", module="torch_neuronx", distribution="torch-neuronx",
        compiler="neuronx-cc", pinned='"neuronx-cc==2.27.5334.0" "torch-neuronx==2.9.0.2.15.32035"',
        python_min=(3, 11), python_max=(3, 13), page=f"{DOCS}/setup/pytorch/manual.html",
    ),
}  # fmt: skip


def placeholder(version: str | None, error: str = "") -> bool:
    """Whether it is the public index's package: versions 1.0..., where real ones follow torch's, 1.5 and later."""
    return "wrong package" in error.lower() or (version is not None and (version + ".").startswith("1.0."))


def explain(sdk: Sdk, found: Installed, *, error: str = "") -> tuple[str, str] | None:
    """Why the SDK cannot be used with what was found, and what to do; None if nothing speaks against it.

    `error` is what importing it raised.
    """
    low, high = (".".join(map(str, version)) for version in (sdk.python_min, sdk.python_max))
    install = f"in Python {low} to {high}: pip install {sdk.pinned} from the index that {sdk.page} names"
    if found.error:
        return found.error, install
    if placeholder(found.version, error):
        return (
            f"{' '.join(filter(None, (sdk.distribution, found.version)))} is the public index's placeholder, "
            "which only raises ImportError",
            f"pip uninstall {sdk.distribution} {sdk.compiler}; then {install}",
        )
    if not sdk.python_min <= found.python <= sdk.python_max:
        return f"{sdk.distribution} has no wheels for Python {'.'.join(map(str, found.python))}", install
    if found.version is None:
        return f"{sdk.distribution} is not installed", install
    if error:
        return f"{sdk.distribution} {found.version} cannot be imported: {error}", f"see {sdk.page}"
    return None


def casts(sdk: Sdk, precision: str) -> list[str] | None:
    """The compiler's arguments for a precision; None where it has no such arithmetic.

    Both compilers cast fp32 to bf16 by themselves unless told (a default that changed between releases), so each is
    always told, and fp32 means fp32.
    """
    if sdk.hardware == "inf1":
        return {"fp32": ["--fast-math", "none"], "bf16": ["--fast-math", "all"]}.get(precision)
    if precision == "fp32":
        return ["--auto-cast", "none"]
    return ["--auto-cast", "matmult", "--auto-cast-type", precision] if precision in {"bf16", "fp16"} else None
