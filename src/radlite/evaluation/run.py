"""Asking a model all items, in a way that may be stopped at any instant and continued."""

import contextlib
import dataclasses
import functools
import json
import math
import queue
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from radlite import manifest
from radlite.chat import demand_base
from radlite.errors import UserError, shown
from radlite.evaluation.metrics import Answered, Setup, Stage, grade
from radlite.evaluation.selection import Shots
from radlite.files import atomic, exclusive
from radlite.manifest import file_identity, text_hash, weights_hash
from radlite.reader import Asked, Reader
from radlite.runtime import child, remote
from radlite.runtime.model import Completion, Model
from radlite.serving import cluster, engines
from radlite.tasks import Example, Reading, named
from radlite.tasks.prompting import OURS, Prompts
from radlite.tasks.task import Style

# Items are asked in blocks that always begin at the same places, and a continued run asks its block from the beginning:
# engines compute neighbours together, which the last digits of a result depend on.
_BLOCK = 64

_LONGEST_HEADER = 1 << 20
"""Bytes."""

Add = Callable[[Example, Reading], None]
"""Takes one item and the answer to it, from any thread."""
Asker = Callable[[Iterable[Sequence[Example]], Add], None]
"""Has blocks of items answered, and gives on each answer as it comes, in any order."""


def evaluate(
    reader: Reader,
    examples: Sequence[Example],
    out: Path,
    identity: str = "",
    progress: Progress | None = None,
    setup: Setup | None = None,
    ask: Asker | None = None,
) -> list[Answered]:
    """Ask `reader` all `examples` and judge the answers, one line each in `out/{task}.jsonl`, as they come.

    Files that are there already are continued: a last line cut short is dropped, and what results is what a run
    without interruption gives, but for the seconds. `identity` is a digest of the model's weights; `setup` is what is
    told of it later. Report text is not written; the model's own text is. `ask` asks elsewhere what `reader` would be
    asked here; the lines stand in the order of the items all the same.

    Raises `UserError` if a file is of another evaluation (model, shots, prompt or items), if a solved example is
    among the items, if another process writes to `out`, or if the files cannot be written.
    """
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(example.task, []).append(example)
    for task, items in groups.items():
        _check(reader, task, items)
    with exclusive(out), contextlib.ExitStack() as opened:
        files: dict[str, _File] = {}
        for task, items in groups.items():
            header = _header(reader, items, identity, setup or Setup(reader.model.name))
            files[task] = opened.enter_context(_File(out / f"{task}.jsonl", items, header))
            if progress:
                files[task].show(progress, f"{reader.model.name} {task}")
        # One pool for all tasks: no engine waits for the last answers to another one's task.
        if work := [block for file in files.values() for block in file.blocks()]:
            (ask or functools.partial(_ask, reader))(work, lambda item, reading: files[item.task].add(item, reading))
        return [answer for file in files.values() for answer in file.answered]


def progress(console: Console) -> Progress:
    """Bars with the number of items done and the time left, gone when all is; silent where `console` is no terminal."""
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _check(reader: Reader, task: str, items: Sequence[Example]) -> None:
    if len({example.id for example in items}) < len(items):
        raise UserError(f"The items of {task} do not have different ids; build the corpus again.")
    ids = {example.id for example in items}
    texts = {tuple(sorted(example.inputs.items())) for example in items}
    for shot in reader.shots.get(task, ()):
        if shot.id in ids or tuple(sorted(shot.inputs.items())) in texts:
            raise UserError(f"The solved example {shot.id} of {task} is among the items evaluated; choose others.")


