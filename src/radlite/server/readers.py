"""The models that a server asks: which there are, what is known of them, and which answers what."""

import contextlib
import dataclasses
import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radlite.chat import Turn
from radlite.errors import UserError
from radlite.files import front_matter, read_text, sha256
from radlite.manifest import text_hash, tuned_base
from radlite.routing.router import Router
from radlite.runtime import child, engine
from radlite.runtime.child import ChildModel
from radlite.runtime.model import Completion, Request
from radlite.server.settings import Settings
from radlite.serving import asking, engines
from radlite.tasks import Reading
from radlite.tasks.prompting import chosen

SUMS = "SHA256SUMS"
"""Digests of files beside a model, as `sha256sum` writes them."""


@dataclass(frozen=True, slots=True)
class Question:
    """A task and the texts that it is asked of."""

    task: str
    inputs: Mapping[str, str]


class Readers:
    """The models of the settings. All but `open`, `readings`, `chat` and `close` may be used from any thread; these
    belong to the one that `open` was called in.

    Raises `UserError` if a file is no GGUF, was not made by radlite and that is not accepted, or if files do not go
    together.
    """

    def __init__(self, settings: Settings) -> None:
        paths = settings.model or (asking.demonstration(),)
        asking.demand_one(paths, settings.adapter)
        self._settings = settings
        self._names = asking.names(paths, settings.any_model, settings.adapter)
        self._router = Router.load(settings.router) if settings.router else None
        asking.shared_out(self._names, self._router, [])
        self.prompts = chosen(settings.prompt_style, settings.prompts)
        self._models: dict[Path, ChildModel] = {
            path: child.describe(
                path,
                context_tokens=settings.context,
                threads=settings.threads,
                engine=settings.engine,
                remembered=settings.remembered,
                adapter=settings.adapter,
            )
            for path in paths
        }
        self.files: dict[str, dict[str, str]] = {}
        """Model's name to the digests of its files by their names; known once they are open."""
        self.digests: dict[str, str] = {}
        """Model's name to the digest of its file, or of its file and the adapter; known once they are open."""
        self._facts: list[dict[str, Any]] = []

    @property
    def names(self) -> list[str]:
        """The models' names, as readings carry them."""
        return [model.name for model in self._models.values()]

    @property
    def restarts(self) -> int:
        """How often an engine was started again."""
        return sum(model.restarts for model in self._models.values())

    @property
    def broken(self) -> str:
        """Why an engine could not be started again; empty if all could."""
        return next((model.broken for model in self._models.values() if model.broken), "")

    def revive(self) -> None:
        """Start engines again that have ended, or hang, as far as that is possible. From any thread."""
        for model in self._models.values():
            with contextlib.suppress(UserError):
                model.revive()

    @property
    def settings_digest(self) -> str:
        """Digest of all that answers depend on, but for the model files."""
        router = dataclasses.asdict(self._router) if self._router else None
        made = {name: str(getattr(self._settings, name)) for name in ("engine", "context", "answer_seconds")}
        return text_hash([made, self.prompts.hash, router])

    def why_not(self, question: Question) -> str:
        """Why no model answers this; empty if one does."""
        try:
            asking.shared_out(self._names, self._router, [(question.task, question.inputs)])
        except UserError as error:
            return str(error)
        return ""

    def open(self) -> None:
        """Check the files against their digests, and start a process for each. Raises `UserError`."""
        facts = []
        for path, model in self._models.items():
            files = {one.name: _checked(one) for one in (path, self._settings.adapter) if one}
            digests = [*files.values()]
            self.files[model.name] = files
            self.digests[model.name] = text_hash(digests) if len(digests) > 1 else digests[0]
            for task, choice in (self._router.choices if self._router else {}).items():
                if self._names.get(choice.model) == path:
                    asking.demand_same(path, functools.partial(self.digests.__getitem__, model.name), choice, task)
            model.start()
            facts.append(self._described(path, model))
        self._facts = facts

    def facts(self) -> list[dict[str, Any]]:
        """What there is to know of each model; empty until they are open."""
        return self._facts

    def readings(self, questions: Sequence[Question], stop: Callable[[], bool]) -> Iterator[tuple[int, Reading]]:
        """The answers to questions about one report, as they are ready, each with the number of its question."""
        shares = asking.shared_out(self._names, self._router, [(one.task, one.inputs) for one in questions])
        for path, share in shares.items():
            _demand_whole(self._models[path])
            reader = asking.reader(
                self._models[path], self._settings.answer_seconds, self.prompts, calibration=share.calibration
            )
            batch = [questions[number] for number in share.numbers]
            for at, reading in engines.answers(reader, batch, stop):
                yield share.numbers[at], reading

    def chat(self, turns: Sequence[Turn], tokens: int, stop: Callable[[], bool]) -> Iterator[Completion | None]:
        """What the first model says in free chat, in at most so many tokens; None if its window is too small."""
        model = next(iter(self._models.values()))
        _demand_whole(model)
        prompt = model.renderer.prompt(turns)
        room = model.context_tokens - len(prompt.ids)
        if room < 1:
            yield None
            return
        request = Request(prompt, min(tokens, room), kind="chat", seconds=self._settings.answer_seconds)
        for _, completion in model.complete([request], stop):
            yield completion

    def close(self) -> None:
        """End the processes."""
        for model in self._models.values():
            model.close()

    def _described(self, path: Path, model: ChildModel) -> dict[str, Any]:
        made, over = model.manifest or {}, self._settings.adapter
        kind = made.get("quantization")
        return {
            "name": model.name,
            "base": tuned_base(made),
            "kind": kind if isinstance(kind, str) else None,
            "bytes": sum(one.stat().st_size for one in (path, over) if one),
            "sha256": self.digests[model.name],
            "context_tokens": model.context_tokens,
            "engine": engine.kind(self._settings.engine),
            "card": _scores(over or path),
        }


