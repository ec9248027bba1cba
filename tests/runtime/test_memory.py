"""Memory that is needed, against real processes, and memory that is free, by files as the kernel writes them."""

import importlib.util
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from radlite.demo import base_folder
from radlite.errors import UserError
from radlite.runtime import gguf, memory, shape
from radlite.runtime.native import rooms
from radlite.runtime.tuning import Repack, Settings

GB = 10**9
LINUX = pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads a process's memory as Linux tells it")
V1, V2 = "4:memory:/job/step\n3:cpu,cpuacct:/\n0::/\n", "0::/job/step\n"
UNLIMITED = str(2**63 - 4096)


@pytest.fixture
def header() -> gguf.Header:
    return gguf.read(base_folder("tiny-qwen3").parent / "demonstration.gguf")


def system(root: Path, groups: str = "", files: Mapping[str, str] | None = None) -> Path:
    """A folder that looks like a machine with 8 GB free of 16, and these files of control groups."""
    written = {"proc/meminfo": f"MemTotal: {16 * GB >> 10} kB\nMemAvailable: {8 * GB >> 10} kB\n"}
    written |= {"proc/self/cgroup": groups} | {f"sys/fs/cgroup/{name}": text for name, text in (files or {}).items()}
    for name, text in written.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def group(version: int, folder: str, limit: str, used: int, pages: int = 0) -> dict[str, str]:
    """The files of a control group; half of `pages` was read lately."""
    limit_name, used_name, mount, prefix = (
        ("memory.max", "memory.current", folder, "")
        if version == 2
        else ("memory.limit_in_bytes", "memory.usage_in_bytes", f"memory/{folder}", "total_")
    )
    stat = f"anon 7\n{prefix}inactive_file {pages // 2}\n{prefix}active_file {pages // 2}\n"
    return {f"{mount}/{limit_name}": f"{limit}\n", f"{mount}/{used_name}": f"{used}\n", f"{mount}/memory.stat": stat}


def test_without_limits_what_the_machine_has_is_available(tmp_path: Path) -> None:
    assert memory.available(system(tmp_path)) == pytest.approx(8 * GB, abs=1024)
    assert memory.total(tmp_path) == pytest.approx(16 * GB, abs=1024)


