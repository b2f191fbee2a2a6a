"""What a machine offers: said from what was seen, and looked for with tools that may be absent, broken or hang.

The outputs of nvidia-smi and neuron-ls here are of the documented form, not captured on a machine of ours.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from executors import hardware, probing
from executors.backends.neuron_sdk import SDKS, Installed, explain, placeholder
from executors.devices import (
    Kind,
    Machine,
    Ran,
    Seen,
    environment,
    gpus,
    instruction_sets,
    machine,
    neuron_devices,
)
from executors.probing import NoDevice, claim, device_files, neuron_models, nvidia_smi, own_gpu, ran
from headrace.cli import load
from headrace.commands.hardware import lines

SMI = "0, NVIDIA A10G, GPU-3a, 23028, 22500, 550.90.07, 8.6\n1, NVIDIA T4, GPU-4b, 15360, 15000, 550.90.07, 7.5\n"
NEURON_LS = json.dumps(
    [
        {
            "neuron_device": 0, "bdf": "0000:00:1f.0", "cpu_affinity": "0-3", "numa_node": "-1", "connected_to": None,
            "nc_count": 2, "memory_size": 32 << 30, "neuroncore_ids": [0, 1], "neuron_processes": [],
        }
    ]
)  # fmt: skip
BOTH = Ran(out=json.dumps({"providers": ["CUDAExecutionProvider", "CPUExecutionProvider"], "torch": "finds no device"}))


def seen(**changes: Any) -> Seen:
    fields: dict[str, Any] = {"architecture": "x86_64", "cores": 4, "memory_bytes": 16 << 30}
    return Seen(**{**fields, **changes})


def kind(hardware: str, **changes: Any) -> Kind:
    return next(k for k in machine(seen(**changes)).kinds if k.hardware == hardware)


def tool(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_instruction_sets_x86_names_what_int8_and_bf16_need() -> None:
    """Of all the flags only those that change what a precision is worth."""
    cpuinfo = "processor : 0\nflags : fpu avx2 avx512f avx512_vnni amx_bf16 sse4_2\n\nprocessor : 1\nflags : fpu\n"

    assert instruction_sets(cpuinfo) == {
        "vectors": ("avx2", "avx512f"),
        "int8": ("avx512_vnni",),
        "bf16": ("amx_bf16",),
        "fp16": (),
    }


def test_instruction_sets_arm_reads_features() -> None:
    """Graviton calls them Features, and by other names."""
    found = instruction_sets("Features\t: fp asimd asimddp asimdhp sve i8mm bf16\n")

    assert found["int8"] == ("asimddp", "i8mm")
    assert found["bf16"] == ("bf16",)


def test_cpu_without_vnni_says_that_int8_gains_nothing() -> None:
    """Who wonders why int8 is slow finds it here."""
    told = kind("cpu", cpuinfo="flags : avx2\n")

    assert told.available
    assert "nothing that speeds up int8, bf16, fp16" in told.detail


def test_gpus_reads_the_query_in_bytes() -> None:
    """nvidia-smi counts MiB."""
    first, second = gpus(SMI)

    assert (first.name, first.memory_bytes, first.free_bytes) == ("NVIDIA A10G", 23028 << 20, 22500 << 20)
    assert (second.index, second.driver, second.capability) == (1, "550.90.07", "7.5")


def test_gpus_not_available_figure_counts_as_nothing() -> None:
    """[N/A] stands where MIG or a permission hides a figure."""
    (found,) = gpus("0, H100, GPU-1, [N/A], [Insufficient Permissions], 550.1, 9.0")

    assert (found.memory_bytes, found.free_bytes) == (0, 0)


@pytest.mark.parametrize("text", ["NVIDIA-SMI has failed", "0, a, b", "x, a, b, 1, 1, d, 8.6"])
def test_gpus_other_words_are_refused(text: str) -> None:
    """A tool that answers something else is not read as a GPU."""
    with pytest.raises(ValueError, match=r"nvidia-smi gave|invalid literal"):
        gpus(text)


def test_gpu_usable_by_what_the_frameworks_say() -> None:
    """A card alone is not enough; the line names who can use it."""
    told = kind("gpu", nvidia_smi=Ran(out=SMI), frameworks=BOTH)

    assert told.available
    assert told.detail.endswith("usable by onnxruntime CUDA")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, "there is no nvidia-smi and no /dev/nvidia0"),
        ({"device_files": ("/dev/nvidia0",)}, "there is no nvidia-smi"),
        ({"nvidia_smi": Ran(error="nvidia-smi did not answer within 10 s")}, "did not answer"),
        ({"nvidia_smi": Ran(out="No devices were found\n")}, "nvidia-smi lists no GPU: 'No devices were found'"),
        ({"nvidia_smi": Ran(out=SMI), "frameworks": Ran(error="python ended with 1: x")}, "neither onnxruntime nor"),
        (
            {"nvidia_smi": Ran(out=SMI), "frameworks": Ran(out='{"providers": ["CPUExecutionProvider"]}')},
            "onnxruntime has ['CPUExecutionProvider'], torch says: not installed",
        ),
    ],
)
def test_gpu_unavailable_says_why_and_what_to_do(changes: dict[str, Any], why: str) -> None:
    """Every way to have no usable GPU has its own words."""
    told = kind("gpu", **changes)

    assert not told.available
    assert why in told.why
    assert told.todo


def test_neuron_devices_reads_cores_and_bytes() -> None:
    """neuron-ls tells cores and memory, the driver's files tell the kind."""
    (found,) = neuron_devices(NEURON_LS, {0: "Inf2"})

    assert (found.cores, found.memory_bytes, found.model) == (2, 32 << 30, "Inf2")


