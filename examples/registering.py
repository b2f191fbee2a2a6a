"""What `headrace register` needs beside the built digit models: a `model.toml` each, and their validation set."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

import numpy as np

from examples.digits.build import NAMES

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
    written = []
    for name in NAMES:
        path = out / name / TOML
        part = path.with_name(f".{secrets.token_hex(8)}.toml")
        part.write_text(re.sub(r'^name = "digits-cnn"$', f'name = "{name}"', text, count=1, flags=re.MULTILINE))
        part.replace(path)
        written.append(path)
    return written
