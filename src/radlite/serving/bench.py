"""How fast a machine reads reports with a model: tokens a second, seconds of a task and of a panel, reports an hour.

All is measured here and now. Beside each rate stands the limit that the machine's memory or arithmetic sets to it.
"""

import contextlib
import datetime
import importlib.util
import math
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, Self, get_args

from gguf import LlamaFileType
from rich.console import Console
from rich.table import Column, Table

import radlite
from radlite.chat import Prompt, Renderer
from radlite.data import pictures, sample
from radlite.errors import UserError
from radlite.files import atomic
from radlite.manifest import tuned_base
from radlite.reader import Reader
from radlite.runtime import adapter as adapters
from radlite.runtime import gguf, machine, memory, shape, tuning
from radlite.runtime.engine import Engine
from radlite.runtime.gguf import Header
from radlite.runtime.machine import Compute, Machine
from radlite.runtime.model import DEFAULT_CONTEXT, Model, Request
from radlite.runtime.native import rooms
from radlite.runtime.tuning import Settings, Trial
from radlite.tasks import named

PANEL: Final = (
    "rads_assignment", "impression_generation", "temporal_comparison", "radiology_ner", "abnormality_detection",
    "n_staging", "m_staging",
)  # fmt: skip
"""Tasks that are asked of one report: all that need nothing else."""
FREE: Final = ("impression_generation", "temporal_comparison", "radiology_ner")
"""Those of them that are asked without grammar, for as many tokens as a true answer has."""
BATCH: Final = ("rads_assignment", "impression_generation", "abnormality_detection")
BATCH_REPORTS: Final = 16
REPORTS: Final = 3
SECONDS: Final = 330.0
"""What all takes at most, about, unless one report takes longer or a number of them was asked for."""

_FOR_BATCH: Final = 0.2
"""The share of the seconds that the batch may take."""

_PREFILL: Final = (256, 1024)
_VOCABULARY_BYTES: Final = 32 << 20
"""Room for what a file has beside its weights."""
_WRITTEN: Final = 32
"""Tokens written to measure decoding."""
_TIMES, _RATE_SECONDS = 3, 15.0
"""A rate is measured so often, but no time more after so many seconds."""

ONE_BY_ONE: Final = "all seven, one by one"
TOGETHER: Final = "all seven, together"

Chosen = Literal["given", "measured", "default"]
Item = tuple[str, str, int]
"""Task, report, and how many tokens its answer has."""
Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Spread:
    """What `n` measurements came to."""

    median: float
    least: float
    most: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values), len(values))


@dataclass(frozen=True, slots=True)
class Rate:
    """Tokens a second, how many the machine's limit allows at most, and the share of it that was reached."""

    tokens: Spread
    limit: float
    share: float


@dataclass(frozen=True, slots=True)
class About:
    """The model, by its file."""

    name: str
    quantization: str
    parameters: int
    file_bytes: int
    read_bytes: int
    """Bytes of weights that are read for each token that is written."""
    multiply_adds: int
    """Of weights for each token that is read; attention, which at these lengths takes a hundredth, is left out."""
    random: bool
    """Whether the weights are random: answers mean nothing."""


@dataclass(frozen=True, slots=True)
class TaskTime:
    """One task asked alone of reports that were not read before: seconds to the first id, and of the rest."""

    prefill: Spread
    decode: Spread
    seconds: Spread
    read: float
    """Tokens of the prompt, the median."""
    written: float
    """Tokens of the answer, the median."""


@dataclass(frozen=True, slots=True)
class BatchTime:
    """Reports with the tasks of `BATCH`, asked together, and how many that makes an hour."""

    reports: int
    seconds: float
    hourly: float


@dataclass(frozen=True, slots=True)
class Bench:
    """What was measured; times in seconds."""

    radlite: str
    created: str
    model: About
    machine: Machine
    bandwidth: float
    """Bytes a second read from memory."""
    compute: Compute
    engine: Literal["native", "wheel"]
    context_tokens: int
    settings: Settings | None
    """None where the wheel engine sets itself."""
    chosen: Chosen
    trials: list[Trial]
    """The measurement that the settings are from, the best first."""
    load: float
    prefill: dict[int, Rate]
    """By the length of the prompt in tokens."""
    decode: Rate
    tasks: dict[str, TaskTime]
    single: TaskTime
    """All tasks of `PANEL` on a report, one by one."""
    panel: Spread
    """The same together."""
    gain: Spread
    """How many times as fast together, report by report."""
    batch: BatchTime
    peak_bytes: int | None
    """What this process had resident at most; None where that cannot be known."""
    needed_bytes: int
    """What `memory.needed` reckons for the model with this engine and window."""