def _ask(reader: Reader, work: Iterable[Sequence[Example]], add: Add) -> None:
    """Have blocks answered in this process, by one thread that does nothing but ask the model.

    Meanwhile this one makes the prompts of the next block, and reads and judges what is answered.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(1) as model:
        try:
            running: tuple[Sequence[Example], Asked, _Answers] | None = None
            for block in work:
                asked = reader.asked([(example.task, example.inputs) for example in block])
                answers = _Answers(model, reader, asked, stop)
                if running:
                    _take(reader, *running, add)
                running = block, asked, answers
            if running:
                _take(reader, *running, add)
        finally:
            stop.set()


def _take(reader: Reader, block: Sequence[Example], asked: Asked, answers: "_Answers", add: Add) -> None:
    for number, reading in asked.unasked:
        add(block[number], reading)
    for at, completion in answers:
        number = asked.numbers[at]
        add(block[number], reader.reading(asked, at, completion))


class _Answers:
    """What a model makes of the requests of a block, as they are ready, from a thread of `pool`."""

    def __init__(self, pool: ThreadPoolExecutor, reader: Reader, asked: Asked, stop: threading.Event) -> None:
        self._found: queue.SimpleQueue[tuple[int, Completion] | None] = queue.SimpleQueue()
        self._done = pool.submit(self._run, reader, asked, stop)

    def _run(self, reader: Reader, asked: Asked, stop: threading.Event) -> None:
        try:
            for found in reader.model.complete(asked.requests, stop.is_set):
                self._found.put(found)
        finally:
            self._found.put(None)

    def __iter__(self) -> Iterator[tuple[int, Completion]]:
        yield from iter(self._found.get, None)
        self._done.result()


class _File:
    """The answers to the items of one task, written in the order of the items, in whatever order they come: at any
    instant the file is a beginning of what it will be. Safe to use from several threads."""

    def __init__(self, path: Path, items: Sequence[Example], header: dict[str, Any]) -> None:
        """Begin the file, or go on with it. Raises `UserError` as `_opened` does."""
        self.answered = _opened(path, header, items)
        """What is written."""
        self._path, self._items = path, items
        self._place = {example.id: number for number, example in enumerate(items)}
        self._early: dict[int, Answered] = {}
        """By number, those that have to wait for the one before them."""
        self._lock = threading.Lock()
        self._tell: Callable[[], object] = lambda: None

    def __enter__(self) -> Self:
        self._file = self._path.open("ab", buffering=0)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def show(self, progress: Progress, title: str) -> None:
        """Add a bar of this file to `progress`."""
        bar = progress.add_task(title, total=len(self._items), completed=len(self.answered))
        self._tell = functools.partial(progress.advance, bar)

    def blocks(self) -> Iterator[Sequence[Example]]:
        """What is still to be asked: the block whose answers are not all there, and those after it."""
        done = len(self.answered)
        begin = done - done % _BLOCK if done < len(self._items) else done
        return (self._items[at : at + _BLOCK] for at in range(begin, len(self._items), _BLOCK))

    def add(self, example: Example, reading: Reading) -> None:
        """Judge an answer and write it, or keep it until those before it are there; one that is there is not taken.

        Raises `UserError` if it cannot be written.
        """
        number = self._place[example.id]
        with self._lock:
            if number < len(self.answered) or number in self._early:
                return
            self._early[number] = grade(example, reading)
            while following := self._early.pop(len(self.answered), None):
                _write(self._file, self._path, dataclasses.asdict(following))
                self.answered.append(following)
                self._tell()


def _header(reader: Reader, items: Sequence[Example], identity: str, setup: Setup) -> dict[str, Any]:
    """First line of an answer file: what the answers depend on."""
    task = reader.prompts.asked(named(items[0].task))
    prompt = reader.prompt(task, items[0].inputs)
    return {
        "kind": "answers",
        "task": task.name,
        "model": reader.model.name,
        "identity": identity,
        "setup": dataclasses.asdict(setup),
        "context_tokens": reader.model.context_tokens,
        "style": reader.style,
        "prompts": reader.prompts.hash,
        "shots": _told(reader, task.name),
        "items": len(items),
        "prompt": text_hash([prompt.text, task.max_tokens, repr(task.grammar(items[0].inputs)), reader.constrain]),
        "data": text_hash([{**dataclasses.asdict(item), "inputs": dict(item.inputs)} for item in items]),
    }


def _told(reader: Reader, task: str) -> Any:
    """The solved examples, or where they differ by item a digest of those to choose from."""
    ids = [shot.id for shot in reader.shots.get(task, ())]
    return text_hash(ids) if reader.choose else ids


def _opened(path: Path, header: dict[str, Any], items: Sequence[Example]) -> list[Answered]:
    """The whole answers of an earlier run. The file then holds the header and these, and nothing else."""
    first = json.dumps(header).encode() + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes() if path.is_file() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if not (whole.startswith(first) or (not whole and first.startswith(content))):
            if why := _difference(whole, header):
                raise UserError(f"{path} {why}; choose another --out or delete the file.")
            whole = first + whole.partition(b"\n")[2]
            with atomic(path) as part:
                part.write_bytes(whole)
        with path.open("ab", buffering=0) as file:
            file.truncate(len(whole))
            if not whole:
                file.write(first)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}. Choose another place with --out.") from error
    done = list(_parsed(path, whole, header["task"]))
    if [answer.id for answer in done] != [example.id for example in items[: len(done)]]:
        raise UserError(f"{path} holds answers to other items than its first line says; delete the file.")
    return done


@dataclass(frozen=True, slots=True)
class Run:
    """What one model answered in one evaluation."""

    folder: Path
    setup: Setup
    answered: tuple[Answered, ...]
    data: Mapping[str, str]
    """Task to a digest of its items; empty where they are at hand."""
    identity: str = ""
    """A digest of the model's weights; empty where the answers were not read from their folder."""
    prompts: str = ""
    """`Prompts.hash` of how it was asked; empty as `identity`."""

    @property
    def split(self) -> str:
        return self.answered[0].split


