"""Asking a model all items, in a way that may be stopped at any instant and continued."""

import contextlib
import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from radlite import manifest
from radlite.chat import demand_base
from radlite.errors import UserError
from radlite.evaluation.metrics import Answered, Setup, Stage, grade
from radlite.evaluation.selection import Shots
from radlite.files import exclusive, sha256
from radlite.manifest import text_hash, weights_hash
from radlite.reader import Reader
from radlite.runtime import remote
from radlite.runtime.model import Model
from radlite.tasks import Example, named
from radlite.tasks.prompting import OURS, Prompts
from radlite.tasks.task import Style

# Items are asked in blocks that always begin at the same places, and a continued run asks its block from the beginning:
# engines compute neighbours together, which the last digits of a result depend on.
_BLOCK = 64


def evaluate(
    reader: Reader,
    examples: Sequence[Example],
    out: Path,
    identity: str = "",
    progress: Progress | None = None,
    setup: Setup | None = None,
) -> list[Answered]:
    """Ask `reader` all `examples` and judge the answers, one line each in `out/{task}.jsonl`, as they come.

    Files that are there already are continued: a last line cut short is dropped, and what results is what a run
    without interruption gives, but for the seconds. `identity` is a digest of the model's weights; `setup` is what is
    told of it later. Report text is not written; the model's own text is.

    Raises `UserError` if a file is of another evaluation (model, shots, prompt or items), if a solved example is
    among the items, if another process writes to `out`, or if the files cannot be written.
    """
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(example.task, []).append(example)
    for task, items in groups.items():
        _check(reader, task, items)
    answered: list[Answered] = []
    with exclusive(out):
        for task, items in groups.items():
            bar = progress.add_task(f"{reader.model.name} {task}", total=len(items)) if progress else None
            header = _header(reader, items, identity, setup or Setup(reader.model.name))
            for answer in _continued(reader, items, out / f"{task}.jsonl", header):
                answered.append(answer)
                if progress and bar is not None:
                    progress.advance(bar)
    return answered


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


def _continued(reader: Reader, items: Sequence[Example], path: Path, header: dict[str, Any]) -> Iterator[Answered]:
    done = _opened(path, header, items)
    yield from done
    if len(done) == len(items):
        return
    with path.open("ab", buffering=0) as file:
        for begin in range(len(done) - len(done) % _BLOCK, len(items), _BLOCK):
            block = items[begin : begin + _BLOCK]
            readings = reader.read_many((example.task, example.inputs) for example in block)
            for number, (example, reading) in enumerate(zip(block, readings, strict=True), start=begin):
                if number >= len(done):
                    answer = grade(example, reading)
                    _write(file, path, dataclasses.asdict(answer))
                    yield answer


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
            raise UserError(f"{path} {_difference(whole, header)}; choose another --out or delete the file.")
        with path.open("ab", buffering=0) as file:
            file.truncate(len(whole))
            if not whole:
                file.write(first)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}. Choose another place with --out.") from error
    done = list(_parsed(path, whole))
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


def runs(folder: Path) -> list[Run]:
    """The runs of an evaluation's `--out`, or the one whose folder this is.

    Raises `UserError` if there is none, if one was not finished, or if one is of several models.
    """
    places = sorted({path.parent for path in (*folder.glob("*.jsonl"), *folder.glob("*/*.jsonl"))})
    if not places:
        raise UserError(f"{folder} holds no answers; make some with radlite evaluate.")
    return [_run(place) for place in places]


def _run(folder: Path) -> Run:
    answered: list[Answered] = []
    data: dict[str, str] = {}
    asked: set[tuple[str, str]] = set()
    setup = Setup("")
    for path in sorted(folder.glob("*.jsonl")):
        content = path.read_bytes()
        try:
            header = json.loads(content.partition(b"\n")[0])
            task, items, digest = (header[key] for key in ("task", "items", "data"))
            asked.add((str(header["identity"]), str(header["prompts"])))
            setup = Setup(**header["setup"])
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"{path} is no file of answers; make it with radlite evaluate.") from error
        done = list(_parsed(path, content[: content.rfind(b"\n") + 1]))
        if not done or len(done) != items:
            raise UserError(f"{path} holds {len(done)} answers to {items} items; run the same radlite evaluate again.")
        answered += done
        data[task] = digest
    if len(asked) > 1:
        raise UserError(f"{folder} holds answers of several models or prompts; evaluate each into another --out.")
    return Run(folder, setup, tuple(answered), data, *asked.pop())


