"""Children of generation under their bounds: time, memory, kill -9, and what is left to do afterwards."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from headrace.variants.generating import Generated, generate_variants
from headrace.variants.ledger import Ledger
from headrace.variants.work import Limits
from tests.executors.models import write_onnx
from tests.headrace.variants import ONNX, generate, items, of_files, reasons, write_network

pytestmark = pytest.mark.models

WORK = "headrace.variants.work"


def children() -> list[psutil.Process]:
    """Of this process, however deep: those that try variants, not their guards."""
    found = []
    for each in psutil.Process().children(recursive=True):
        try:
            if WORK in (line := each.cmdline()) and not any("guard.py" in word for word in line):
                found.append(each)
        except psutil.Error:  # it ended while we looked
            continue
    return found


def test_generate_over_its_time_is_refused_and_leaves_no_process(tmp_path: Path, out: Path) -> None:
    """The child is killed with its group; with the same bound it is not tried again, with more time it is."""
    of = of_files(onnxruntime=write_onnx(tmp_path / "tiny.onnx"))

    made = generate(of, out, limits=Limits(time_s=0.01))

    assert made.variants == ()
    assert reasons(made)["tiny/onnxruntime"] == ("load", "took longer than 0.01 s")
    assert children() == []
    assert generate(of, out, limits=Limits(time_s=0.01)).ran == 0
    assert generate(of, out, ways=("onnxruntime",)).variants != ()


def test_generate_out_of_time_stops_the_child_and_refuses_nothing(tmp_path: Path, out: Path) -> None:
    """What there was no time for says nothing about a variant: it is left, and the next run has it."""
    of = of_files(onnxruntime=write_onnx(tmp_path / "tiny.onnx"))
    every = ("tiny/onnxruntime", "tiny/onnxruntime-int8-static", "tiny/onnxruntime-int8-dynamic")

    cut = generate(of, out, left_s=lambda: 0.01)
    none = generate(of, out, left_s=lambda: 0.0)
    after = generate(of, out, ways=("onnxruntime",))

    assert children() == []
    assert [(made.left, made.ran, made.settled) for made in (cut, none)] == [(every, 0, False)] * 2
    assert (cut.variants, [*reasons(cut)]) == ((), ["tiny/onnxruntime-fp16"])
    assert ([each.name for each in after.variants], after.left, after.settled) == (["tiny/onnxruntime"], (), True)


def test_generate_over_its_memory_is_refused_in_words(tmp_path: Path, out: Path) -> None:
    """A file of a few hundred bytes can ask for 16 GB; the machine does not pay for it."""
    import numpy as np
    from onnx import helper

    nodes = [
        helper.make_node("Expand", ["one", "shape"], ["large"]),
        helper.make_node("ReduceSum", ["large"], ["sum"], keepdims=0),
        helper.make_node("MatMul", ["x", "w"], ["product"]),
        helper.make_node("Mul", ["product", "sum"], ["y"]),
    ]
    weights = {
        "one": np.ones((1,), "float32"),
        "shape": np.array([4_000_000_000], "int64"),
        "w": np.ones((4, 3), "float32"),
    }
    of = of_files(onnxruntime=write_network(tmp_path / "large.onnx", nodes, weights))

    made = generate(of, out, limits=Limits(memory_bytes=2 << 30))

    assert made.variants == ()
    stage, reason = reasons(made)["tiny/onnxruntime"]
    assert stage == "load"
    assert "memory" in reason or "alloc" in reason


def test_enter_makes_memory_end_before_the_machine_does() -> None:
    """In the child itself: what it asks for beyond the bound is refused to it."""
    program = f"""if True:
        from {WORK} import Limits, enter
        enter(Limits(memory_bytes=256 << 20))
        try:
            bytearray(512 << 20)
        except MemoryError:
            print("refused", len(bytearray(16 << 20)))
    """

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == f"refused {16 << 20}\n"


def test_generate_after_kill_9_goes_on_where_it_was(tmp_path: Path, out: Path) -> None:
    """What the killed child had found out stays; what it was at is refused this time, and tried again the next."""
    of = of_files(onnxruntime=write_onnx(tmp_path / "tiny.onnx"))
    killed = threading.Event()

    def tell(name: str, _share: float) -> None:
        """Called before each child; the second one is killed as soon as it is there."""
        if name == "tiny/onnxruntime-int8-static":
            threading.Thread(target=kill).start()

    def kill() -> None:
        while not killed.is_set():
            for child in children():
                child.kill()
                killed.set()

    made: Generated = generate_variants(of, out=out, items=items(), machine=ONNX, tell=tell)
    again = generate(of, out)

    assert killed.is_set()
    assert reasons(made)["tiny/onnxruntime-int8-static"][1] == "its process was ended by signal 9"
    assert [each.name for each in made.variants] == ["tiny/onnxruntime", "tiny/onnxruntime-int8-dynamic"]
    assert again.ran == 1
    assert len(again.variants) == 3


def test_ledger_a_half_written_entry_is_found_out_again(out: Path) -> None:
    """Entries are renamed into place; whatever else damages one costs its repetition and no more."""
    ledger = Ledger(out)
    ledger.put("a", {"n": 1})
    (out / "known" / "b.json").write_bytes(b'{"n": ')

    assert ledger.get("a", dict[str, int]) == {"n": 1}
    assert ledger.get("b", dict[str, int]) is None
    assert ledger.get("c", dict[str, int]) is None


def test_ledger_a_changed_artifact_is_no_artifact(tmp_path: Path, out: Path) -> None:
    """A converted file that is not what it was is made again."""
    file = tmp_path / "made.onnx"
    file.write_bytes(b"content")
    ledger = Ledger(out)
    artifact = ledger.adopt(file, "onnx")
    ledger.put("conversion", artifact)
    known = ledger.artifact("conversion")

    Path(ledger.located(artifact).path).write_bytes(b"other")

    assert known == artifact
    assert ledger.artifact("conversion") is None