def runs(folder: Path, identity: str | None = None) -> list[Run]:
    """The runs of an evaluation's `--out`, or the one whose folder this is; of one model only, if `identity` is given.

    Raises `UserError` if there is none, if one was not finished, or if one is of several models.
    """
    places = sorted({path.parent for path in (*folder.glob("*.jsonl"), *folder.glob("*/*.jsonl"))})
    if not places:
        raise UserError(f"{folder} holds no answers; make some with radlite evaluate.")
    if identity is not None:
        places = [place for place in places if any(_read_header(path).identity == identity for path in _files(place))]
    return [_run(place) for place in places]


@dataclass(frozen=True, slots=True)
class _Header:
    """What is read back of the first line of a file of answers."""

    task: str
    items: int
    data: str
    identity: str
    prompts: str
    setup: Setup


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jsonl"))


def _read_header(path: Path) -> _Header:
    try:
        with path.open("rb") as file:
            found: _Header = _form(_Header).validate_json(file.readline(_LONGEST_HEADER), strict=True)
        named(found.task)
        return found
    except ValueError as error:
        raise UserError(f"{path} is no file of answers; make it with radlite evaluate.") from error


def _run(folder: Path) -> Run:
    headers = {path: _read_header(path) for path in _files(folder)}
    if len({(header.identity, header.prompts) for header in headers.values()}) > 1:
        raise UserError(f"{folder} holds answers of several models or prompts; evaluate each into another --out.")
    answered: list[Answered] = []
    for path, header in headers.items():
        content = path.read_bytes()
        done = list(_parsed(path, content[: content.rfind(b"\n") + 1], header.task))
        if not done or len(done) != header.items:
            raise UserError(
                f"{path} holds {len(done)} answers to {header.items} items; run the same radlite evaluate again."
            )
        answered += done
    last = [*headers.values()][-1]
    data = {header.task: header.data for header in headers.values()}
    return Run(folder, last.setup, tuple(answered), data, last.identity, last.prompts)


def _difference(whole: bytes, header: dict[str, Any]) -> str:
    """What answers depend on and differs; empty if it is only what the model is called."""
    try:
        found = json.loads(whole.partition(b"\n")[0])
        names = [name for name in header if name != "setup" and found.get(name) != header[name]]
    except (ValueError, AttributeError, RecursionError):
        return "is no file of answers"
    return f"holds answers of another evaluation (different {', '.join(names)})" if names else ""


@functools.cache
def _form(of: type[Any]) -> Any:
    import pydantic

    return pydantic.TypeAdapter(of)


def _parsed(path: Path, content: bytes, task: str) -> Iterator[Answered]:
    """The answers to items of this task. Raises `UserError` where a line is none."""
    seen: set[str] = set()
    for number, line in enumerate(content.split(b"\n")[1:-1], start=2):
        try:
            answer: Answered = _form(Answered).validate_json(line, strict=True)
            if answer.task != task or answer.id in seen or not _can_be(answer):
                raise ValueError
        except ValueError as error:  # pydantic's is one
            raise UserError(f"Line {number} of {path} is damaged; delete the file and evaluate again.") from error
        seen.add(answer.id)
        yield answer


def _can_be(answer: Answered) -> bool:
    """Whether the numbers of an answer are such as can be, and all are there."""
    task = named(answer.task)
    shares = (*answer.values.values(), *answer.probabilities.values())
    counts = [number for count in answer.counts.values() for number in count]
    return (
        all(0 <= share <= 1.001 for share in shares)
        and all(0 <= number < math.inf for number in counts)
        and (task.metric in answer.values or task.metric.endswith("f1"))
        and (answer.truth is not None or not task.labels)
    )


def _write(file: FileIO, path: Path, value: dict[str, Any]) -> None:
    rest = json.dumps(value).encode() + b"\n"
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}. Free some space, then run the same again.") from error


