"""`python -m tests.registry.dying FOLDER`: what a hostile file may make of a child, by what the request says."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from registry.confined import REQUEST, Limits, answer, enter


def main(folder: Path) -> None:
    enter(Limits(time_s=60.0, memory_bytes=256 << 20, file_bytes=1 << 20))
    match (folder / REQUEST).read_text():
        case "crash":
            os.abort()
        case "hang":
            time.sleep(600)
        case "memory":
            try:
                answer(folder, str(len(bytearray(1 << 30))).encode())
            except MemoryError:
                answer(folder, b"refused")
        case "disk":
            with (folder / "big").open("wb") as file:
                file.write(bytes(4 << 20))
        case "much":
            (folder / "result.json").write_bytes(b"")
            os.truncate(folder / "result.json", 1 << 20)
        case "silence":
            sys.exit(0)
        case said:
            answer(folder, said.upper().encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
