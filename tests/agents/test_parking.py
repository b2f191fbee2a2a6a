"""The bounded place where queries wait for an executor."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.parking import Parking


def test_park_full_is_refused() -> None:
    """The bound holds; room made is room."""
    parking: Parking[str] = Parking(count_max=2)
    kept = [parking.park(name, until_us=10) for name in "abc"]
    parking.take(1)

    assert kept == [True, True, False]
    assert parking.park("d", until_us=10)


def test_expired_gives_up_the_earliest_first() -> None:
    """At their time, not before, and once."""
    parking: Parking[str] = Parking(count_max=9)
    for name, until_us in (("late", 30), ("soon", 10), ("next", 20)):
        parking.park(name, until_us=until_us)

    assert [parking.expired(now_us=us) for us in (9, 20, 20, 30)] == [[], ["soon", "next"], [], ["late"]]


def test_take_goes_round() -> None:
    """Whoever is parked again waits behind those that were not tried yet."""
    parking: Parking[str] = Parking(count_max=9)
    for name in "abc":
        parking.park(name, until_us=99)

    tried = []
    for _ in range(4):
        (name,) = parking.take(1)
        tried.append(name)
        parking.park(name, until_us=99)
    assert tried == ["a", "b", "c", "a"]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("park"), st.integers(0, 100)),
        st.tuples(st.just("take"), st.integers(0, 5)),
        st.tuples(st.just("expire"), st.integers(0, 100)),
        st.tuples(st.just("retry"), st.just(0)),
    ),
    max_size=120,
)


@given(steps)
def test_parking_equals_a_list(events: list[tuple[str, int]]) -> None:
    """Against a plain list: nothing is lost, given twice or kept past its time, and the heap stays bounded."""
    parking: Parking[int] = Parking(count_max=10)
    plain: list[tuple[int, int]] = []
    for item, (name, value) in enumerate(events):
        match name:
            case "park":
                assert parking.park(item, until_us=value) == (len(plain) < 10)
                if len(plain) < 10:
                    plain.append((item, value))
            case "take":
                assert parking.take(value) == [item for item, _ in plain[:value]]
                plain = plain[value:]
            case "expire":
                late = sorted(((us, index, item) for index, (item, us) in enumerate(plain) if us <= value))
                assert parking.expired(now_us=value) == [item for _, _, item in late]
                plain = [(item, us) for item, us in plain if us > value]
            case "retry":
                for again, (_, until_us) in zip(parking.take(10), list(plain), strict=True):
                    parking.park(again, until_us=until_us)

        assert len(parking) == len(plain)
        assert len(parking._heap) <= 2 * 10 + 64 + 10
