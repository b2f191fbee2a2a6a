"""`headrace blobs`: a file in, the same file out, and old ones gone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.cli import load
from headrace.doctor.store import store
from headrace.printing import answer_json, answer_line
from headrace.settings import load as load_settings
from streams.blobs import LocalStore, digest_of
from streams.contract import Outcome
from streams.errors import BadSettings, ClaimNotFound, NoStore
from streams.records import Answer

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`headrace blobs ARGS` in a folder of its own, with a store beside; returns what it prints."""
    monkeypatch.chdir(tmp_path)

    def call(*args: str, url: str = "store") -> str:
        load("blobs").main([*args, "--set", f"blobs.url={url}"], prog_name="blobs", standalone_mode=False)
        return capsys.readouterr().out

    return call


def test_blobs_put_then_get_gives_the_same_file(run: Run, tmp_path: Path) -> None:
    """What `put` prints is what a query's header says and `get` takes."""
    (tmp_path / "photo").write_bytes(b"photo")
    claim = run("put", "photo").strip()
    run("get", claim, "copy")

    assert claim == digest_of(b"photo")
    assert (tmp_path / "copy").read_bytes() == b"photo"


def test_blobs_prune_removes_by_age(run: Run, tmp_path: Path) -> None:
    """Of two values the one of the day before yesterday goes."""
    kept = LocalStore(tmp_path / "store")
    old, young = kept.put(b"old"), kept.put(b"young")
    place = next(path for path in kept.root.rglob("*") if path.name == old.removeprefix("sha256:"))
    os.utime(place, (time.time() - 2 * 86_400,) * 2)
    said = run("prune", "--older-than", "1d")

    assert said == "removed 1 values, 0.0 MB\n"
    assert (kept.exists(old), kept.exists(young)) == (False, True)


def test_blobs_failures_are_those_of_the_store(run: Run, tmp_path: Path) -> None:
    """No store, no such value, no such span."""
    with pytest.raises(NoStore, match="HEADRACE_BLOBS__URL"):
        run("prune", "--older-than", "1d", url="")
    with pytest.raises(ClaimNotFound):
        run("get", digest_of(b"never"), "copy")
    with pytest.raises(BadSettings, match=r"--older-than '1w' is not a number and one of s, m, h, d"):
        run("prune", "--older-than", "1w")

    assert not (tmp_path / "copy").exists()


def test_doctor_puts_and_gets(tmp_path: Path) -> None:
    """None is in order, one that works is, one that does not is told with what to do."""
    (tmp_path / "file").touch()
    pairs = ["blobs.url=", f"blobs.url={tmp_path / 'store'}", f"blobs.url={tmp_path / 'file' / 'below'}"]
    found = [next(store(load_settings(pairs=[pair], environ={}).settings)) for pair in pairs]

    assert [finding.verdict for finding in found] == ["ok", "ok", "fail"]
    assert "a value put and got" in found[1].detail
    assert found[2].todo


def test_printed_answer_names_its_claim() -> None:
    """`headrace results` reads beside the clients and fetches nothing."""
    answer = Answer(query_id="q", outcome=Outcome.OK, value=b"", reply_topic="r", claim=digest_of(b"x"))

    assert f"in the store: {digest_of(b'x')}" in answer_line(answer)
    assert f'"claim":"{digest_of(b"x")}"' in answer_json(answer)
