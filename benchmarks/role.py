"""One role as a child process of a benchmark or a fault test: `python -m benchmarks.role KIND JSON`.

Kinds: router; executor; interfered, an executor that benchmarks/interference.py can slow down.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

from streams.observe import ObserveSettings
from streams.settings import KafkaSettings


def main() -> None:
    role, text = sys.argv[1:3]
    given = json.loads(text)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    kafka = KafkaSettings(**given["kafka"])
    observe = ObserveSettings(**given.get("observe", {}))
    if role == "router":
        from agents.settings import RouterSettings
        from agents.state import RouterState
        from agents.worker import run as run_router

        run_router(RouterState(RouterSettings(**given.get("own", {})), kafka, observe), kafka)
    else:
        from executors.process import run as run_executor
        from executors.settings import ExecutorSettings

        own = given.get("own", {})
        if role == "interfered":
            from benchmarks.interference import interfere

            interfere(Path(own.pop("switch")))
        run_executor(ExecutorSettings(**own), kafka, observe)


if __name__ == "__main__":
    main()