def _demand_whole(model: ChildModel) -> None:
    """Raise `UserError` if the engine cannot be started, which `revive` tries again: each request would wait for it."""
    if model.broken:
        raise UserError(f"The engine of {model.name} cannot be started; the server's log says why.")


def _checked(path: Path) -> str:
    """The digest of a file. Raises `UserError` if there is another one in SHA256SUMS beside it."""
    digest, sums = sha256(path), path.with_name(SUMS)
    if sums.is_file():
        for line in read_text(sums, "list of digests").splitlines():
            wanted, _, name = line.partition(" ")
            if name.strip().removeprefix("*").removeprefix("./") == path.name and wanted.lower() != digest:
                raise UserError(f"{path} is not the file whose digest is in {sums}; copy it again.")
    return digest


_SCORE = re.compile(r"(\S+), n=(\d+), 95 % interval (-?[\d.]+) to (-?[\d.]+)")


def card(model: Path) -> tuple[Path, Mapping[str, Any]] | None:
    """The card beside a model, STEM.md or README.md, if it is of this model, and what its index says of it."""
    for place in (model.with_suffix(".md"), model.with_name("README.md")):
        index = front_matter(place).get("model-index") if place.is_file() else None
        for entry in index if isinstance(index, list) else []:
            if isinstance(entry, dict) and entry.get("name") == model.stem:
                return place, entry
    return None


def _scores(model: Path) -> list[dict[str, Any]] | None:
    """The scores in the card beside a model, if it is of this model."""
    found = card(model)
    return None if found is None else [row for one in found[1].get("results", []) if (row := _row(one))]


def _row(result: Any) -> dict[str, Any] | None:
    try:
        metric = result["metrics"][0]
        task, value, name = str(result["task"]["name"]), float(metric["value"]), str(metric["name"])
        found = _SCORE.fullmatch(name)
        row: dict[str, Any] = {"task": task, "metric": found[1] if found else name, "value": value}
        spread = (float(found[3]), float(found[4]), int(found[2])) if found else (None, None, None)
        return row | dict(zip(("low", "high", "n"), spread, strict=True))
    except (KeyError, IndexError, TypeError, ValueError):
        return None
