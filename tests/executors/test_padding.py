"""Batches of fixed sizes: which sizes, what is padded, what a profile then says; and the cache of what was compiled."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.backends.compiled import ABOUT, Compiled, default_folder, key
from executors.backends.device import RESERVE_BYTES, Shared, charged, held_bytes, require_fit
from executors.backends.padding import doubling, ends, pad, size_for, stepped
from executors.backends.protocol import Backend, LoadFailed
from executors.backends.stub import Stub
from registry.latency import LatencyProfile, Point


@pytest.mark.parametrize(("cap", "sizes"), [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (8, (1, 2, 4, 8))])
def test_doubling_ends_with_the_cap(cap: int, sizes: tuple[int, ...]) -> None:
    """Powers of two and the cap itself."""
    assert doubling(cap) == sizes


def test_ends_are_one_and_the_cap() -> None:
    """What is compiled for minutes is compiled twice at most."""
    assert (ends(1), ends(6)) == ((1,), (1, 6))


@given(cap=st.integers(1, 200), data=st.data())
def test_size_for_wastes_less_than_half(cap: int, data: st.DataObject) -> None:
    """With doubling sizes any batch fits one that is less than twice as large."""
    count = data.draw(st.integers(1, cap))

    assert count <= size_for(count, doubling(cap)) < 2 * count or size_for(count, doubling(cap)) == count


def test_size_for_more_than_there_is_is_a_bug() -> None:
    """The executor never fires above a variant's cap."""
    with pytest.raises(AssertionError, match="a batch of 9 > 8"):
        size_for(9, (1, 8))


def test_pad_repeats_the_last_item_and_leaves_a_full_batch_alone() -> None:
    """The padding is a real item, and nothing is copied where nothing is to do."""
    batch = np.arange(6, dtype="float32").reshape(3, 2)

    assert pad(batch, 5).tolist() == [[0, 1], [2, 3], [4, 5], [4, 5], [4, 5]]
    assert pad(batch, 3) is batch


def test_stepped_charges_the_padded_time_at_every_batch() -> None:
    """Measured at 1, 2, 4, 8 on sizes 1 and 8: a batch of 2 costs what 8 costs, and so does 5."""
    measured = [
        Point(batch=b, p50_us=us, p99_us=us + 10, samples=5, throughput_qps=b * 10.0)
        for b, us in ((1, 100), (2, 790), (4, 800), (8, 805))
    ]

    points = stepped(measured, (1, 8))

    assert [(p.batch, p.p50_us, p.throughput_qps) for p in points] == [(1, 100, 10.0), (2, 805, 20.0), (8, 805, 80.0)]
    curve = LatencyProfile(points, batch_max=8)
    assert curve.p50_us[1:] == [100, *[805] * 7]


def test_stepped_leaves_out_what_was_not_measured() -> None:
    """Sizes beyond the last measured one are for the curve to extrapolate, or for prediction."""
    points = stepped([Point(batch=1, p50_us=1, p99_us=1), Point(batch=3, p50_us=5, p99_us=5)], (1, 2, 4, 8))

    assert [(p.batch, p.p50_us) for p in points] == [(1, 1), (3, 5), (4, 5)]


@given(cap=st.integers(1, 40), data=st.data())
def test_stepped_curve_never_undercharges(cap: int, data: st.DataObject) -> None:
    """With every size measured, each batch costs exactly what its size costs."""
    sizes = doubling(cap)
    costs = dict(zip(sizes, sorted(data.draw(st.lists(st.integers(1, 9_999), min_size=8, max_size=8))), strict=False))
    measured = [Point(batch=size, p50_us=costs[size], p99_us=costs[size]) for size in sizes]

    curve = LatencyProfile(stepped(measured, sizes), batch_max=cap)

    assert curve.p50_us[1:] == [costs[size_for(batch, sizes)] for batch in range(1, cap + 1)]