def measure(
    path: Path,
    engine: str = "auto",
    threads: int | None = None,
    context: int | None = None,
    reports: int | None = None,
    tune: bool = False,
    told: Told = lambda _: None,
    seconds: float = SECONDS,
    adapter: Path | None = None,
) -> Bench:
    """Measure a GGUF file on this machine, with an adapter over it if given.

    `reports` is how many are read; without it `REPORTS`, but after the first no more than `seconds` leave time for. The
    batch is as large as a fifth of `seconds` allows. `tune` measures the engine's settings anew. `told` is told what is
    going on. Nothing is written but what `tuning` stores.

    Raises `UserError` if the file or the engine cannot be used, if there is too little memory, or if a report and its
    answer do not fit the window.
    """
    end = time.perf_counter() + seconds
    header = gguf.read(path)
    over = adapters.read(adapter, header) if adapter else None
    native = _is_native(engine)
    settings, chosen, trials = _settings(header, native, threads, tune, told)
    told(f"loading {path.name}")
    begun = time.perf_counter()
    model = _opened(header, native, context, threads, settings, adapter)
    load = time.perf_counter() - begun
    with contextlib.closing(model):
        subject = _Subject(model, native, _is_random(header))
        panels = subject.requests(PANEL, reports or REPORTS, seed=0)  # first: it finds out whether they fit
        lengths = [count for count in _PREFILL if count < model.context_tokens]
        prefill = {count: _prefill(subject, count, told) for count in lengths}
        decode = _decode(subject, told)
        rounds = _rounds(subject, panels, math.inf if reports else end - _FOR_BATCH * seconds, told)
        batch = _batch(subject, rounds, _FOR_BATCH * seconds, told)
        peak = memory.peak()
        if peak and settings and settings.repack == "answers":
            peak -= path.stat().st_size  # the file is mapped twice, but its pages are there once
    told("measuring what the machine can do at most")
    about, bandwidth, compute = _about(header, over), machine.bandwidth(), machine.compute()
    summed = [_summed(one) for one in rounds]
    return Bench(
        radlite=radlite.__version__,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        model=about,
        machine=machine.describe(),
        bandwidth=bandwidth,
        compute=compute,
        engine="native" if native else "wheel",
        context_tokens=model.context_tokens,
        settings=settings,
        chosen=chosen,
        trials=trials,
        load=load,
        prefill={count: _rate(found, compute.rate / about.multiply_adds) for count, found in prefill.items()},
        decode=_rate(decode, bandwidth / about.read_bytes),
        tasks={task: _task([one.alone[task] for one in rounds]) for task in PANEL},
        single=_task(summed),
        panel=Spread.of([one.together for one in rounds]),
        gain=Spread.of([alone.seconds / one.together for alone, one in zip(summed, rounds, strict=True)]),
        batch=batch,
        peak_bytes=peak,
        needed_bytes=memory.needed(
            header,
            **_room(settings if native else None, model.context_tokens),
            adapter=over,
        ),
    )


# The model


