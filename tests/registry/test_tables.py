"""Other people's profile tables: read, cleaned, and every cleaning told. The figures here are invented."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headrace.commands.registry import app
from registry.scale import invented, scale
from registry.tables.curve import catalogue, records
from registry.tables.file import load, save
from registry.tables.read import BadTable, Imported, found, read

PROTEUS = """Model,Accel,Trials,batchsize,50th_pct,90th_pct,avg_latency(ms),Min,Max,Accuracy,Normalized_Accuracy
resnet50_v1,onnxruntime_cpu,100,1,10,11,10.5,9,20,77,1
resnet50_v1,onnxruntime_cpu,100,2,19,21,20,9,30,77,1
resnet50_v1,onnxruntime_cpu,100,2,50,51,50,9,30,77,1
resnet50_v1,onnxruntime_cpu,100,4,40,900,800,9,3000,77,1
resnet50_v1,onnxruntime_gpu_ampere,100,1,4,,4,,,77,1
bert-base-uncased,onnxruntime_cpu,100,1,50,52,51,40,60,93,1
bert-base-uncased,onnxruntime_cpu,100,8,45,46,45,40,60,93,1
yolov5m,onnxruntime_cpu,100,1,90,91,90,80,99,37,1
yolov5s,onnxruntime_cpu,100,1,60,61,60,50,70,45,1
"""
INFADAPTER = """ARCH,CPU,BATCH,INTRA_OP_PARALLELISM,SLA,p99_latency,capacity,saturation_tp
18,1,1,1,750,390,20,22
18,2,1,1,750,700,44,40
18,4,1,1,750,700,80,70
"""
INFLESS = (
    "resnet-50 2 0 1 100.0\nresnet-50 2 0 2 150.0\nresnet-50 2 0 4 9999\nresnet-50 2 20 1 50\nresnet-50 2 20 8 21000\n"
)
NEURON = """Model,Inst. Type,Throughput (inference/sec),Latency P50 (ms),Latency P99 (ms),\
Neuron Version,Run Mode,Batch Size,Compilation Autocast Data Type
resnet50,Inf2.xlarge,1000,2.0,2.2,2.21.0,Data Parallel,1,Matmult-BF16
resnet50,Inf2.xlarge,900,2.2,2.4,2.9.0,Data Parallel,1,Matmult-BF16
resnet50,Inf2.xlarge,4000,8.0,8.8,2.21.0,Data Parallel,8,Matmult-BF16
vgg16,Inf2.xlarge,500,2.0,2.1,2.21.0,Model Pipeline,1,Matmult-BF16
"""
PRICES = "Inst. Type,RI-Effective hourly rate\nInf2.xlarge,0.328\n"
ALL = {"a.csv": PROTEUS, "b.csv": INFADAPTER, "c.txt": INFLESS, "d.csv": NEURON, "e.csv": PRICES}
TABLES = os.environ.get("HEADRACE_TABLES")


def imported(folder: Path, *names: str) -> Imported:
    for name in names or ALL:
        (folder / name).write_text(ALL[name])
    return read([folder / name for name in names or ALL])


def told(got: Imported, rule: str) -> list[str]:
    """The rows that a rule, by its beginning, concerned."""
    return [row for cleaning in got.cleaned if cleaning.rule.startswith(rule) for row in cleaning.rows]


def curves(got: Imported) -> dict[str, list[tuple[int, float, float]]]:
    return {c.variant: [(p.batch, p.p50_us / 1_000, p.p99_us / 1_000) for p in c.points] for c in got.curves}


def test_read_proteus_cleans_and_tells(tmp_path: Path) -> None:
    """Repeated rows, an outlier, batching that was none, a missing quantile, swapped accuracies."""
    got = imported(tmp_path, "a.csv")

    assert curves(got) == {
        "resnet50/proteus-cpu/fp32/w1": [(1, 10, 11), (2, 19, 21)],
        "resnet50/proteus-v100/fp32/w1": [(1, 4, 4)],
        "bert-base-uncased/proteus-cpu/fp32/w1": [(1, 50, 52)],
        "yolov5m/proteus-cpu/fp32/w1": [(1, 90, 91)],
        "yolov5s/proteus-cpu/fp32/w1": [(1, 60, 61)],
    }
    assert {c.architecture: c.accuracy for c in got.curves if "yolo" in c.architecture} == {
        "yolov5m": 0.45, "yolov5s": 0.37,
    }  # fmt: skip
    assert told(got, "dropped: measured twice") == ["resnet50_v1 on proteus-cpu b2"]
    assert told(got, "dropped: longer than") == ["resnet50_v1 on proteus-cpu b4 900 ms"]
    assert told(got, "only batch 1 kept") == ["bert-base-uncased on proteus-cpu b8 x 0.90"]
    assert told(got, "no p90 given") == ["resnet50_v1 on proteus-v100 b1"]
    assert told(got, "accuracies swapped") == ["yolov5m from yolov5s", "yolov5s from yolov5m"]


def test_read_infadapter_takes_a_cores_time_not_the_latency_under_load(tmp_path: Path) -> None:
    """45.5 ms at one core, 45.5 at two, 50 at four: the median; never the 390 ms that contain waiting."""
    got = imported(tmp_path, "b.csv")

    assert curves(got) == {"resnet18/infadapter-cpu/fp32/w1": [(1, 45.455, 45.455)]}
    assert told(got, "saturation below capacity") == ["resnet18 x2 750 ms", "resnet18 x4 750 ms"]


def test_read_infless_failures_are_no_latencies(tmp_path: Path) -> None:
    """9999 and more is a failed run; a tenth of the GPU is a lane."""
    got = imported(tmp_path, "c.txt")

    assert curves(got) == {
        "resnet50/infless-cpu/fp32/w2": [(1, 100, 100), (2, 150, 150)],
        "resnet50/infless-2080ti/fp32/w2/t2": [(1, 50, 50)],
    }
    assert told(got, "dropped: 9999") == [
        "resnet-50 2 threads, 0 % GPU, b4", "resnet-50 2 threads, 20 % GPU, b8",
    ]  # fmt: skip


def test_read_neuron_newest_release_own_core_and_price(tmp_path: Path) -> None:
    """2.21 is newer than 2.9; two workers a core wait for each other; pipelines are no lanes; the price comes along."""
    got = imported(tmp_path, "d.csv", "e.csv")

    assert curves(got) == {"resnet50/inf2-xlarge/bf16/w1": [(1, 2.0, 2.2), (8, 4.0, 4.4)]}
    assert (got.curves[0].device.usd_hour, got.curves[0].device.lanes) == (0.328, 2)
    assert told(got, "several workers share a core") == ["resnet50 on inf2.xlarge, b8: 4.0 for 8.0 ms"]
    assert told(got, "dropped: one model over all cores") == ["vgg16 on inf2.xlarge, b1"]


def test_read_together_gives_a_catalogue_with_accuracies_where_there_are_any(tmp_path: Path) -> None:
    """ResNet-50 on Inferentia takes Proteus's accuracy, and says so; all can be offered; the file brings it back."""
    got = imported(tmp_path)
    made = catalogue(records(got.curves))

    assert "resnet50/inf2-xlarge/bf16/w1 from Proteus" in told(got, "accuracy taken")
    assert len(made.offers()) == len(got.curves) == 9
    assert made.variants["resnet50/inf2-xlarge/bf16/w1"].accuracy is not None
    save(records(got.curves), tmp_path / "out.jsonl")
    again = load(tmp_path / "out.jsonl")
    assert (again.variants, again.models, again.profiles) == (made.variants, made.models, made.profiles)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "not a table of Proteus"),
        ("", "not a table of Proteus"),
        (PROTEUS.replace("onnxruntime_cpu,100,1,10", "onnxruntime_cpu,100,one,10"), "ValueError: invalid literal"),
        ("\x00\x01", "not a table of Proteus"),
    ],
)
def test_read_other_files_are_refused_in_words(tmp_path: Path, text: str, message: str) -> None:
    """With the columns that are known, or the value that cannot be read."""
    (tmp_path / "x.csv").write_text(text)

    with pytest.raises(BadTable, match=message):
        read([tmp_path / "x.csv"])


