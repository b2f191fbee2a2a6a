"""The example models, built once into this user's cache: the first run takes a minute, later ones no time."""

from __future__ import annotations

import pytest

from examples.digits import build as digits
from examples.images import build as images
from examples.store import ModelArtifact, default_out


@pytest.fixture(scope="session")
def built() -> dict[str, ModelArtifact]:
    out = default_out()
    return {artifact.model.name: artifact for artifact in (*digits.build(out), *images.build(out))}