@contextlib.contextmanager
def shape_file(
    name: str,
    keep: Path | None = None,
    quantization: str = "Q4_K_M",
    layers: int | None = None,
    vocabulary: Path | None = None,
    engine: str = "auto",
    context: int | None = None,
    told: Told = lambda _: None,
) -> Iterator[Path]:
    """A GGUF of the shape `name` with random weights, as `keep` or in a temporary folder that is removed at the end.

    Raises `UserError` as `shape.write` does, and before anything is written if disk or memory are too small or `keep`
    is there already.
    """
    if keep and keep.exists():
        raise UserError(f"{keep} is there already; measure it with radlite bench {keep}, or choose another name.")
    plan = shape.plan(name, keep or Path(f"{name}.gguf"), quantization, layers, vocabulary=vocabulary)
    size = sum(map(plan.size, plan.tensors)) + _VOCABULARY_BYTES
    room = _room(tuning.default() if _is_native(engine) else None, context or min(plan.context_tokens, DEFAULT_CONTEXT))
    memory.demand(plan, **{**room, "private": False})
    place = next(one for one in (keep or Path(tempfile.gettempdir(), name)).absolute().parents if one.is_dir())
    if (free := shutil.disk_usage(place).free) < size:
        raise UserError(
            f"The shape {name} takes {size / 1e9:.1f} GB of disk, but {place} has {free / 1e9:.1f} GB free; name a "
            "file on another disk with --keep."
        )
    told(f"writing {size / 1e9:.1f} GB of random weights to {keep or place}")
    with contextlib.ExitStack() as stack:
        folder = None if keep else stack.enter_context(tempfile.TemporaryDirectory(prefix="radlite-bench-"))
        path = keep or Path(folder or "", f"{name}.gguf")
        yield shape.write(name, path, quantization, layers, vocabulary=vocabulary)


def _is_native(engine: str) -> bool:
    if engine not in get_args(Engine):
        raise UserError(f"There is no engine {engine!r}; choose from {', '.join(get_args(Engine))}.")
    there = importlib.util.find_spec("llama_cpp") is not None
    if engine == "native" and not there:
        raise UserError("The native engine needs llama-cpp-python; run pip install 'radlite[native]' or use the wheel.")
    return there and engine != "wheel"


def _settings(
    header: Header, native: bool, threads: int | None, tune: bool, told: Told
) -> tuple[Settings | None, Chosen, list[Trial]]:
    if tune and (threads or not native):
        raise UserError("--tune finds the threads of the native engine; leave out --threads, and use --engine native.")
    if threads:
        return Settings(threads, "off" if native else "on"), "given", []
    if not native:
        return None, "default", []
    if tune:
        told("measuring how the model runs best on this machine")
        trials = tuning.measure(header)
        return trials[0].settings, "measured", trials
    settings, trials = tuning.settings(header, told), tuning.stored(header)
    return settings, "measured" if trials else "default", trials


def _opened(
    header: Header,
    native: bool,
    context: int | None,
    threads: int | None,
    settings: Settings | None,
    adapter: Path | None = None,
) -> Any:
    if native:
        from radlite.runtime.native import open_model

        # Nothing is remembered, so that each task is read alone, and nothing saved. Guesses cannot come true where
        # weights are random.
        return open_model(
            header.path,
            context,
            remembered=0,
            guesses=not _is_random(header),
            save_after=math.inf,
            chosen=settings,
            adapter=adapter,
        )
    from radlite.runtime import wheel

    return wheel.open_model(header.path, context, threads, adapter)


def _room(settings: Settings | None, context: int) -> dict[str, Any]:
    """What `memory` has to know of the native engine with these settings, or of the wheel engine, for a window."""
    if settings:
        return rooms(context, 2 * context, settings)
    return {"context_tokens": context, "rows": 1, "private": True}


def _is_random(header: Header) -> bool:
    return (header.manifest or {}).get("weights") == "random"


def _about(header: Header, adapter: Header | None = None) -> About:
    try:
        kind = LlamaFileType(header.keys.get("general.file_type")).name
    except ValueError:
        kind = "unknown"
    # Of the embeddings one row is read for a token, unless they are the output matrix too. That one is read for each
    # token that is written, and of a prompt for the last alone.
    looked_up = {"token_embd.weight"} if "output.weight" in header.tensors else set()
    ends = {"token_embd.weight", "output.weight"}
    files = [header, *([adapter] if adapter else [])]
    return About(
        name=adapters.name(header.path, adapter.path if adapter else None),
        quantization=kind.removeprefix("MOSTLY_").removeprefix("ALL_"),
        parameters=sum(math.prod(size) for file in files for size in file.tensors.values()),
        file_bytes=sum(file.path.stat().st_size for file in files),
        read_bytes=sum(file.size(name) for file in files for name in file.tensors.keys() - looked_up),
        multiply_adds=sum(
            math.prod(size)
            for file in files
            for name, size in file.tensors.items()
            if len(size) == 2 and name.removesuffix(".lora_a").removesuffix(".lora_b") not in ends
        ),
        random=_is_random(header),
    )