@dataclass(frozen=True, slots=True)
class Opened:
    """A model to evaluate: `name` of its base, the stage it is at, how it is asked, and a digest of its weights."""

    model: Model
    name: str
    stage: Stage
    style: Style
    identity: str
    size: int = 0
    """Bytes of its weights, where they are known."""
    constrain: bool = True
    probabilities: bool = False
    """Whether it is asked how likely each label is: of the files that are read with later."""
    base: str = ""
    """As in `Setup`."""
    kind: str = ""
    """As in `Setup`."""
    files: tuple[Path, Path | None] | None = None
    """Of a GGUF: the model, and the adapter over it if there is one."""


def open_model(place: str, send_to: str = "", here: bool = True) -> Opened:
    """Open a GGUF file, a Hugging Face model folder, an adapter folder, `BASE+ADAPTER` (two folders or GGUF files), or
    a model behind a server, `openai:URL#MODEL`, which is on this machine or on the host `send_to`.

    What radlite tuned is asked by cue, any other model by full instruction. A GGUF file that is not to be asked
    `here` is not loaded. Raises `UserError` if it is none of these.
    """
    if place.startswith(remote.PREFIX):
        model = remote.open_model(place, send_to)
        return Opened(model, model.name, "served", "instruction", text_hash(place), constrain=False)
    if files := _gguf_files(place):
        return _open_gguf(files, here)
    path = Path(place)
    base, plus, adapter = place.rpartition("+")
    if path.is_dir():
        made = manifest.read(path) if (path / manifest.NAME).is_file() else {}
        return _open_adapter("", path) if made.get("kind") == "adapter" else _open_folder(path, made)
    if plus and Path(base).is_dir() and Path(adapter).is_dir():
        return _open_adapter(base, Path(adapter))
    raise _no_model(place)


def demand_models(places: Iterable[str]) -> None:
    """Raise `UserError` if one of several models is nothing that `open_model` opens, as far as names tell."""
    for place in places:
        base, plus, adapter = place.rpartition("+")
        there = Path(place).exists() or (plus and Path(base).exists() and Path(adapter).exists())
        if not (there or place.startswith(remote.PREFIX)):
            raise _no_model(place)


def _no_model(place: str) -> UserError:
    return UserError(
        f"There is no model {shown(place)}; give a GGUF file, a model folder, an adapter folder, BASE+ADAPTER or "
        "openai:URL#MODEL."
    )


def demand_gguf(places: Iterable[str]) -> None:
    """Raise `UserError` if one of several models is no GGUF file, nor one with an adapter: no other model is asked in
    processes of its own."""
    for place in places:
        if not _gguf_files(place):
            raise UserError(
                f"--workers and --ray take GGUF files only, or BASE.gguf+ADAPTER.gguf, and {place} is none; make one "
                "with radlite export, or leave them out."
            )


def _gguf_files(place: str) -> tuple[Path, Path | None] | None:
    """The model and, if there is one, the adapter over it."""
    if Path(place).is_file():
        return Path(place), None
    base, plus, adapter = place.rpartition("+")
    return (Path(base), Path(adapter)) if plus and Path(base).is_file() and Path(adapter).is_file() else None


def _open_gguf(files: tuple[Path, Path | None], here: bool) -> Opened:
    from radlite.runtime import gguf
    from radlite.runtime.engine import open_model

    path, adapter = files
    model = open_model(path, remembered=0, adapter=adapter) if here else child.describe(path, adapter=adapter)
    base = manifest.tuned_base(model.manifest or {})
    header = gguf.read(path)
    kind, origin = _kind(header.keys), str(header.keys.get("general.name") or model.name)
    stage: Stage = "base" if not base else "tuned" if kind in ("F32", "F16", "BF16") else "quantized"
    identity = file_identity(path, adapter)
    size = sum(one.stat().st_size for one in (path, adapter) if one)
    return Opened(
        model, base or model.name, stage, "cue" if base else "instruction", identity, size, probabilities=True,
        base=base or origin, kind=kind, files=files,
    )  # fmt: skip


def _kind(keys: Mapping[str, Any]) -> str:
    """What a GGUF's keys call most of its weights, such as F16 or Q4_K_M; empty if they do not tell."""
    from gguf import LlamaFileType

    try:
        name = str(LlamaFileType(keys.get("general.file_type")).name)
        return name.removeprefix("MOSTLY_").removeprefix("ALL_")
    except ValueError:
        return ""


def _open_folder(folder: Path, made: dict[str, Any]) -> Opened:
    from radlite.runtime import hf

    base = manifest.tuned_base(made)
    model, identity = hf.open_model(folder), weights_hash(folder)
    if base:
        return Opened(model, base, "tuned", "cue", identity, _bytes(folder))
    return Opened(model, folder.resolve().name, "base", "instruction", identity, _bytes(folder))


