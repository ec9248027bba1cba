"""How the native engine is set on this machine for a model: measured once, stored, never slower than the defaults."""

import contextlib
import math
import multiprocessing
import signal
import struct
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, Literal, get_args

from radlite.errors import UserError
from radlite.files import cache_folder, read_json, write_json
from radlite.manifest import text_hash
from radlite.runtime import layout, machine
from radlite.runtime.gguf import Header

_WORTH: Final = 200 << 20
"""Smaller files are read so fast that measuring would take longer than it saves."""
_SECONDS: Final = 20.0
_PROMPT: Final = 384
_WRITTEN: Final = 16
_LAYERS, _IDS = 4, 1024
"""Layers of the model that settings are tried on, and rows of its vocabulary."""
_ANSWERS = 10
"""Ids that a step computes while several answers of a report advance together."""
_PANEL = (350, 15, 60)
"""Tokens read, steps of several answers and steps of one that a panel of seven tasks comes to (docs/performance.md)."""


Repack = Literal["off", "on", "answers"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How the native engine is set."""

    threads: int
    repack: Repack = "off"
    """Whether weights are copied into another order, which suits short steps better and long prompts worse on some
    CPUs; with `answers` prompts are read with the weights as they are, and all else with the copy."""
    ubatch: int = 512
    """Tokens that are computed at once."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Settings, and how fast they were through all layers: tokens a second of a prompt, and steps a second of several
    answers that are written together, and of one."""

    settings: Settings
    reading: float
    together: float
    writing: float

    @property
    def seconds(self) -> float:
        """What a panel would take."""
        rates = (self.reading, self.together, self.writing)
        return sum(much / rate for much, rate in zip(_PANEL, rates, strict=True)) if all(rates) else math.inf


def default() -> Settings:
    """What is taken where nothing was measured."""
    return Settings(machine.cores())


def settings(header: Header, told: Callable[[str], None] = lambda _: None) -> Settings:
    """The settings for a model on this machine: those stored, else measured now, which `told` is told; for small files
    the defaults."""
    if found := stored(header):
        return found[0].settings
    if header.path.stat().st_size < _WORTH:
        return default()
    told(f"measuring once how {header.path.name} runs best on this machine, at most {_SECONDS:.0f} s")
    return measure(header)[0].settings


def stored(header: Header) -> list[Trial]:
    """The trials of an earlier measurement, the best first; none if there was none."""
    try:
        found = read_json(_place(), "tuning file").get(_key(header), [])
        return [Trial(**{**one, "settings": Settings(**one["settings"])}) for one in found]
    except (UserError, TypeError, KeyError, AttributeError):
        return []


def measure(header: Header, seconds: float = _SECONDS) -> list[Trial]:
    """Try settings, the defaults first, until the time is over, and store what came out; the best first.

    They are tried on some layers of the model, which stand for all; in processes of their own, as some kernels end them
    on some CPUs. What cannot be tried is left out.
    """
    begun, found = time.perf_counter(), list[Trial]()

    def tries(*wanted: Settings) -> None:
        left = seconds - (time.perf_counter() - begun)
        if not found or left > 0:
            found.extend(_tried(path, share, wanted, left if found else 60.0))

    def best() -> Settings:
        # Another setting has to be better than noise; copied weights also take more memory.
        found.sort(key=lambda trial: trial.seconds * (1.0 if trial.settings == default() else 1.1))
        return found[0].settings

    with tempfile.TemporaryDirectory(prefix="radlite-", ignore_cleanup_errors=True) as folder:
        path, share = _part(header, Path(folder))
        tries(default())
        if not found:  # llama.cpp may not take the part
            path, share = header.path, 1.0
            tries(default())
        if not found:
            return [Trial(default(), 0.0, 0.0, 0.0)]
        tries(*(replace(default(), repack=repack) for repack in get_args(Repack)[1:]))
        cores, so_far = machine.cores(), best()
        fewer = sorted({max(1, cores // 2), max(1, cores - 1)} - {cores})
        tries(*(replace(so_far, threads=threads) for threads in fewer), replace(so_far, ubatch=128))
    best()
    _store(header, found)
    return found


def _part(header: Header, folder: Path) -> tuple[Path, float]:
    """A file with some layers of the model, and their share of all; the model itself where that cannot be."""
    path = folder / "part.gguf"
    with contextlib.suppress(LookupError, TypeError, ValueError, ArithmeticError, struct.error, OSError):
        layout.cut(header, path, _LAYERS, _IDS)
        whole = header.keys[f"{header.keys['general.architecture']}.block_count"]
        return path, min(_LAYERS, whole) / whole
    return header.path, 1.0


def _tried(path: Path, share: float, wanted: Sequence[Settings], seconds: float) -> list[Trial]:
    """Trials of the settings, one after the other in one process, as many as the time allows."""
    spawn = multiprocessing.get_context("spawn")
    pipe, other = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_try, args=(other, path, share, wanted), daemon=True)
    process.start()
    other.close()
    found, end = list[Trial](), time.perf_counter() + max(seconds, 1.0)
    try:
        while len(found) < len(wanted) and pipe.poll(max(end - time.perf_counter(), 0.0)):
            found.append(pipe.recv())
    except (EOFError, OSError):
        pass
    finally:
        process.kill()
        process.join()
        pipe.close()
    return found


def _try(pipe: Connection, path: Path, share: float, wanted: Sequence[Settings]) -> None:
    """In the process: measure, warmed up, and take the better of two."""
    from radlite.runtime import native

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent.
    ids = [number % 50 + 3 for number in range(_PROMPT)]
    for one in wanted:
        with contextlib.suppress(UserError, RuntimeError), contextlib.ExitStack() as opened:
            cache = ahead = opened.enter_context(contextlib.closing(native.Cache(path, 2048, one)))
            if one.repack == "answers":
                ahead = opened.enter_context(contextlib.closing(native.Cache(path, 2048, replace(one, repack="off"))))
            for each in (cache, ahead):
                each.time(ids[:8])
            reading = min(ahead.time(ids) for _ in range(2))
            together, writing = (
                min(cache.time(ids[:count], times=_WRITTEN) for _ in range(2)) for count in (_ANSWERS, 1)
            )
            pipe.send(Trial(one, share * _PROMPT / reading, share * _WRITTEN / together, share * _WRITTEN / writing))


def _place() -> Path:
    """Where measurements are stored, for this user."""
    return cache_folder() / "tuning.json"


def _key(header: Header) -> str:
    """Of the machine, the library, and what the model's speed depends on: its shape and the types of its weights."""
    import importlib.metadata

    shape = [header.keys.get(f"general.{key}") for key in ("architecture", "file_type")] + sorted(
        header.tensors.items()
    )
    return text_hash([machine.describe().key, importlib.metadata.version("llama-cpp-python"), shape])


def _store(header: Header, found: list[Trial]) -> None:
    place, before = _place(), dict[str, Any]()
    with contextlib.suppress(UserError):
        before = read_json(place, "tuning file")
    with contextlib.suppress(UserError):  # a place that cannot be written costs a measurement next time
        write_json(place, {**before, _key(header): [asdict(trial) for trial in found]})
