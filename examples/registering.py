"""What `headrace register` needs beside the built models: a `model.toml` each, and the digits' validation set."""

from __future__ import annotations

import json
import re
import secrets
from pathlib import Path

import numpy as np

from examples import store
from examples.digits.build import NAMES
from examples.images.build import SIZES
from registry.records import Model

TEMPLATE = Path(__file__).parent / "digits" / "model.toml"
VALIDATION, TOML = "digits.npz", "model.toml"


def describe(out: Path) -> list[Path]:
    """Write what is missing into the folder of built models; returns every `model.toml`."""
    if not (out / VALIDATION).is_file():
        from examples.digits.data import held_out

        x, y = held_out()
        part = out / f".{secrets.token_hex(8)}.npz"
        np.savez(part, x=x, y=y)
        part.replace(out / VALIDATION)
    text = TEMPLATE.read_text(encoding="utf-8")
    digits = {
        name: re.sub(r'^name = "digits-cnn"$', f'name = "{name}"', text, count=1, flags=re.MULTILINE) for name in NAMES
    }
    images = {name: _image(store.load(out / name).model) for name in SIZES if (out / name).is_dir()}
    written = []
    for name, described in (digits | images).items():
        path = out / name / TOML
        part = path.with_name(f".{secrets.token_hex(8)}.toml")
        part.write_text(described, encoding="utf-8")
        part.replace(path)
        written.append(path)
    return written


def _image(model: Model) -> str:
    """There are no labelled photographs here, so its accuracy is the published one, and stays marked as that."""
    params = ", ".join(f"{key} = {json.dumps(value)}" for key, value in model.preprocess.params.items())
    return f"""# An image model without a validation set: [accuracy] says whose figure it is.

name = {json.dumps(model.name)}
task = {json.dumps(model.task)}
artifacts = {json.dumps(list(store.FILES.values()))}
labels = {json.dumps(model.labels)}

[accuracy]
value = {model.accuracy.value}
source = {json.dumps(model.accuracy.source)}

[preprocess]
name = {json.dumps(model.preprocess.name)}
params = {{ {params} }}

[postprocess]
name = {json.dumps(model.postprocess.name)}
params = {{ k = {model.postprocess.params["k"]} }}
"""