# Asking


@dataclass(frozen=True, slots=True)
class _Asked:
    """Seconds to the first id and to the last, and tokens."""

    first: float
    seconds: float
    read: int
    written: int


@dataclass(frozen=True, slots=True)
class _Round:
    """A report: each task alone, and seconds of all together."""

    alone: dict[str, _Asked]
    together: float


class _Subject:
    """A model that is asked against the clock."""

    def __init__(self, model: Any, native: bool, random: bool) -> None:
        self.model: Model = model
        self._native = native
        # A random shape stands for a model that is tuned.
        cue = random or tuned_base(model.manifest or {})
        self._reader = Reader(model, "cue" if cue else "instruction")

    def ask(self, requests: Sequence[Request]) -> _Asked:
        """All of the requests at once; the first id is that of whichever comes first."""
        seen: list[float] = []

        def stop() -> bool:
            seen.append(time.perf_counter())
            return False

        begun = time.perf_counter()
        done = [completion for _, completion in self.model.complete(requests, stop)]
        end = time.perf_counter()
        # The native engine looks whether to stop before each step, the wheel after each id. A step reads a prompt of
        # these lengths whole.
        first = next(iter(seen[1:] if self._native else seen), end)
        return _Asked(
            first - begun,
            end - begun,
            sum(one.prompt_tokens for one in done),
            sum(one.generated_tokens for one in done),
        )

    def requests(self, tasks: Sequence[str], count: int, seed: int) -> list[dict[str, Request]]:
        """What is asked of each of `count` reports, by task. Raises `UserError` if one does not fit the window."""
        found = items(self.model.renderer, tasks, count, seed)
        return [{item[0]: self._request(item) for item in report} for report in found]

    def _request(self, item: Item) -> Request:
        name, request = item[0], asked(self._reader, item)
        if (need := len(request.prompt.ids) + request.max_tokens) > self.model.context_tokens:
            raise UserError(
                f"A report with {name} needs {need:,} tokens, but the window has {self.model.context_tokens:,}; ask "
                "for more with --context, or use a model with a larger window."
            )
        return request

    def forget(self) -> None:
        """Let the wheel engine, which keeps the last prompt, keep one of another report; the native one keeps none."""
        if not self._native:
            self.ask([Request(self._reader.prompt(named("m_staging"), {"report": "-"}), 1)])


def asked(reader: Reader, item: Item) -> Request:
    """What an item asks: free text of its length, else what the task's grammar allows."""
    name, report, tokens = item
    task, inputs = named(name), {"report": report}
    request = reader.request(reader.prompt(task, inputs), task, inputs)
    return replace(request, max_tokens=tokens, grammar=(), draft="") if name in FREE else request


def items(renderer: Renderer, tasks: Sequence[str], count: int, seed: int) -> list[list[Item]]:
    """`count` synthetic reports of 150 to 350 tokens, each with all tasks and the lengths of true answers to others."""
    chance = random.Random(seed)

    def size(text: str) -> int:
        return len(renderer.tokenizer.encode(text))

    lengths = {task: [size(one.answer) for one in sample.examples(task, "test", 50, seed)] for task in tasks}
    texts = [one.inputs["report"] for one in sample.examples("abnormality_detection", "train", 4 * count + 20, seed)]
    # Nearest to the middle of the range where a tokenizer leaves too few in it.
    sizes = {text: size(text) for text in texts}
    texts.sort(key=lambda text: 0 if 150 <= sizes[text] <= 350 else abs(sizes[text] - 250))
    return [[(task, text, chance.choice(lengths[task])) for task in tasks] for text in texts[:count]]


# Measuring


def _summed(one: _Round) -> _Asked:
    """All tasks of a report, one by one, as if they were one."""
    asked = one.alone.values()
    return _Asked(
        sum(task.first for task in asked),
        sum(task.seconds for task in asked),
        sum(task.read for task in asked),
        sum(task.written for task in asked),
    )


