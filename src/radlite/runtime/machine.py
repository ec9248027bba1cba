"""What this machine is, and how fast it reads memory and multiplies: the two limits of a model on a CPU.

Reading a prompt is bound by multiplications, writing an answer by memory: each new token reads every weight once.
"""

import functools
import os
import platform
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from radlite.manifest import text_hash
from radlite.runtime import memory

_FLAGS: Final = re.compile(r"(avx|amx|fma$|f16c$|asimd|sve|sme(?!p)|i8mm|bf16|fphp)\w*")
"""Instructions that llama.cpp has kernels for, by their names in /proc/cpuinfo, of x86 and of ARM."""

_ARRAY_BYTES: Final = 512 << 20
_SECONDS: Final = 0.4
"""How long a measurement repeats; the best counts, because whatever else runs can only slow it down."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The CPU's name, the cores that this process may use, the CPU's instructions that matter, and the memory."""

    cpu: str
    cores: int
    flags: tuple[str, ...]
    memory_bytes: int | None
    """What this process may use if nothing else runs; None where that cannot be known."""

    @property
    def key(self) -> str:
        """Digest of CPU, cores and flags: what was tuned for one machine holds on those with the same key."""
        return text_hash([self.cpu, self.cores, self.flags])


@dataclass(frozen=True, slots=True)
class Compute:
    """Multiply-adds a second, and what was multiplied, `int8` or `float32`, with how many threads."""

    rate: float
    kind: str
    threads: int


def describe(root: Path = Path("/")) -> Machine:
    """This machine, as the operating system tells of it; `root` is where the system's folders are."""
    cpu = root / "proc/cpuinfo"
    lines = cpu.read_text("utf-8", errors="replace").splitlines() if cpu.is_file() else ()
    # The first value of a name counts: all cores of a machine are taken to be alike.
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    flags = facts.get("flags", facts.get("Features", "")).split()
    parts = " ".join(facts.get(f"CPU {part}", "") for part in ("implementer", "part", "variant")).strip()
    return Machine(
        cpu=facts.get("model name") or parts or platform.processor() or platform.machine(),
        cores=cores(root),
        flags=tuple(sorted({flag for flag in flags if _FLAGS.match(flag)})),
        memory_bytes=memory.total(root),
    )


def cores(root: Path = Path("/")) -> int:
    """Cores that this process may use: those it is bound to, and no more than its control groups pay for."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, round(min([bound, *filter(None, map(_quota, memory.cgroups("cpu", root)))])))


def _quota(group: Path) -> float | None:
    """Cores that a control group may keep busy; None if it has no limit. Of version 2, or 1."""
    files = [group / name for name in ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us") if (group / name).is_file()]
    words = [word for file in files for word in file.read_text("utf-8").split()]
    return None if len(words) != 2 or words[0] in ("max", "-1") else int(words[0]) / int(words[1])


def bandwidth() -> float:
    """Bytes a second that all cores together read from memory.

    NumPy sums over an array of 512 MiB, or a quarter of the memory that is free; about a second.
    """
    threads = cores()
    size = min(_ARRAY_BYTES, (memory.available() or _ARRAY_BYTES) // 4) // threads
    with ThreadPoolExecutor(threads) as pool:
        # Ones, since the system gives zeros without memory behind them.
        parts = list(pool.map(lambda _: np.ones(size // 8, np.int64), range(threads)))
        return sum(part.nbytes for part in parts) / _best(lambda: list(pool.map(np.sum, parts)))


def compute() -> Compute:
    """The most 8-bit multiply-adds a second that were seen: torch's matrices of integers, with one thread and with all.

    Without torch, NumPy's in float32, of which a CPU with instructions for 8 bits does a quarter or fewer. About a
    second, after torch is imported.
    """
    try:
        import torch

        return max(_integers(torch, sorted({1, cores()})), key=lambda one: one.rate)
    except (ImportError, OSError, AttributeError, RuntimeError):  # no torch, or one without this product on this CPU
        size = 1024
        left, right = np.ones((2, size, size), np.float32)
        return Compute(size**3 / _best(lambda: left @ right), "float32", cores())


def _integers(torch: Any, threads: Sequence[int]) -> list[Compute]:
    size, before = 1024, torch.get_num_threads()
    left, right = (torch.ones((size, size), dtype=torch.int8) for _ in range(2))
    try:
        found = []
        for number in threads:
            torch.set_num_threads(number)
            found.append(Compute(size**3 / _best(functools.partial(torch._int_mm, left, right)), "int8", number))
        return found
    finally:
        torch.set_num_threads(before)


def _best(work: Callable[[], object]) -> float:
    """Seconds that `work` takes at best."""
    end, best = time.perf_counter() + _SECONDS, float("inf")
    while (begin := time.perf_counter()) < end or best == float("inf"):
        work()
        best = min(best, time.perf_counter() - begin)
    return best
