"""What an executor does next to hold what it should: by hand, and to the end from any state to any other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from executors.orders import Drop, Load, Refuse, Resize, Step, Want, next_step

MB = 1_000_000


def want(lanes: int = 1, *, identity: object = 1, batch_max: int = 0, mb: int = 0) -> Want:
    return Want(identity=identity, lanes=lanes, batch_max=batch_max, memory_bytes=mb * MB)


def carried_out(
    wanted: dict[str, Want], here: dict[str, Want], *, memory_bytes: int = 0, drains: int = 0
) -> tuple[dict[str, Want], list[Step], set[str]]:
    """Do all steps; what is dropped with a drain leaves `drains` steps later. Checks the bound after each."""
    here, failed, done = dict(here), set[str](), list[Step]()
    leaving: list[tuple[int, int]] = []
    for _ in range(200):
        leaving = [(left - 1, size) for left, size in leaving if left > 0]
        over = sum(size for _, size in leaving)
        step = next_step(wanted, here, leaving_bytes=over, failed=failed, memory_bytes=memory_bytes)
        if step is None:
            if not leaving:
                return here, done, failed
            continue
        done.append(step)
        match step:
            case Load(name) | Resize(name):
                here[name] = wanted[name]
            case Drop(name, drain):
                gone = here.pop(name)
                if drain and drains:
                    leaving.append((drains, gone.lanes * gone.memory_bytes))
            case Refuse(name):
                failed.add(name)
                wanted = {other: each for other, each in wanted.items() if other != name or other in here}
                if name in here:
                    wanted[name] = here[name]
        used = sum(each.lanes * each.memory_bytes for each in here.values()) + sum(size for _, size in leaving)
        assert not memory_bytes or used <= memory_bytes or isinstance(step, Drop)
    raise AssertionError(f"never done: {done[-5:]}")


def test_next_step_new_is_there_before_the_old_goes() -> None:
    """Create before destroy."""
    assert carried_out({"b": want()}, {"a": want()})[1] == [Load("b"), Drop("a", drain=True)]


def test_next_step_without_room_for_both_the_old_goes_first() -> None:
    """Only then."""
    wanted, here = {"b": want(mb=60)}, {"a": want(mb=60)}

    assert carried_out(wanted, here, memory_bytes=100 * MB)[1] == [Drop("a", drain=True), Load("b")]


def test_next_step_waits_for_what_drains() -> None:
    """Its memory is not free yet."""
    assert next_step({"b": want(mb=60)}, {}, leaving_bytes=60 * MB, memory_bytes=100 * MB) is None


def test_next_step_too_large_is_refused_in_words() -> None:
    """With the bound; nothing else suffers."""
    here, steps, failed = carried_out({"a": want(mb=10), "b": want(3, mb=60)}, {}, memory_bytes=100 * MB)

    assert steps == [Load("a"), Refuse("b", "needs 180 MB of memory, and 90 of 100 are free")]
    assert (set(here), failed) == ({"a"}, {"b"})


def test_next_step_replacement_hands_back_at_once() -> None:
    """What waits for the old weights must not run on them."""
    steps = carried_out({"a": want(identity=2)}, {"a": want(identity=1)})[1]

    assert steps == [Drop("a", drain=False), Load("a")]


def test_next_step_resizes_in_place() -> None:
    """Fewer, more, and another batch cap: never through nothing."""
    for wanted in (want(1), want(3), want(2, batch_max=8)):
        assert carried_out({"a": wanted}, {"a": want(2)})[1] == [Resize("a")]


def test_next_step_as_it_should_be_is_nothing() -> None:
    """A repeated command changes nothing."""
    assert next_step({"a": want(2)}, {"a": want(2)}) is None


wants = st.dictionaries(
    st.sampled_from("abcdef"),
    st.builds(want, st.integers(1, 4), identity=st.integers(1, 2), batch_max=st.sampled_from([0, 4]), mb=st.just(10)),
)


@given(wants, wants, st.integers(0, 3))
def test_next_step_reaches_what_is_wanted(wanted: dict[str, Want], here: dict[str, Want], drains: int) -> None:
    """From anything to anything, whatever drains meanwhile."""
    assert carried_out(wanted, here, drains=drains)[0] == wanted


@given(wants, wants, st.integers(0, 3))
def test_next_step_under_a_bound_ends_and_keeps_to_it(wanted: dict[str, Want], here: dict[str, Want], d: int) -> None:
    """What fits is there, what does not is refused."""
    small = {name: each for name, each in here.items() if each.lanes == 1}
    end, _, failed = carried_out(wanted, small, memory_bytes=80 * MB, drains=d)

    assert all(name in failed or end[name] == wanted[name] for name in wanted)