def _prefill(subject: _Subject, count: int, told: Told) -> Spread:
    """Tokens a second of prompts of `count` tokens, each another, up to the first id."""
    told(f"reading {count:,} tokens")
    chance = random.Random(count)
    every = range(subject.model.renderer.tokenizer.size)

    def once() -> float:
        return count / subject.ask([Request(Prompt(tuple(chance.choices(every, k=count)), ""), 1)]).first

    return _several(once)


def _decode(subject: _Subject, told: Told) -> Spread:
    """Tokens a second of one answer, after a prompt of one token: there is nothing in it to guess from."""
    told(f"writing {_WRITTEN} tokens")
    chance = random.Random(0)
    every = range(subject.model.renderer.tokenizer.size)

    def once() -> float:
        for _ in range(20):
            asked = subject.ask([Request(Prompt((chance.choice(every),), ""), _WRITTEN + 1)])
            if asked.written > _WRITTEN // 2:
                break
        return max(asked.written - 1, 1) / (asked.seconds - asked.first)

    return _several(once)


def _several(once: Callable[[], float]) -> Spread:
    end = time.perf_counter() + _RATE_SECONDS
    found = [once()]
    while len(found) < _TIMES and time.perf_counter() < end:
        found.append(once())
    return Spread.of(found)


def _rounds(subject: _Subject, panels: Sequence[dict[str, Request]], end: float, told: Told) -> list[_Round]:
    """Panels one by one, at least one, until `end`; alone and together take turns, since what else runs changes."""
    found: list[_Round] = []
    for number, panel in enumerate(panels, start=1):
        begun = time.perf_counter()
        alone: dict[str, _Asked] = {}
        for task, request in panel.items():
            told(f"report {number} of {len(panels)}: {task}")
            subject.forget()
            alone[task] = subject.ask([request])
        told(f"report {number} of {len(panels)}: all tasks together")
        subject.forget()
        found.append(_Round(alone, subject.ask(list(panel.values())).seconds))
        now = time.perf_counter()
        if 2 * now - begun > end:  # another one would end later
            break
    return found


def _per_report(rounds: Sequence[_Round]) -> float:
    """Seconds that a report of a batch will take, by what its tasks took alone and what asking together saves."""
    return statistics.mean(
        sum(one.alone[task].seconds for task in BATCH) * one.together / _summed(one).seconds for one in rounds
    )


def _batch(subject: _Subject, rounds: Sequence[_Round], seconds: float, told: Told) -> BatchTime:
    """As many of `BATCH_REPORTS` reports as may take so many seconds, at least two."""
    count = max(2, min(BATCH_REPORTS, int(seconds / _per_report(rounds))))
    told(f"a batch of {count} reports with {len(BATCH)} tasks each")
    asked = subject.requests(BATCH, count, seed=1)
    taken = subject.ask([request for report in asked for request in report.values()]).seconds
    return BatchTime(count, taken, 3600 * count / taken)


def _rate(found: Spread, limit: float) -> Rate:
    return Rate(found, limit, found.median / limit)


def _task(asked: Sequence[_Asked]) -> TaskTime:
    return TaskTime(
        prefill=Spread.of([one.first for one in asked]),
        decode=Spread.of([one.seconds - one.first for one in asked]),
        seconds=Spread.of([one.seconds for one in asked]),
        read=statistics.median(one.read for one in asked),
        written=statistics.median(one.written for one in asked),
    )


# Telling


