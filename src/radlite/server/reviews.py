"""What reviewers said of answers: kept in one file on this machine, given out as a table to learn from."""

import contextlib
import csv
import datetime
import hashlib
import io
import json
import os
import re
import threading
import uuid
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Any, Final, Literal, Self, get_args

from radlite.errors import UserError
from radlite.files import MAX_TEXT_BYTES, told
from radlite.serving import tables
from radlite.tasks import known, named

Action = Literal["accept", "correct", "reject"]
Keep = Literal["text", "answers", "off"]
"""What is kept of a review: all; all but report and note; nothing."""

FORMATS: Final = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl", "zip": "application/zip"}
"""Formats of `Reviews.export`, with their media types."""
MAX_NOTE: Final = 4000
"""Characters of a note."""
_FACTS: Final = ("id", "group", "time", "user", "answer_id", "task", "action", "note")
_INPUTS: Final = ("report", "premise", "hypothesis", "question")
_PIECE: Final = 1 << 16


class Reviews:
    """The reviews in a file, one a line, which is only ever added to. Safe to use from several threads.

    A last line that a crash has cut short is dropped. Raises `UserError` if the file cannot be used.
    """

    def __init__(self, path: Path, keep: Keep = "text") -> None:
        self.keep: Keep = keep
        self._path = path
        self._lock = threading.Lock()
        self._actions: Counter[str] = Counter()
        self._size = 0
        with told(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
            self._file = FileIO(path, "a+", opener=lambda name, _: os.open(name, flags, 0o600))
        with contextlib.ExitStack() as held:
            held.callback(self._file.close)
            for review, at in self._read():
                self._actions[review["action"]] += 1
                self._size = at[1]
            with told(path):
                self._file.truncate(self._size)
            held.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(
        self,
        answer_id: str,
        task: str,
        action: Action,
        answer: str = "",
        corrected: str | None = None,
        note: str = "",
        inputs: Mapping[str, str] | None = None,
        user: str = "",
    ) -> str:
        """Keep a review and return its id, 32 hex digits.

        `answer` is what was shown, `corrected` what it should have been, both as `Task.render` writes them; `inputs`
        are those of the task; a `report` may stand for the premise. Raises `UserError` for an unknown task or action,
        an answer that the task cannot read, a text that is too long, or if the file cannot be written.
        """
        if action not in get_args(Action):
            raise UserError(f"action is none of {', '.join(get_args(Action))}; give one of them.")
        if task not in known():
            raise UserError(f"There is no task of that name; choose from {', '.join(known())}.")
        if not re.fullmatch(r"[0-9a-f]{32}", answer_id):
            raise UserError("answer_id is no id of an answer; give the id that came with it.")
        if len(note) > MAX_NOTE:
            raise UserError(f"The note has more than {MAX_NOTE:,} characters; shorten it.")
        given = {"premise": (inputs or {}).get("report", ""), **(inputs or {})}
        texts = {name: _clean(given[name]) for name in named(task).inputs if given.get(name)}
        if sum(map(len, texts.values())) > MAX_TEXT_BYTES // 2:
            raise UserError("The texts are too long for a review; leave inputs out.")
        review = {
            "id": uuid.uuid4().hex,
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
            "user": user,
            "answer_id": answer_id,
            "task": task,
            "action": action,
            "answer": _plain("answer", task, answer, needed=action == "accept"),
            "corrected": _plain("corrected", task, corrected or "", needed=action == "correct"),
            "note": _clean(note) if self.keep == "text" else "",
            "inputs": texts if self.keep == "text" else {},
        }
        if self.keep != "off":
            self._write(review)
        return str(review["id"])

    def counts(self) -> dict[str, Any]:
        """How many reviews are kept, by action, and what is kept of them."""
        with self._lock:
            actions = {action: self._actions[action] for action in get_args(Action)}
        return {"count": sum(actions.values()), "actions": actions, "keep": self.keep}

    def export(self, format: str, user: str | None = None) -> Iterator[bytes]:
        """The answers that `user`, or anybody, accepted or corrected, as a table, in pieces: `jsonl`; `csv`, whose
        cells are guarded for a spreadsheet (`tables.guarded`); or `zip`, with its `table.toml`, ready for
        `radlite data build`.

        The last review of a task on a text counts. Each task's answers have a column of its name; rows of one report
        share a `group`. Raises `UserError` for another format, or if the file is damaged.
        """
        if format not in FORMATS:
            raise UserError(f"There is no format of that name; choose from {', '.join(FORMATS)}.")
        places, tasks = self._chosen(user)
        rows = self._rows(places)
        if format == "csv":
            return _csv(rows, tasks)
        if format == "jsonl":
            return _jsonl(rows, tasks)
        return iter([_zip(rows, tasks)])

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()

    def _write(self, review: Mapping[str, Any]) -> None:
        line = json.dumps(review).encode() + b"\n"
        with self._lock:
            try:
                rest = line
                while rest:
                    rest = rest[self._file.write(rest) :]
                os.fsync(self._file.fileno())
            except OSError as error:
                with contextlib.suppress(OSError):
                    self._file.truncate(self._size)
                raise UserError(
                    f"Cannot write {self._path}: {error.strerror}. Free some space; the review is not kept."
                ) from error
            self._size += len(line)
            self._actions[str(review["action"])] += 1

    def _read(self, upto: int | None = None) -> Iterator[tuple[dict[str, Any], tuple[int, int]]]:
        """The reviews up to so many bytes, each with where it begins and ends."""
        begin = 0
        with self._path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                end = begin + len(line)
                if not line.endswith(b"\n") or (upto is not None and end > upto):
                    return
                yield _parsed(line, self._path, number), (begin, end)
                begin = end

    def _chosen(self, user: str | None) -> tuple[list[int], list[str]]:
        """Where the reviews begin that count and give an answer to learn from, and the tasks they are of."""
        with self._lock:
            size = self._size
        last: dict[str, tuple[int, str, bool]] = {}
        for review, (begin, _) in self._read(size):
            if user not in (None, review.get("user", "")):
                continue
            key = _hash(json.dumps([review["task"], review["inputs"] or review["answer_id"]], sort_keys=True))
            last.pop(key, None)
            last[key] = (begin, review["task"], review["action"] != "reject" and review["task"] in known())
        kept = [(begin, task) for begin, task, useful in last.values() if useful]
        return [begin for begin, _ in kept], [task for task in known() if task in {one for _, one in kept}]

    def _rows(self, places: list[int]) -> Iterator[dict[str, str]]:
        with self._path.open("rb") as file:
            for place in places:
                file.seek(place)
                review = json.loads(file.readline())
                first = review["inputs"].get(named(review["task"]).inputs[0], "").strip()
                yield {
                    **{name: str(review.get(name, "")) for name in _FACTS},
                    "group": _hash(first) if first else "",
                    **{name: review["inputs"].get(name, "") for name in _INPUTS},
                    review["task"]: review["corrected"] or review["answer"],
                }


def _parsed(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        review = json.loads(line)
        texts = (*review["inputs"].values(), *(review[name] for name in ("task", "action", "answer", "corrected")))
        sound = review["action"] in get_args(Action) and all(isinstance(text, str) for text in texts)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise UserError(f"Line {number} of {path} is damaged; take it out, or move the file away.")
    return dict(review)


def _plain(name: str, task: str, text: str, needed: bool) -> str:
    """The answer as the task writes it; empty if there is none."""
    if not text.strip():
        if needed:
            raise UserError(f"{name} is empty; give the answer in the form of {task}.")
        return ""
    answer = named(task).read(_clean(text))
    if answer is None:
        raise UserError(f"{name} is not in the form of {task}; radlite tasks {task} shows it.")
    return named(task).render(answer)


def _clean(text: str) -> str:
    """The text with a mark in place of what no table can hold."""
    return re.sub(r"[\0\ud800-\udfff]", "\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _csv(rows: Iterator[dict[str, str]], tasks: list[str]) -> Iterator[bytes]:
    page = io.StringIO()
    writer = csv.DictWriter(page, _columns(tasks), restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: tables.guarded(value) for name, value in row.items()})
        if page.tell() > _PIECE:
            yield page.getvalue().encode()
            page.seek(0)
            page.truncate()
    yield page.getvalue().encode()


def _jsonl(rows: Iterator[dict[str, str]], tasks: list[str]) -> Iterator[bytes]:
    empty = dict.fromkeys(_columns(tasks), "")
    for row in rows:
        yield json.dumps({**empty, **row}, ensure_ascii=False).encode() + b"\n"


def _zip(rows: Iterator[dict[str, str]], tasks: list[str]) -> bytes:
    """The table and its mapping, in one archive."""
    page = io.BytesIO()
    with zipfile.ZipFile(page, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("reviews.jsonl", "w") as file:
            for line in _jsonl(rows, tasks):
                file.write(line)
        archive.writestr("table.toml", mapping(tasks, "reviews.jsonl"))
    return page.getvalue()


def _columns(tasks: list[str]) -> list[str]:
    return [*_FACTS, *_INPUTS, *tasks]


def mapping(tasks: list[str], file: str) -> str:
    """The `table.toml` of an exported table: what its columns hold, for each of the tasks."""
    blocks = ['# docs/own-data.md tells the keys.\npatients = "reviews"\nlicence = "own data"\n']
    for task in tasks:
        keys = {"file": file, "task": task, **{name: name for name in named(task).inputs}, "answer": task}
        keys |= {"id": "id", "patient": "group", "study": "group"}
        blocks.append("[[rows]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items()))
    return "\n".join(blocks)
