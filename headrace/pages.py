"""Pages of the documentation that come from tables in code, by their path in the checkout."""

from __future__ import annotations

import importlib

from headrace.show import example


def pages() -> dict[str, str]:
    """Every generated page and its text."""
    document = importlib.import_module("streams.document")  # only here: it is for checkouts
    return {**document.pages(), "docs/headrace.example.toml": example()}
