"""InfAdapter's capacity table: ResNets on TF-Serving, 1 to 20 cores under four SLOs.

The server runs one single-threaded worker a core, and capacity is linear in cores; so the curve of one lane of one
core is the time that a core takes for an item. The table's p99 is measured at capacity, waiting included: it is no
service time and is not used.
Source: reconfigurable-ml-pipeline/InfAdapter, capacity_result_Feb_21.csv.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from registry.tables.cleaning import Table
from registry.tables.curve import Curve, Device, points

COLUMNS = {"ARCH", "CPU", "SLA", "p99_latency", "capacity", "saturation_tp", "INTRA_OP_PARALLELISM"}
DEVICE = Device(pool="infadapter-cpu", hardware="cpu", lanes=20)
ACCURACY = {"18": 0.6976, "34": 0.7331, "50": 0.7613, "101": 0.7737, "152": 0.7831}  # torchvision, as InfAdapter uses
LOAD_MS = {"18": 6_440.0, "34": 6_790.0, "50": 6_820.0, "101": 7_770.0, "152": 8_520.0}  # their measurement


def read(rows: Sequence[dict[str, str]], name: str) -> Table:
    table = Table(name)
    core_ms: dict[str, list[float]] = {}
    for row in rows:
        arch, cores, sla = row["ARCH"], int(row["CPU"]), row["SLA"]
        capacity, saturation = float(row["capacity"]), float(row["saturation_tp"])
        rate = max(capacity, saturation)
        if rate <= 0:
            table.clean("dropped: nothing was served", f"resnet{arch} {cores} cores, {sla} ms")
            continue
        if saturation < capacity:
            table.clean(
                "saturation below capacity (a short test): the larger counts", f"resnet{arch} x{cores} {sla} ms"
            )
        core_ms.setdefault(arch, []).append(1_000 * cores / rate)
    for arch, found in core_ms.items():
        ms = median(found)
        table.curves.append(
            Curve(
                architecture=f"resnet{arch}", task="image-classification", device=DEVICE, points=points([(1, ms, ms)]),
                accuracy=ACCURACY.get(arch), load_ms=LOAD_MS.get(arch, 0.0), source="InfAdapter",
            )
        )  # fmt: skip
    table.clean("p99 at capacity contains waiting: a core's time for an item instead, cores / rate, the median", "all")
    table.clean("accuracy is not in the table: torchvision's, as InfAdapter uses it", "all")
    return table