@pytest.mark.parametrize("text", ["", "no devices", '{"a": 1}', '[{"neuron_device": 0}]'])
def test_neuron_devices_other_words_are_refused(text: str) -> None:
    """Anything but the documented list."""
    with pytest.raises(ValueError, match="neuron-ls gave no list"):
        neuron_devices(text, {})


def test_inf2_with_devices_and_package_is_available() -> None:
    """All three are there: chips, runtime, package."""
    told = kind(
        "inf2", neuron_ls=Ran(out=NEURON_LS), neuron_models={0: "Inf2"}, device_files=("/dev/neuron0",),
        sdks={"inf2": Installed(python=(3, 12), version="2.9.0.2.15.32035", compiler="2.27")},
    )  # fmt: skip

    assert told.available
    assert told.detail == "1 chips, 2 NeuronCores; torch-neuronx 2.9.0.2.15.32035"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, "there is no /dev/neuron0"),
        ({"device_files": ("/dev/neuron0",)}, "1 NeuronDevices of unknown kind (there is no neuron-ls)"),
        ({"neuron_ls": Ran(out=NEURON_LS), "neuron_models": {0: "Trn1"}}, "the NeuronDevices here are Trn1"),
        (
            {"neuron_ls": Ran(out="?"), "neuron_models": {0: "Inf2"}, "sdks": {"inf2": Installed(python=(3, 12))}},
            "torch-neuronx is not installed",
        ),
    ],
)
def test_inf2_unavailable_says_why(changes: dict[str, Any], why: str) -> None:
    """No chip, a chip of another kind, no package: each in its own words."""
    told = kind("inf2", **changes)

    assert not told.available
    assert told.why == why
    assert told.todo


@pytest.mark.parametrize(
    ("version", "error", "expected"),
    [
        ("1.0", "", True),
        ("1.0.0", "", True),
        ("1.0.post1", "", True),
        (None, "WRONG PACKAGE. Please install from ...", True),
        ("1.13.1.2.11.13.0", "", False),
        ("2.9.0.2.15.32035", "libnrt.so.1: cannot open", False),
        (None, "", False),
    ],
)
def test_placeholder_is_told_by_version_or_words(version: str | None, error: str, expected: bool) -> None:
    """The public index's package is 1.0; real ones follow torch's versions."""
    assert placeholder(version, error) is expected


