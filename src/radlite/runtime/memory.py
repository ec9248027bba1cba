"""The memory that a GGUF needs, and that this process may still use."""

import ctypes
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from radlite.errors import UserError
from radlite.runtime.gguf import Header

_COPIED: Final = {2, 12, 20}
"""Types that llama.cpp copies into another order on x86, if it is let: Q4_0, Q4_K, IQ4_NL (`ggml-cpu/repack.cpp`)."""

# What Python and llama.cpp hold beside the buffers, measured with both engines: libraries and the like, the table of
# tokens, and the merges, which are held by the tokenizer here and again by llama.cpp.
_FIXED: Final = 24 << 20
_PER_TOKEN: Final = 200
_PER_MERGE: Final = 650


def needed(
    header: Header,
    context_tokens: int,
    ubatch: int = 512,
    private: bool = False,
    rows: int = 1,
    adapter: Header | None = None,
) -> int:
    """Bytes that a process holds while it runs the model, beside what it holds without.

    `context_tokens`: cells of the cache, which is in half precision. `ubatch`: tokens computed at once. `rows`: how
    many of them give logits, at most; llama.cpp keeps as many rows as there are sequences. `private`: weights are
    copied into another order. They are then in memory twice, but the file's pages are given back when others need them.
    `adapter`: of a LoRA adapter over the model, which is read into memory whole.
    Raises `UserError` if the header does not tell the model's sizes.
    """
    tensors = header.tensors
    weights = sum(header.size(name) for name in tensors)
    copied = sum(header.size(name) for name in tensors if private and header.types[name] in _COPIED)
    tokens, merges = (len(header.keys.get(f"tokenizer.ggml.{key}") or ()) for key in ("tokens", "merges"))
    hidden, wide = (_number(header, key) for key in ("embedding_length", "feed_forward_length"))
    logits = 4 * rows * tokens
    # What is not needed at once shares a buffer: a layer (three arrays as wide as `ffn_up`, three as wide as the model,
    # and the attention mask), then the output (logits, and their input twice).
    computed = max(ubatch * (12 * wide + 12 * hidden + 2 * context_tokens), logits + 8 * ubatch * hidden)
    around = _FIXED + _PER_TOKEN * tokens + _PER_MERGE * merges
    added = sum(map(adapter.size, adapter.tensors)) if adapter else 0
    return weights + copied + _cell(header) * context_tokens + computed + ubatch * wide + logits + around + added