def test_require_fit_names_what_is_needed_free_and_reserved() -> None:
    """Refused before the device's allocator fails in the middle of another lane's batch."""
    require_fit("m", needs_bytes=100 << 20, free_bytes=RESERVE_BYTES + (100 << 20))

    with pytest.raises(LoadFailed, match="m: needs at least 100 MiB of device memory; 600 MiB are free, 512 MiB of"):
        require_fit("m", needs_bytes=100 << 20, free_bytes=600 << 20)


def test_shared_makes_once_and_drops_with_the_last() -> None:
    """Lanes of one variant have one copy; after the last left, it is made anew."""
    made: list[str] = []
    shared: Shared[str] = Shared()

    def make() -> str:
        made.append("x")
        return "model"

    assert shared.take("k", make) == ("model", True)
    assert shared.take("k", make) == ("model", False)
    assert (shared.give_back("k"), shared.give_back("k")) == (False, True)
    assert len(shared) == 0
    shared.take("k", make)
    assert len(made) == 2


def test_shared_that_fails_to_make_keeps_nothing() -> None:
    """A load that failed may be tried again."""
    shared: Shared[str] = Shared()

    with pytest.raises(RuntimeError):
        shared.take("k", lambda: (_ for _ in ()).throw(RuntimeError("no")))

    assert len(shared) == 0


def test_compiled_key_differs_in_every_part() -> None:
    """Another compiler, device or batch is another engine; the order of the parts is none."""
    parts = {"artifact": "a", "compiler": "2.27", "batch": "1"}

    assert key(parts) == key(dict(reversed(parts.items())))
    assert len({key({**parts, name: "other"}) for name in parts} | {key(parts)}) == 4


def test_compiled_place_is_found_again_and_says_what_it_is_of(tmp_path: Path) -> None:
    """The folder stays, with its parts in words beside what was made."""
    parts = {"artifact": "a"}
    with Compiled(tmp_path).place(parts) as place:
        (place / "engine").write_bytes(b"1")

    with Compiled(tmp_path).place(parts) as again:
        assert again == place
        assert (again / "engine").read_bytes() == b"1"
        assert json.loads((again / ABOUT).read_text()) == parts


def test_compiled_drops_the_least_recently_used(tmp_path: Path) -> None:
    """Over its bound the oldest goes; the one just used stays, even alone over the bound."""
    cache = Compiled(tmp_path, bytes_max=250)
    places = []
    for n in range(3):
        with cache.place({"n": str(n)}) as place:
            (place / "engine").write_bytes(b"x" * 100)
            places.append(place)
        os.utime(place, (n, n))
    with cache.place({"n": "3"}) as place:
        (place / "engine").write_bytes(b"x" * 100)

    assert [p.exists() for p in places] == [False, False, True]
    assert place.exists()


def test_compiled_folder_follows_the_other_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One variable moves everything that Headrace keeps."""
    monkeypatch.setenv("HEADRACE_CACHE_DIR", str(tmp_path))

    assert default_folder() == tmp_path / "compiled"


class Padded:
    batches, device_bytes = (1, 8), 600


def test_charged_steps_only_what_is_padded() -> None:
    """A backend of the CPU has no sizes, and its points stay as measured."""
    points = [Point(batch=b, p50_us=10 * b, p99_us=10 * b) for b in (1, 2)]

    assert charged(Stub(), points) == tuple(points)
    assert [(p.batch, p.p50_us) for p in charged(cast(Backend, Padded()), points)] == [(1, 10), (2, 20), (8, 20)]


def test_held_bytes_are_the_devices_where_it_tells() -> None:
    """The weights are on the device once, loaded by one lane for all; on the CPU the process has grown."""
    padded = cast(Backend, Padded())

    assert held_bytes([padded, Stub()], host_bytes=5_000) == 300
    assert held_bytes([Stub(), Stub()], host_bytes=5_000) == 2_500
    assert held_bytes([Stub()], host_bytes=-1) == 0