def _difference(whole: bytes, header: dict[str, Any]) -> str:
    try:
        found = json.loads(whole.partition(b"\n")[0])
        names = [name for name in header if found.get(name) != header[name]]
    except (ValueError, AttributeError):
        return "is no file of answers"
    return f"holds answers of another evaluation (different {', '.join(names)})"


def _parsed(path: Path, content: bytes) -> Iterator[Answered]:
    for number, line in enumerate(content.splitlines()[1:], start=2):
        try:
            fields = json.loads(line)
            counts = {label: tuple(count) for label, count in fields["counts"].items()}
            yield Answered(**{**fields, "slices": tuple(fields["slices"]), "counts": counts})
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"Line {number} of {path} is damaged; delete the file and evaluate again.") from error


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


def open_model(place: str, send_to: str = "") -> Opened:
    """Open a GGUF file, a Hugging Face model folder, an adapter folder, `BASE+ADAPTER` (two folders or GGUF files), or
    a model behind a server, `openai:URL#MODEL`, which is on this machine or on the host `send_to`.

    What radlite tuned is asked by cue, any other model by full instruction. Raises `UserError` if it is none of these.
    """
    if place.startswith(remote.PREFIX):
        model = remote.open_model(place, send_to)
        return Opened(model, model.name, "base", "instruction", text_hash(place), constrain=False)
    path = Path(place)
    base, plus, adapter = place.rpartition("+")
    if path.is_file():
        return _open_gguf(path)
    if path.is_dir():
        made = manifest.read(path) if (path / manifest.NAME).is_file() else {}
        return _open_adapter("", path) if made.get("kind") == "adapter" else _open_folder(path, made)
    if plus and Path(base).is_dir() and Path(adapter).is_dir():
        return _open_adapter(base, Path(adapter))
    if plus and Path(base).is_file() and Path(adapter).is_file():
        return _open_gguf(Path(base), Path(adapter))
    raise UserError(
        f"There is no model {place}; give a GGUF file, a model folder, an adapter folder, BASE+ADAPTER or "
        "openai:URL#MODEL."
    )


def _open_gguf(path: Path, adapter: Path | None = None) -> Opened:
    from radlite.runtime import gguf
    from radlite.runtime.engine import open_model

    model = open_model(path, remembered=0, adapter=adapter)
    base = manifest.tuned_base(model.manifest or {})
    exact = (gguf.read(path).manifest or {}).get("quantization") in ("F32", "F16", "BF16")
    stage: Stage = "base" if not base else "tuned" if exact else "quantized"
    identity = file_identity(path, adapter)
    size = sum(one.stat().st_size for one in (path, adapter) if one)
    return Opened(
        model, base or model.name, stage, "cue" if base else "instruction", identity, size, probabilities=True
    )


def file_identity(path: Path, adapter: Path | None = None) -> str:
    """The identity, as answers tell it, of a GGUF file, or of one with an adapter over it."""
    return text_hash([sha256(path), sha256(adapter)]) if adapter else sha256(path)


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
    from radlite.runtime import hf
    from radlite.training.trainer import base_folder

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
) -> list["Run"]:
    """Evaluate the model at each of `places` on `items`, which are of one split; the answers lie under `out`.

    Each is asked in every way: with each of `shots`, which are chosen from `train`, by each of `prompts`. A model bears
    the name of its base; a second one of the same base and stage that of its own file or folder. `send_to` is another
    machine that may have the items, for a model there. Continues what an earlier call left in `out`. Raises `UserError`
    as its parts do, and if two models would bear one name.
    """
    found: list[Run] = []
    names: set[tuple[str, Stage]] = set()
    ways = [(one, one.pool(train), put) for put in prompts for one in shots]
    for place in places:
        opened = open_model(place, send_to)
        with contextlib.closing(opened.model):
            name = opened.model.name if (opened.name, opened.stage) in names else opened.name
            if (name, opened.stage) in names:
                raise UserError(f"{place} is given twice, or two models are called {name}; rename one.")
            names.add((name, opened.stage))
            for one, pool, put in ways:
                asked = " ".join(filter(None, ("" if put.order == OURS.order else put.order, one.asked)))
                parts = (re.sub(r"[/:]", "_", opened.model.name), opened.stage, one.count, *asked.split())
                reader = Reader(
                    opened.model, opened.style, pool, opened.constrain, probabilities=opened.probabilities, prompts=put,
                    choose=one.chooser(),
                )  # fmt: skip
                folder = out / "-".join(map(str, (*parts, items[0].split)))
                setup = Setup(name, opened.stage, one.count, asked, opened.size)
                answered = evaluate(reader, items, folder, opened.identity, progress, setup)
                found.append(Run(folder, setup, tuple(answered), {}))
    return found