def test_load_broken_line_is_named(tmp_path: Path) -> None:
    """A file cut off in the middle."""
    (tmp_path / "x.jsonl").write_text('{"type":"task","name":"t"}\n{"type":"mod')

    with pytest.raises(BadTable, match="line 2"):
        load(tmp_path / "x.jsonl")


def test_scale_is_reproducible_and_of_the_stated_size() -> None:
    """44 architectures, 270 variants, the same from the same seed and others from another."""
    made = scale(invented(), seed=1)
    catalog = catalogue(made)

    assert (len(catalog.models), len(catalog.variants), len(catalog.offers())) == (44, 270, 270)
    assert made == scale(invented(), seed=1) != scale(invented(), seed=2)
    assert min(sum(v.model == m for v in catalog.variants.values()) for m in catalog.models) >= 5


def test_scale_few_architectures_are_stretched_and_none_is_refused(tmp_path: Path) -> None:
    """From two networks come 44 that differ; from none come none."""
    got = imported(tmp_path, "a.csv")

    assert len(catalogue(scale(got.curves)).models) == 44
    with pytest.raises(ValueError, match="no curve with an accuracy"):
        scale(())


def test_import_command_lists_the_cleaning_and_writes_the_catalogue(tmp_path: Path) -> None:
    """What was dropped is printed, not only done."""
    for name, text in ALL.items():
        (tmp_path / name).write_text(text)
    done = CliRunner().invoke(
        app, ["import", *(str(tmp_path / name) for name in ALL), "--out", str(tmp_path / "c.jsonl"), "--scale"]
    )

    assert done.exit_code == 0, done.output
    assert "a.csv: dropped: measured twice, the first kept: resnet50_v1 on proteus-cpu b2" in done.output
    assert "44 models" in done.output
    assert len(load(tmp_path / "c.jsonl").variants) == 270


@pytest.mark.skipif(not TABLES, reason="HEADRACE_TABLES names no folder of profile tables")
def test_read_published_tables() -> None:
    """The tables themselves, where they are at hand: what the field notes say of them."""
    got = read(found(Path(TABLES or "")))
    by_name = {c.variant: c for c in got.curves}

    assert any("yolov5l on proteus-cpu b16" in row for row in told(got, "dropped: longer than"))
    assert len(told(got, "only batch 1 kept")) > 30
    assert by_name["resnet50/proteus-cpu/fp32/w1"].points[0].p50_us == pytest.approx(97_000, rel=0.02)
    assert by_name["ssd/infless-cpu/fp32/w2"].points[0].p50_us == pytest.approx(188_000, rel=0.02)
    assert by_name["resnet50/inf2-xlarge/bf16/w1"].points[0].p50_us == 830
    catalog = catalogue(scale(got.curves))
    assert (len(catalog.models), len(catalog.variants)) == (44, 270)
