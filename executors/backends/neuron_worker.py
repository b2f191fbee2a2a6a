"""Compiling and running traced models with an SDK of AWS Neuron: in this process, or as a child's main program.

It is read by other interpreters: torch-neuron (Inf1) ends at Python 3.10 and Headrace begins at 3.11. So it imports
nothing of ours and keeps to what Python 3.7 knows. Frames on stdin and stdout are a line of JSON, then `bytes` bytes.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO, Dict, Tuple  # noqa: UP035 - 3.7 evaluates the aliases below

Frame = Tuple[Dict[str, Any], bytes]  # noqa: UP006


class Engine:
    """Models traced by one SDK, by handle."""

    def __init__(self, module: str, distribution: str, compiler: str) -> None:
        self._torch = importlib.import_module("torch")
        self._sdk = importlib.import_module(module)  # registers the operators that loading a traced model needs
        self._distributions = (distribution, compiler)
        self._loaded = {}  # type: Dict[int, Any]
        self._count = 0

    def versions(self) -> dict[str, str]:
        """Of everything that a traced model depends on."""
        return {name: installed(name) or "unknown" for name in ("torch", *self._distributions)}

    def compile(self, order: dict[str, Any]) -> None:
        """Trace `source` for one batch size and write the result to `target`, by renaming.

        Order: source, format (pt2 or torchscript), target, shape with the batch axis, dtype, output, arguments.
        """
        torch = self._torch
        if order["format"] == "pt2":
            model = torch.export.load(order["source"]).module()
        else:
            model = torch.jit.load(order["source"], map_location="cpu")
        example = torch.zeros(order["shape"], dtype=getattr(torch, order["dtype"]))
        one = single(torch, model, order["output"])
        traced = self._sdk.trace(one, (example,), compiler_args=order["arguments"])
        target = Path(order["target"])
        half = target.with_name(f"{target.name}.half-{os.getpid()}")
        torch.jit.save(traced, str(half))
        half.replace(target)

    def load(self, path: str) -> int:
        """Load a traced model onto the NeuronCore that this process sees; returns its handle."""
        self._count += 1
        self._loaded[self._count] = self._torch.jit.load(path)
        return self._count

    def unload(self, handle: int) -> None:
        self._loaded.pop(handle, None)

    def run(self, handle: int, batch: Any) -> Any:
        """Shapes: `batch` is exactly the traced one."""
        torch = self._torch
        if not batch.flags.writeable:  # a view of a record's bytes; torch would warn that it can be written
            batch = batch.copy()
        with torch.no_grad():
            return self._loaded[handle](torch.from_numpy(batch)).numpy()


def single(torch: Any, model: Any, output: str) -> Any:
    """`model` with one tensor as its only output, which tracing needs."""

    class Single(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, batch: Any) -> Any:
            outputs = self.model(batch)
            if isinstance(outputs, dict):
                outputs = outputs[output]
            elif isinstance(outputs, (tuple, list)):
                outputs = outputs[0]
            return outputs.float() if outputs.is_floating_point() and outputs.element_size() < 4 else outputs

    return Single()


def installed(distribution: str) -> str | None:
    """The version of a distribution; None if it is absent, or the interpreter too old to ask."""
    try:
        metadata = importlib.import_module("importlib.metadata")
        return str(metadata.version(distribution))
    except ImportError:  # PackageNotFoundError is one
        return None


def read(stream: BinaryIO) -> Frame | None:
    line = stream.readline()
    if not line:
        return None
    header = json.loads(line.decode())
    return header, stream.read(header.get("bytes", 0))


def write(stream: BinaryIO, header: dict[str, Any], payload: bytes = b"") -> None:
    stream.write(json.dumps({**header, "bytes": len(payload)}).encode() + b"\n" + payload)
    stream.flush()


def answer(engine: Engine, order: dict[str, Any], payload: bytes) -> Frame:
    """Do one thing."""
    numpy = importlib.import_module("numpy")
    what = order["do"]
    if what == "run":
        batch = numpy.frombuffer(bytearray(payload), order["dtype"]).reshape(order["shape"])
        outputs = numpy.ascontiguousarray(engine.run(order["handle"], batch))
        return {"shape": outputs.shape, "dtype": outputs.dtype.str}, outputs.tobytes()
    if what == "load":
        return {"handle": engine.load(order["path"])}, b""
    if what == "unload":
        engine.unload(order["handle"])
        return {}, b""
    engine.compile(order)
    return {}, b""


def main() -> None:
    """Arguments: module, distribution and compiler of the SDK. The first frame says its versions, or why not."""
    here = Path(__file__).resolve().parent
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != here]  # it has an onnx.py
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # the SDK prints as it likes
    orders = sys.stdin.buffer
    try:
        engine = Engine(*sys.argv[1:4])
    except ImportError as error:
        write(replies, {"missing": str(error), "version": installed(sys.argv[2])})
        return
    write(replies, {"versions": engine.versions()})
    while True:
        frame = read(orders)
        if frame is None:
            return
        try:
            write(replies, *answer(engine, *frame))
        except Exception as error:  # noqa: BLE001 - whatever it was, the other side tells it to the query
            write(replies, {"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