def test_the_peak_is_what_the_kernel_says_and_grows_with_what_is_touched(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/status").write_text("Name:\tVmHWM: 7 kB\nVmHWM:\t   1234 kB\nVmRSS:\t 999 kB\n")
    assert memory.peak(tmp_path) == 1234 << 10
    if memory.peak() is not None:
        # In a process of its own: this one may have held gigabytes before.
        touching = "print(memory.peak()); held = bytearray(b'1' * (64 << 20)); print(memory.peak())"
        code = f"from radlite.runtime import memory; {touching}"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        before, after = map(int, done.stdout.split())
        assert after - before >= 64 << 20


@pytest.mark.parametrize(("version", "groups", "none"), [(1, V1, UNLIMITED), (2, V2, "max")])
def test_the_tightest_control_group_decides_and_pages_of_files_count_as_free(
    version: int, groups: str, none: str, tmp_path: Path
) -> None:
    own = group(version, "job/step", none, 2 * GB)
    parent = group(version, "job", str(4 * GB), 3 * GB, pages=GB)
    root = system(tmp_path, groups, own | parent)
    assert memory.available(root) == 2 * GB
    assert memory.total(root) == 4 * GB
    system(tmp_path, groups, group(version, "job/step", str(GB), 3 * GB // 4))
    assert memory.available(root) == GB // 4
    system(tmp_path, groups, group(version, "job/step", str(GB), 2 * GB))
    assert memory.available(root) == 0


@pytest.mark.parametrize(("version", "groups"), [(1, "4:memory:/docker/0af3\n"), (2, "0::/../../outside\n")])
def test_in_a_container_the_mounted_root_is_the_containers_own_group(version: int, groups: str, tmp_path: Path) -> None:
    root = system(tmp_path, groups, group(version, "", str(2 * GB), GB))
    assert memory.available(root) == GB


def test_this_machine_has_memory_and_one_that_cannot_tell_is_not_refused(tmp_path: Path, header: gguf.Header) -> None:
    free, whole = memory.available(), memory.total()
    assert free is None or whole is None or 0 < free <= whole
    elsewhere = memory.available(tmp_path)  # not Linux: no /proc
    assert elsewhere is None or elsewhere > 0
    memory.demand(header, 2048, root=tmp_path)


def test_what_is_needed_grows_with_context_rows_and_a_private_copy(header: gguf.Header) -> None:
    plain = memory.needed(header, 2048)
    cell = 6 * 2 * (64 + 64) * 2  # layers, heads, keys and values, two bytes
    assert memory.needed(header, 4096) - plain >= 2048 * cell
    assert memory.needed(header, 2048, rows=512) - plain >= 512 * 4096 * 4
    copied = sum(header.size(name) for name, type in header.types.items() if type == 12)
    assert memory.needed(header, 2048, private=True) - plain == copied > 0


def test_too_little_memory_is_a_user_error_with_both_numbers_and_the_context_that_fits(tmp_path: Path) -> None:
    cut = gguf.read(shape.write("qwen2.5-0.5b", tmp_path / "m.gguf", layers=1))
    header = replace(cut, keys=cut.keys | {"qwen2.block_count": 36})  # so that the context counts
    need = memory.needed(header, 32_768)
    enough, short, little = (
        system(tmp_path / str(number), V2, group(2, "job", str(number), 0)) for number in (need, need - 10**8, GB // 10)
    )
    memory.demand(header, 32_768, root=enough)
    with pytest.raises(
        UserError, match=r"m\.gguf needs 0\.\d GB of memory with 32,768 .* at most ([\d,]+) tokens"
    ) as told:
        memory.demand(header, 32_768, root=short)
    fitting = int(str(told.value).split("at most ")[1].split(" ")[0].replace(",", ""))
    assert fitting >= 1024
    memory.demand(header, fitting, root=short)
    with pytest.raises(UserError, match=r"but 0\.1 GB are free; take a smaller model or quantisation"):
        memory.demand(header, 32_768, root=little)


def test_a_header_without_sizes_is_a_user_error(header: gguf.Header) -> None:
    keys = {key: value for key, value in header.keys.items() if key != "qwen3.attention.head_count_kv"}
    with pytest.raises(UserError, match=r"does not say its attention\.head_count_kv"):
        memory.needed(replace(header, keys=keys), 1024)


CHILD = """
import importlib, os, sys
from pathlib import Path
from radlite.chat import Prompt, Turn
from radlite.runtime.model import Request
from radlite.runtime.tuning import Settings

def resident():  # a page that is mapped twice counts once
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))

engine, path, context = importlib.import_module(f"radlite.runtime.{sys.argv[1]}"), Path(sys.argv[2]), int(sys.argv[3])
given = {}
if sys.argv[1] == "native":
    engine._library()
    given["chosen"] = Settings(2, sys.argv[4])
before = resident()
model = engine.open_model(path, context, **given)
ids = model.renderer.prompt([Turn("user", "Small left pleural effusion. " * context)]).ids[: context - 8]
list(model.complete([Request(Prompt(ids, ""), 4)]))
print(resident() - before, flush=True)
os._exit(0)  # nothing that ends in its own time is waited for
"""


def resident(engine: str, path: Path, context: int, repack: str = "") -> int:
    """Bytes that an engine adds to a process, after a prompt that fills the context."""
    command = [sys.executable, "-c", CHILD, engine, str(path), str(context), repack]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@LINUX
def test_a_process_holds_what_was_predicted(tmp_path: Path) -> None:
    path = shape.write("qwen3-0.6b", tmp_path / "m.gguf", layers=1)
    predicted = memory.needed(gguf.read(path), 1024, private=True)
    assert resident("wheel", path, 1024) == pytest.approx(predicted, rel=0.15)


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("repack", ["wheel", *get_args(Repack)])
@pytest.mark.parametrize("name", ["qwen2.5-3b", "qwen3-4b"])
def test_a_process_of_four_true_layers_holds_what_was_predicted(name: str, repack: Repack, tmp_path: Path) -> None:
    """The native engine has cells for two windows, and rows for 256 sequences, of which one prompt fills few; with
    `answers` it has such rows twice."""
    engine = "wheel" if repack == "wheel" else "native"
    if engine == "native" and not importlib.util.find_spec("llama_cpp"):
        pytest.skip("the native engine is compiled by `make native`")
    path = shape.write(name, tmp_path / "m.gguf", layers=4)
    header = gguf.read(path)
    wheel = memory.needed(header, 2048, private=True)
    native = memory.needed(header, **rooms(2048, 2 * 2048, Settings(2, repack)))
    near = pytest.approx(wheel if engine == "wheel" else native, rel=0.2 if repack == "answers" else 0.15)
    assert resident(engine, path, 2048, repack) == near