def test_explain_names_placeholder_python_and_page() -> None:
    """What is wrong and where the real thing is, with no address to install from blindly."""
    sdk = SDKS["inf2"]
    why, todo = explain(sdk, Installed(python=(3, 12), version="1.0")) or ("", "")

    assert why == "torch-neuronx 1.0 is the public index's placeholder, which only raises ImportError"
    assert "pip uninstall torch-neuronx neuronx-cc" in todo
    assert "Python 3.11 to 3.13" in todo
    assert "setup/pytorch/manual.html" in todo


def test_explain_inf1_in_a_new_python_says_which_it_takes() -> None:
    """torch-neuron ended at Python 3.10, where Headrace begins at 3.11."""
    why, todo = explain(SDKS["inf1"], Installed(python=(3, 11))) or ("", "")

    assert why == "torch-neuron has no wheels for Python 3.11"
    assert "Python 3.7 to 3.10" in todo


def test_explain_nothing_wrong_is_none() -> None:
    """A package that imports needs no words; one that does not is told with its error."""
    sdk, found = SDKS["inf2"], Installed(python=(3, 12), version="2.9.0.2.15.32035")

    assert explain(sdk, found) is None
    assert explain(sdk, found, error="libnrt.so.1: cannot open") == (
        "torch-neuronx 2.9.0.2.15.32035 cannot be imported: libnrt.so.1: cannot open",
        f"see {sdk.page}",
    )


