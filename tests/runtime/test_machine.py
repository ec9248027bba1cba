"""What a machine is, by files as the kernel writes them, and how fast this one is."""

import sys
from pathlib import Path

import pytest

from radlite.runtime import machine

X86 = """processor\t: 0
model name\t: Intel(R) Core(TM) i5-1240P
flags\t\t: fpu smep avx avx2 fma f16c sse4_2 avx_vnni

processor\t: 1
model name\t: Intel(R) Core(TM) i5-1240P, an efficient core
flags\t\t: fpu avx
"""
ARM = """processor\t: 0
Features\t: fp asimd asimddp sve i8mm cpuid
CPU implementer\t: 0x41
CPU variant\t: 0x1
CPU part\t: 0xd40
"""


def system(root: Path, files: dict[str, str]) -> Path:
    """A folder that looks like a machine with these files, and what was there."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_machine_is_described_by_its_first_core_and_the_flags_that_matter(tmp_path: Path) -> None:
    intel = machine.describe(system(tmp_path / "intel", {"proc/cpuinfo": X86, "proc/meminfo": "MemTotal: 8 kB\n"}))
    assert intel.cpu == "Intel(R) Core(TM) i5-1240P"
    assert intel.flags == ("avx", "avx2", "avx_vnni", "f16c", "fma")
    assert intel.memory_bytes == 8192
    arm = machine.describe(system(tmp_path / "arm", {"proc/cpuinfo": ARM}))
    assert (arm.cpu, arm.flags) == ("0x41 0xd40 0x1", ("asimd", "asimddp", "i8mm", "sve"))


def test_a_machine_without_proc_is_described_all_the_same(tmp_path: Path) -> None:
    found = machine.describe(tmp_path)
    assert found.cpu and found.cores >= 1 and found.flags == ()


def test_the_key_is_the_same_for_the_same_cpu_and_another_for_other_flags(tmp_path: Path) -> None:
    key = machine.describe(system(tmp_path, {"proc/cpuinfo": X86, "proc/meminfo": "MemTotal: 8 kB\n"})).key
    assert machine.describe(system(tmp_path, {"proc/meminfo": "MemTotal: 16 kB\n"})).key == key
    assert machine.describe(system(tmp_path, {"proc/cpuinfo": X86.replace("avx_vnni", "sse")})).key != key


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        ("0::/job/step\n", {"job/cpu.max": "100000 100000\n", "job/step/cpu.max": "max 100000\n"}),
        ("2:cpu,cpuacct:/job\n", {"cpu/job/cpu.cfs_quota_us": "50000\n", "cpu/job/cpu.cfs_period_us": "100000\n"}),
    ],
)
def test_a_control_group_that_pays_for_one_core_leaves_one(groups: str, files: dict[str, str], tmp_path: Path) -> None:
    root = system(tmp_path, {"proc/self/cgroup": groups} | {f"sys/fs/cgroup/{name}": files[name] for name in files})
    assert machine.cores(root) == 1


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        ("", {}),
        ("0::/job\n", {"job/cpu.max": "max 100000\n"}),
        ("2:cpu,cpuacct:/job\n", {"cpu/job/cpu.cfs_quota_us": "-1\n", "cpu/job/cpu.cfs_period_us": "100000\n"}),
    ],
)
def test_without_a_limit_all_cores_that_the_process_is_bound_to_count(
    groups: str, files: dict[str, str], tmp_path: Path
) -> None:
    root = system(tmp_path, {"proc/self/cgroup": groups} | {f"sys/fs/cgroup/{name}": files[name] for name in files})
    assert machine.cores(root) >= machine.cores() >= 1


def test_this_machine_reads_and_multiplies_at_a_rate_that_machines_have() -> None:
    assert 1e8 < machine.bandwidth() < 1e13
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    found = machine.compute()
    assert found.kind == "int8" and 1 <= found.threads <= machine.cores()
    assert 1e8 < found.rate < 1e15
    assert torch.get_num_threads() == threads


def test_without_torch_it_multiplies_in_float32_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    found = machine.compute()
    assert found.kind == "float32" and 1e7 < found.rate < 1e15