def demand(
    header: Header,
    context_tokens: int,
    ubatch: int = 512,
    private: bool = False,
    rows: int = 1,
    root: Path = Path("/"),
    adapter: Header | None = None,
) -> None:
    """Raise `UserError` if what is `needed` is more than is `available`; pass where that cannot be known."""
    free = available(root)
    need = needed(header, context_tokens, ubatch, private, rows, adapter)
    if free is None or need <= free:
        return
    fitting = context_tokens - -(-(need - free) // _cell(header))
    shorter = f"ask for at most {fitting // 256 * 256:,} tokens of context, " if fitting >= 1024 else ""
    raise UserError(
        f"{header.path} needs {need / 1e9:.1f} GB of memory with {context_tokens:,} tokens of context, but "
        f"{free / 1e9:.1f} GB are free; {shorter}take a smaller model or quantisation, or free or add memory."
    )


def _cell(header: Header) -> int:
    """Bytes of one token's keys and values in half precision, over all layers."""
    layers, heads = _number(header, "block_count"), _number(header, "attention.head_count_kv")
    plain = _number(header, "embedding_length") // _number(header, "attention.head_count")
    key, value = (_number(header, f"attention.{part}_length", plain) for part in ("key", "value"))
    return 2 * layers * heads * (key + value)


def _number(header: Header, key: str, default: int | None = None) -> int:
    number = header.keys.get(f"{header.keys.get('general.architecture')}.{key}", default)
    if not isinstance(number, int) or number < 1:
        raise UserError(f"{header.path} does not say its {key}; export or download the model again.")
    return number


def available(root: Path = Path("/")) -> int | None:
    """Bytes that this process may still use without swapping; None where that cannot be known.

    On Linux the least of what the machine has and what each control group above the process leaves, version 1 or 2;
    pages of files count as free, since they are given back. `root` is where the system's folders are.
    """
    if (root / "proc/meminfo").is_file():
        free = _fields(root / "proc/meminfo")["MemAvailable:"] << 10
        return max(0, min([free, *(limit - used for limit, used in _limits(root))]))
    return _elsewhere()


def total(root: Path = Path("/")) -> int | None:
    """Bytes that this process may use if nothing else runs; None where that cannot be known."""
    if (root / "proc/meminfo").is_file():
        return min([_fields(root / "proc/meminfo")["MemTotal:"] << 10, *(limit for limit, _ in _limits(root))])
    return _elsewhere(whole=True)


def peak(root: Path = Path("/")) -> int | None:
    """Bytes that this process had resident at most so far, pages of the model's file included; None where unknown."""
    if (status := root / "proc/self/status").is_file():
        # Not from getrusage, which on Linux begins with what the parent had resident.
        found = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text("utf-8", errors="replace"), re.MULTILINE)
        return int(found[1]) << 10 if found else None
    if sys.platform == "win32":
        # PROCESS_MEMORY_COUNTERS: two numbers of 4 bytes, then the peak of the working set.
        counters = (ctypes.c_uint64 * 9)(72)
        kernel = ctypes.windll.kernel32
        kernel.GetCurrentProcess.restype = ctypes.c_void_p
        process = ctypes.c_void_p(kernel.GetCurrentProcess())
        return int(counters[1]) if kernel.K32GetProcessMemoryInfo(process, ctypes.byref(counters), 72) else None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def cgroups(controller: str, root: Path = Path("/")) -> Iterator[Path]:
    """Folders of the control groups that this process is in, of version 1 for `controller` and of version 2.

    From its own up to the outermost that can be seen. In a container the own one may be out of sight; the root of what
    is mounted is then the container's.
    """
    table = root / "proc/self/cgroup"
    for line in table.read_text("utf-8").splitlines() if table.is_file() else ():
        number, names, place = line.split(":", 2)
        if number != "0" and controller not in names.split(","):
            continue
        mounts = ("sys/fs/cgroup", "sys/fs/cgroup/unified") if number == "0" else (f"sys/fs/cgroup/{controller}",)
        path = PurePosixPath(place.lstrip("/"))
        yield from (
            folder
            for mount in mounts
            for part in (path, *path.parents)
            if ".." not in part.parts and (folder := root / mount / part).is_dir()
        )


def _limits(root: Path) -> Iterator[tuple[int, int]]:
    """(limit, use without pages of files) of each control group that has a limit."""
    for folder in cgroups("memory", root):
        for limit, use, prefix in (
            ("memory.max", "memory.current", ""),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
        ):
            try:
                most, used = (folder / limit).read_text("utf-8").strip(), int((folder / use).read_text("utf-8"))
                pages = _fields(folder / "memory.stat")
            except OSError:
                continue  # of the other version, or the root, which has none
            if most != "max":
                yield int(most), used - sum(pages.get(f"{prefix}{kind}_file", 0) for kind in ("active", "inactive"))


def _fields(path: Path) -> dict[str, int]:
    """A file of the kernel with a name and a number in each line."""
    rows = (line.split() for line in path.read_text("utf-8").splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1}


def _elsewhere(whole: bool = False) -> int | None:
    """Bytes that are free, or all there are, on systems without /proc/meminfo."""
    if sys.platform == "win32":
        # MEMORYSTATUSEX: its length and a percentage of 4 bytes each; physical total and free are the first of seven
        # numbers of 8 bytes.
        status = (ctypes.c_uint64 * 8)(64)
        if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
            return None
        return int(status[1 if whole else 2])
    try:
        return os.sysconf("SC_PHYS_PAGES" if whole else "SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None