def _bytes(*folders: Path) -> int:
    return sum(path.stat().st_size for folder in folders for path in folder.glob("*.safetensors"))


def _open_adapter(base: str, adapter: Path) -> Opened:
    from radlite.hub import base_folder
    from radlite.runtime import hf

    made = manifest.read(adapter, "adapter", manifest.ADAPTER)
    try:
        folder = base_folder(base or str(made["base"]))
    except UserError as error:
        raise UserError(
            f"The base of the adapter {adapter} is not there; give both as BASE+ADAPTER. {error}"
        ) from error
    demand_base(made, adapter, folder)
    identity = text_hash([weights_hash(folder), weights_hash(adapter)])
    model = hf.open_model(folder, adapter)
    return Opened(model, folder.resolve().name, "tuned", "cue", identity, _bytes(folder, adapter))


def evaluate_models(
    places: Sequence[str],
    items: Sequence[Example],
    out: Path,
    train: Sequence[Example] = (),
    shots: Sequence[Shots] = (Shots(),),
    prompts: Sequence[Prompts] = (OURS,),
    progress: Progress | None = None,
    send_to: str = "",
    workers: int = 1,
    ray: str = "",
) -> list["Run"]:
    """Evaluate the model at each of `places` on `items`, which are of one split; the answers lie under `out`.

    Each is asked in every way: with each of `shots`, which are chosen from `train`, by each of `prompts`. A model bears
    the name of its base; a second one of the same base and stage that of its own file or folder. `send_to` is another
    machine that may have the items, for a model there. Several `workers` are engines with a process each, on the Ray
    cluster at `ray` if given; one is this process. Continues what an earlier call left in `out`. Raises `UserError` as
    its parts do, if two models would bear one name, or if workers or Ray are for anything but GGUF files.
    """
    elsewhere = workers > 1 or bool(ray)
    if elsewhere:
        demand_gguf(places)
    if len(set(places)) < len(places):
        raise UserError("A model is given twice; give each once.")
    found: list[Run] = []
    names: set[tuple[str, Stage]] = set()
    folders: set[Path] = set()
    ways = [(one, one.pool(train), put) for put in prompts for one in shots]
    for place in places:
        opened = open_model(place, send_to, here=not elsewhere)
        with contextlib.closing(opened.model):
            name = shown(opened.model.name if (opened.name, opened.stage) in names else opened.name)
            if (name, opened.stage) in names:
                raise UserError(f"Two models are called {name}, of which {shown(place)} is one; rename its file.")
            names.add((name, opened.stage))
            for one, pool, put in ways:
                asked = " ".join(filter(None, ("" if put.order == OURS.order else put.order, one.asked)))
                parts = (re.sub(r"[/:]", "_", opened.model.name), opened.stage, one.count, *asked.split())
                reader = Reader(
                    opened.model, opened.style, pool, opened.constrain, probabilities=opened.probabilities, prompts=put,
                    choose=one.chooser(),
                )  # fmt: skip
                folder = out / "-".join(map(str, (*parts, items[0].split)))
                if folder in folders:
                    raise UserError(f"The answers of {shown(place)} would stand in {folder} too; rename its file.")
                folders.add(folder)
                setup = Setup(name, opened.stage, one.count, asked, opened.size, shown(opened.base), opened.kind)
                ask = _pool(reader, opened.files, workers, ray, progress) if elsewhere and opened.files else None
                answered = evaluate(reader, items, folder, opened.identity, progress, setup, ask)
                found.append(Run(folder, setup, tuple(answered), {}, opened.identity, put.hash))
    return found


def _pool(reader: Reader, files: tuple[Path, Path | None], workers: int, ray: str, progress: Progress | None) -> Asker:
    """What has blocks answered by engines that read a GGUF file as `reader` does."""
    path, adapter = files
    engine = engines.Engine(path, prompts=reader.prompts, adapter=adapter, shots=reader.shots, choose=reader.choose)
    if ray:
        return functools.partial(cluster.ask, engine, workers, ray)

    def ask(work: Iterable[Sequence[Example]], add: Add) -> None:
        restarts = engines.ask(engine, workers, work, add)
        if restarts and progress:
            progress.console.print(
                f"radlite: an engine ended {restarts} times and was started again. What it had in hand was asked again "
                "by itself, so that its probabilities may differ from those of a run without this in the second digit.",
                soft_wrap=True,
            )

    return ask