@pytest.mark.parametrize(
    ("hardware", "device", "given", "expected"),
    [
        ("cpu", 3, {}, {}),
        ("gpu", 1, {}, {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}),
        ("gpu", None, {}, {"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}),
        (
            "gpu",
            None,
            {"CUDA_VISIBLE_DEVICES": "GPU-3a", "CUDA_DEVICE_ORDER": "FASTEST_FIRST"},
            {"CUDA_VISIBLE_DEVICES": "GPU-3a", "CUDA_DEVICE_ORDER": "FASTEST_FIRST"},
        ),
        ("inf2", 1, {"NEURON_RT_VISIBLE_CORES": "0-1"}, {"NEURON_RT_VISIBLE_CORES": "1"}),
        ("inf1", None, {"NEURON_RT_VISIBLE_CORES": "3"}, {"NEURON_RT_VISIBLE_CORES": "3"}),
        ("inf1", None, {}, {"NEURON_RT_VISIBLE_CORES": "0"}),
    ],
)
def test_environment_gives_a_process_one_device(
    hardware: Any, device: int | None, given: dict[str, str], expected: dict[str, str]
) -> None:
    """A process without words would take every NeuronCore; what an operator or a scheduler set is kept."""
    assert environment(hardware, device, given) == expected


def test_ran_bounds_a_tool_that_hangs(tmp_path: Path) -> None:
    """nvidia-smi hangs on a GPU that fell off the bus; the answer is a sentence."""
    hangs = tool(tmp_path, "nvidia-smi", "exec sleep 30")

    assert ran([str(hangs)], timeout_s=0.2) == Ran(error="nvidia-smi did not answer within 0.2 s")


def test_ran_tells_exit_status_and_last_word(tmp_path: Path) -> None:
    """The last line of stderr is what the tool meant; one that is not there is told as such."""
    broken = tool(tmp_path, "neuron-ls", "echo noise >&2; echo 'failed to discover Neuron devices' >&2; exit 1")

    assert ran([str(broken)], timeout_s=10) == Ran(error="neuron-ls ended with 1: failed to discover Neuron devices")
    assert ran([str(tmp_path / "none")], timeout_s=10).error == "none cannot be run: No such file or directory"


def test_nvidia_smi_asks_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The query's fields are those that the parser expects, and a device is asked by its index."""
    tool(tmp_path, "nvidia-smi", 'echo "$*" > "$0.args"; echo "0, A10G, GPU-3a, 100, 90, 550.1, 8.6"')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")

    found = own_gpu()

    assert found is not None
    assert (found.name, found.free_bytes) == ("A10G", 90 << 20)
    assert (tmp_path / "nvidia-smi.args").read_text().split() == [
        "--query-gpu=index,name,uuid,memory.total,memory.free,driver_version,compute_cap",
        "--format=csv,noheader,nounits",
        "--id=2",
    ]


def test_own_gpu_absent_broken_or_a_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the tool, or with one that talks nonsense, there is no device; a MIG share cannot be asked about."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert nvidia_smi() is None
    with pytest.raises(NoDevice, match="GPU 0: there is no nvidia-smi"):
        own_gpu()

    tool(tmp_path, "nvidia-smi", "echo no")
    with pytest.raises(NoDevice, match="GPU 0: nvidia-smi gave 'no'"):
        own_gpu()

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1/7/0")
    assert own_gpu() is None


def test_claim_makes_the_process_one_of_its_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its children inherit the variables, and its profiles are of that device and no processor's."""
    monkeypatch.setattr(hardware, "_device", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NEURON_RT_VISIBLE_CORES"):
        monkeypatch.setenv(name, "")  # so that what claim sets is undone
        monkeypatch.delenv(name)
    host = hardware.machine_kind()
    claim("cpu", 3)
    assert hardware.machine_kind() == host

    claim("gpu", 1)
    assert (os.environ["CUDA_VISIBLE_DEVICES"], hardware.machine_kind()) == ("1", f"a GPU + {host}")
    tool(tmp_path, "nvidia-smi", 'echo "1, NVIDIA A10G, GPU-3a, 100, 90, 550.1, 8.6"')
    claim("gpu", 1)
    assert hardware.machine_kind() == f"NVIDIA A10G 8.6 + {host}"
    claim("inf2", 0)
    assert (os.environ["NEURON_RT_VISIBLE_CORES"], hardware.machine_kind()) == ("0", f"inf2 + {host}")


def test_files_of_devices_and_drivers_are_found(tmp_path: Path) -> None:
    """/dev/nvidiactl is no device; the kind of a NeuronDevice is in the driver's folder."""
    for name in ("nvidia0", "nvidiactl", "neuron1", "null"):
        (tmp_path / name).touch()
    folder = tmp_path / "sys/neuron1/info/architecture"
    folder.mkdir(parents=True)
    (folder / "instance_type").write_text("Inf2\n")

    assert device_files(tmp_path) == ("/dev/neuron1", "/dev/nvidia0")
    assert neuron_models(tmp_path / "sys") == {1: "Inf2"}


def test_frameworks_are_asked_in_a_process_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program that asks is valid and answers with one JSON object, whatever is installed."""
    monkeypatch.setattr(probing, "ASK_FRAMEWORKS", "import sys; sys.modules['torch'] = None" + probing.ASK_FRAMEWORKS)

    said = probing.frameworks()

    assert said.error == ""
    assert "ModuleNotFoundError" in json.loads(said.out)["torch"]


def test_installed_asks_the_interpreter_of_the_sdk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Inf2's SDK runs in this Python or the next best; Inf1's needs an older one, which a variable may name."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HEADRACE_NEURON_PYTHON", str(tmp_path / "none"))

    assert probing.installed(SDKS["inf2"]).version is None
    assert "there is no Python 3.10 here" in probing.installed(SDKS["inf1"]).error


def test_command_prints_lines_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    """On any machine: the CPU is available, each other kind is or says why not, and the JSON reads back."""
    command = load("hardware")

    command.main([], prog_name="hardware", standalone_mode=False)
    text = capsys.readouterr().out
    command.main(["--json"], prog_name="hardware", standalone_mode=False)
    read = msgspec.json.decode(capsys.readouterr().out, type=Machine)

    assert [k.hardware for k in read.kinds] == ["cpu", "gpu", "inf1", "inf2"]
    assert read.kinds[0].available
    assert all(k.available or (k.why and k.todo) for k in read.kinds)
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["cpu", "gpu", "inf1", "inf2"]


def test_lines_put_reason_before_remedy() -> None:
    """One line a kind: what is there, why it is not enough, what to do."""
    told = lines(machine(seen(device_files=("/dev/nvidia0",))))

    assert told[0].startswith("x86_64 x4 (x86_64), 16.0 GiB")
    assert told[2] == "gpu   unavailable  /dev/nvidia0; there is no nvidia-smi -> install the driver's utilities"