def show(bench: Bench, console: Console) -> None:
    """Print what was measured."""

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, markup=False, highlight=False)

    model, computer, batch = bench.model, bench.machine, bench.batch
    say(
        f"Model: {model.name}, {model.quantization}, {model.parameters / 1e6:,.0f} million parameters, "
        f"{_bytes(model.file_bytes)}, loaded in {_number(bench.load)} s"
    )
    if model.random:
        say("  Its weights are random: speed and memory are true, its answers mean nothing.")
    say(f"Machine: {computer.cpu}, {computer.cores} cores, {_bytes(computer.memory_bytes)} of memory")
    say(
        f"  reads {bench.bandwidth / 1e9:.1f} GB/s from memory, does {bench.compute.rate / 1e9:,.0f} billion "
        f"multiply-adds/s ({bench.compute.kind})"
    )
    say(f"Engine: {bench.engine}, window {bench.context_tokens:,} tokens, {_set(bench.settings)} ({bench.chosen})")
    peak, needed = _bytes(bench.peak_bytes), _bytes(bench.needed_bytes)
    say(f"  {peak} resident at most, Python and libraries included; {needed} reckoned for the model")
    if bench.trials:
        rows = [
            (_set(one.settings), *map(_number, (one.reading, one.together, one.writing, one.seconds)))
            for one in bench.trials
        ]
        heads = ("prefill /s", "ten together /s", "decode /s", "panel, s")
        console.print(_table("Settings that were tried", heads, rows))
    rates = {f"prefill, {count:,} tokens": rate for count, rate in bench.prefill.items()} | {"decode": bench.decode}
    console.print(
        _table(
            "Tokens a second",
            ("median", "range", "n", "limit", "share"),
            [
                (what, *_spread(rate.tokens), _number(rate.limit), f"{_number(100 * rate.share)} %")
                for what, rate in rates.items()
            ],
        )
    )
    console.print(
        _table(
            "Seconds of a task",
            ("tokens read", "written", "prefill", "decode", "whole", "range", "n"),
            [
                *((name, *_timed(task)) for name, task in bench.tasks.items()),
                (ONE_BY_ONE, *_timed(bench.single)),
                (TOGETHER, "", "", "", "", *_spread(bench.panel)),
            ],
        )
    )
    say(f"Together {_number(bench.gain.median)} times as fast as one by one (range {_spread(bench.gain)[1]}).")
    say(
        f"Batch: {batch.hourly:,.0f} reports an hour with {', '.join(BATCH)}; reckoned from {batch.reports} reports in "
        f"{_number(batch.seconds)} s."
    )


def draw(bench: Bench, path: Path) -> None:
    """Write a picture of the seconds of each task, as PNG or SVG by the name of `path`.

    Raises `UserError` as `demand_drawable` does, and if the place cannot be written.
    """
    demand_drawable(path)
    tasks = {**bench.tasks, ONE_BY_ONE: bench.single}
    blank = [0.0] * len(tasks)
    series = {
        "prefill (to first token)": [*(one.prefill.median for one in tasks.values()), 0.0],
        "decode": [*(one.decode.median for one in tasks.values()), 0.0],
        "both": [*blank, bench.panel.median],
    }
    notes = [
        f"{_number(one.prefill.median)} + {_number(one.decode.median)} s (n = {one.seconds.n})"
        for one in tasks.values()
    ]
    with pictures.style():
        figure = pictures.figure(
            0.26 * (len(tasks) + 1) + 0.95, f"Seconds of a task: {pictures.short(bench.model.name)}"
        )
        axes = figure.add_subplot()
        pictures.bars(
            axes, [*tasks, TOGETHER], series, [*notes, f"{_number(bench.panel.median)} s (n = {bench.panel.n})"]
        )
        title = f"{pictures.plain(bench.machine.cpu)}, {bench.machine.cores} cores, {bench.engine} engine; medians"
        axes.set_title(title, loc="left")
        with atomic(path) as part:
            part.write_bytes(pictures.saved(figure, path.suffix.lower()[1:]))


def demand_drawable(path: Path) -> None:
    """Raise `UserError` if there can be no picture with this name."""
    if path.suffix.lower() not in (".png", ".svg"):
        raise UserError(f"{path} is no name of a picture; let it end in .png or .svg.")
    pictures.demand()


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table("", *(Column(name, justify="right") for name in head), title=title, title_justify="left", box=None)
    for row in rows:
        table.add_row(*row)
    return table


def _set(settings: Settings | None) -> str:
    if settings is None:
        return "settings as llama.cpp chooses"
    return f"{settings.threads} threads, repack {settings.repack}, ubatch {settings.ubatch}"


def _timed(one: TaskTime) -> tuple[str, ...]:
    parts = (one.read, one.written, one.prefill.median, one.decode.median)
    return (*map(_number, parts), *_spread(one.seconds))


def _spread(found: Spread) -> tuple[str, str, str]:
    return _number(found.median), f"{_number(found.least)}-{_number(found.most)}", str(found.n)


def _number(value: float) -> str:
    """To three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _bytes(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
