"""Batch jobs: whole tables, each read by a `radlite batch` in a process of its own, which a restart does not lose."""

import contextlib
import functools
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Final, Literal

import filelock

from radlite.errors import UserError, shown
from radlite.files import read_json, sha256, write_json
from radlite.manifest import file_identity
from radlite.routing.router import Router
from radlite.server import chain, ledger
from radlite.server.ledger import Ledger
from radlite.server.log import Log, described, now
from radlite.server.settings import Settings
from radlite.server.wire import Refused
from radlite.serving import asking, batch, tables
from radlite.serving.engines import Engine
from radlite.tasks import Reading
from radlite.tasks.prompting import chosen

Status = Literal["waiting", "running", "done", "failed", "cancelled"]
FACTS: Final = "job.json"
ENDED: Final = ("done", "failed", "cancelled")

_LOCK_SECONDS: Final = 60
"""In which the process of a server that was killed has noticed it, and is gone."""
_COPY: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Facts:
    """What is kept of a job, in `job.json`. `name` is that of the uploaded file; no text of a report is among them."""

    id: str
    name: str
    owner: str
    """Name of the key that it was begun with; others do not see it."""
    tasks: tuple[str, ...]
    texts: dict[str, str]
    carried: tuple[str, ...]
    wide: bool
    table: str
    """File name of the table."""
    result: str
    """File name of the result."""
    status: Status = "waiting"
    rows: int = 0
    total: int | None = None
    statuses: dict[str, int] = field(default_factory=dict)
    created: str = ""
    begun: str | None = None
    ended: str | None = None
    message: str = ""

    def told(self) -> dict[str, Any]:
        """What callers are told of it."""
        names = ("id", "name", "status", "rows", "total", "statuses", "created", "begun", "ended", "message")
        return {name: getattr(self, name) for name in names}


class Jobs:
    """The jobs in a folder, done one at a time in the order in which they came. Safe to use from several threads."""

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        log: Log,
        noted: Callable[..., object],
        ledger: Callable[[str, str, Path], Ledger],
        key: bytes,
        files: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        """`noted` is told of the beginning and end of each job; `ledger` makes what notes the answers of one, of its
        id, owner and journal; `key` is that of the audit log; `files` gives the digests of the model's files by their
        names, of which alone a job may be read."""
        self._folder, self._settings, self._log, self._noted = folder, settings, log, noted
        self._ledger, self._key, self._files = ledger, key, files
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._process: subprocess.Popen[str] | None = None
        self._running = ""
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)
        folder.mkdir(exist_ok=True)
        self._jobs: dict[str, Facts] = {}
        for found in sorted(map(_read, _folders(folder)), key=lambda one: one.created if one else ""):
            if found:
                self._jobs[found.id] = replace(found, status="waiting") if found.status == "running" else found

    def start(self) -> None:
        """Begin, or go on, with what waits."""
        self._thread.start()

    def add(
        self,
        table: IO[bytes],
        name: str,
        owner: str,
        tasks: Sequence[str],
        texts: dict[str, str],
        carried: Sequence[str],
        wide: bool,
        format: str,
    ) -> Facts:
        """Keep a table and queue it. Raises `Refused` if it is none by its name, or there is no room, or several models
        are in use: a job is read by one."""
        if len(self._settings.model) > 1:
            raise Refused(422, "models", "Several models are in use, and a table is read by one; use radlite batch.")
        kind = _kind(name)
        with self._lock:
            self._demand_room()
        id = secrets.token_hex(16)
        facts = Facts(
            id, _printable(name), owner, tuple(tasks), texts, tuple(carried), wide, f"table{kind}", f"result.{format}",
            created=now(),
        )  # fmt: skip
        folder = self._folder / id
        folder.mkdir(mode=0o700)
        try:
            with (folder / facts.table).open("xb") as file:
                shutil.copyfileobj(table, file, _COPY)
            self._save(facts)
            self._noted(job=id, user=owner, status="waiting")
        except (OSError, UserError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise full() from error
        with self._changed:
            self._jobs[id] = facts
            self._changed.notify()
        return facts

    def all(self, owner: str) -> list[Facts]:
        """The jobs of a caller, the newest first."""
        with self._lock:
            return [one for one in reversed(self._jobs.values()) if one.owner == owner]

    def one(self, id: str, owner: str) -> Facts:
        """A job of a caller. Raises `Refused` if there is none."""
        with self._lock:
            found = self._jobs.get(id)
        if not found or found.owner != owner:
            raise Refused(404, "not_found", "You have no such job; GET /v1/batch lists yours.")
        return found

    def result(self, id: str, owner: str) -> tuple[Path, Facts]:
        """The file with the answers. Raises `Refused` if it is not there yet."""
        facts = self.one(id, owner)
        path = self._folder / facts.id / facts.result
        if facts.status != "done" or not path.is_file():
            raise Refused(404, "not_ready", f"The job is {facts.status}; its result is there once it is done.")
        return path, facts

    def remove(self, id: str, owner: str) -> Facts:
        """End a job if it has not ended, and remove it and all that is of it."""
        facts = self.one(id, owner)
        with self._changed:
            if self._running != id:
                self._of(facts).note()  # what it had answered before the server was ended
            self._jobs.pop(id, None)
            if self._running == id and self._process:
                self._process.terminate()
            # The folder of one that runs is removed when its process has ended.
            if self._running != id:
                shutil.rmtree(self._folder / id, ignore_errors=True)
        self._noted(job=id, user=owner, status="cancelled")
        return replace(facts, status="cancelled") if facts.status not in ENDED else facts

    def counts(self, status: str) -> int:
        """How many jobs have a status."""
        with self._lock:
            return sum(one.status == status for one in self._jobs.values())

    def stop(self) -> None:
        """End the process at work; its job goes on after the next start."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
            if self._process:
                self._process.terminate()
        if self._thread.ident is not None:
            self._thread.join(30)

    def _demand_room(self) -> None:
        if self._stopping:
            raise Refused(503, "stopping", "The server is being stopped; ask again in a minute.", 60)
        if len(self._jobs) >= self._settings.jobs:
            raise Refused(429, "jobs", "Too many jobs are kept; remove some, or raise jobs.", 60)
        size = sum(path.stat().st_size for path in self._folder.glob("*/*") if path.is_file())
        if size >= self._settings.jobs_bytes:
            raise Refused(429, "jobs", "The kept jobs take too much room; remove some, or raise jobs_bytes.", 60)

    def _of(self, facts: Facts) -> Ledger:
        return self._ledger(facts.id, facts.owner, self._folder / facts.id / f"{facts.result}.journal")

    def _drop_texts(self, facts: Facts) -> None:
        """The reports themselves are needed no longer."""
        for name in (facts.table, f"{facts.result}.journal"):
            with contextlib.suppress(OSError):
                (self._folder / facts.id / name).unlink(missing_ok=True)

    def _save(self, facts: Facts) -> None:
        write_json(self._folder / facts.id / FACTS, asdict(facts))

    def _put(self, id: str, **changes: Any) -> None:
        """Note a change, unless the job was removed meanwhile."""
        with self._lock:
            if id not in self._jobs:
                return
            self._jobs[id] = replace(self._jobs[id], **changes)
            try:
                self._save(self._jobs[id])
            except UserError as error:  # what is in memory is right; the disk may have room again later
                self._log.defect(error, job=id)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._stopping and not self._next():
                    self._expire()
                    self._changed.wait(60)
                if self._stopping:
                    return
                facts = self._next()
                assert facts
                self._running = facts.id
            try:
                self._do(facts)
            except UserError as error:  # the audit log cannot be written
                self._log.defect(error, job=facts.id)
                self._drop_texts(facts)
                why = "Its answers cannot be noted in the audit log, and are not given without; see the server's log."
                self._put(facts.id, status="failed", ended=now(), message=why)
            except Exception as error:
                self._log.defect(error, job=facts.id)
                self._put(facts.id, status="failed", ended=now(), message="This is a defect; the log describes it.")
            finally:
                with self._lock:
                    self._running, self._process = "", None
                    if facts.id not in self._jobs:
                        shutil.rmtree(self._folder / facts.id, ignore_errors=True)

    def _next(self) -> Facts | None:
        return next((one for one in self._jobs.values() if one.status == "waiting"), None)

    def _expire(self) -> None:
        """Remove what has ended long ago."""
        oldest = time.time() - self._settings.keep_jobs_hours * 3600
        for facts in list(self._jobs.values()):
            folder = self._folder / facts.id
            with contextlib.suppress(OSError):
                if facts.status in ENDED and (folder / FACTS).stat().st_mtime < oldest:
                    del self._jobs[facts.id]
                    shutil.rmtree(folder, ignore_errors=True)
                    self._log.write("job", job=facts.id, status="removed")

    def _do(self, facts: Facts) -> None:
        """Have a process read the table, and note how far it is."""
        self._put(facts.id, status="running", begun=facts.begun or now(), message="")
        self._noted(
            job=facts.id, user=facts.owner, status="running", tasks=facts.tasks,
            table=sha256(self._folder / facts.id / facts.table),
        )  # fmt: skip
        self._log.write("job", job=facts.id, status="running")
        folder = self._folder / facts.id
        command = [sys.executable, "-P", "-m", "radlite.server.jobs", str(folder)]
        wrong = ""
        with self._lock:
            if self._stopping or facts.id not in self._jobs:
                return
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8"
            )  # fmt: skip
        process, answers = self._process, self._of(facts)
        assert process.stdin and process.stdout
        with process:
            try:
                told = _told(self._settings, self._files()) | {"key": self._key.hex()}
                process.stdin.write(json.dumps(told) + "\n")
                process.stdin.flush()  # and it stays open: where it closes, this server has gone
                for line in process.stdout:
                    with contextlib.suppress(ValueError):  # what a library prints is nothing to us
                        told = json.loads(line)
                        wrong = told.pop("wrong", wrong)
                        if defect := told.pop("defect", None):
                            self._log.write("error", job=facts.id, **defect)
                        self._put(facts.id, **told)
                    answers.note()
            except OSError:
                pass
            finally:
                with contextlib.suppress(OSError):
                    process.stdin.close()
            code = process.wait()
        answers.note()  # all of them, before any is given
        if self._stopping or facts.id not in self._jobs:
            return
        status: Status = "done" if code == 0 else "failed"
        message = wrong.replace(f"{folder}{os.sep}", "") if wrong else "" if code == 0 else "Its process has ended."
        self._drop_texts(facts)
        self._put(facts.id, status=status, ended=now(), message=message)
        self._log.write("job", job=facts.id, status=status)
        digest = sha256(folder / facts.result) if status == "done" else ""
        statuses = self._jobs[facts.id].statuses if facts.id in self._jobs else {}
        self._noted(job=facts.id, user=facts.owner, status=status, result=digest, statuses=statuses)


def full() -> Refused:
    """There is no room for a table."""
    return Refused(503, "full", "The table cannot be kept: the disk is full or cannot be written.", 60)


def _told(settings: Settings, files: Mapping[str, str]) -> dict[str, Any]:
    """What the process of a job is told of the settings."""
    names = (
        "model", "adapter", "router", "any_model", "engine", "context", "prompt_style", "prompts", "answer_seconds"
    )  # fmt: skip
    told = settings.model_dump(mode="json", include={*names})
    return told | {
        "threads": settings.job_threads or settings.threads,
        "files": dict(files),
        "rows": settings.upload_rows,
        "characters": settings.report_characters,
        "nice": settings.job_nice,
    }


def _folders(folder: Path) -> list[Path]:
    return [one for one in folder.iterdir() if re.fullmatch(r"[0-9a-f]{32}", one.name)]


def _read(folder: Path) -> Facts | None:
    """The job in a folder; None, and it is removed, if it was not whole yet."""
    try:
        found = read_json(folder / FACTS, "job")
        lists = {name: tuple(found[name]) for name in ("tasks", "carried")}
        return Facts(**{**found, **lists})
    except (UserError, TypeError, KeyError):
        shutil.rmtree(folder, ignore_errors=True)
        return None


def _kind(name: str) -> str:
    """The ending of a table's name. Raises `Refused` if it is none."""
    packed = ".gz" if name.lower().endswith(".gz") else ""
    ending = Path(name.lower().removesuffix(".gz")).suffix
    if ending not in tables.FORMATS or (packed and ending in (".parquet", ".xlsx")):
        raise Refused(415, "format", f"The file's name has to end in {', '.join(tables.FORMATS)}.")
    return ending + packed


def _printable(name: str) -> str:
    """The last part of a file's name, for people to see."""
    return shown(re.split(r"[\\/]", name)[-1])[:120]


def main(folder: Path) -> int:
    """The process of a job: read the table in `folder` as standard input tells, and tell on standard output how far it
    is. It ends with the server that started it."""
    told = json.loads(sys.stdin.readline())
    if hasattr(os, "nice"):
        os.nice(told["nice"])
    with contextlib.suppress(OSError):  # on Linux: where memory is short, this goes and not the server
        Path("/proc/self/oom_score_adj").write_text("500")
    threading.Thread(target=_end_with_server, daemon=True).start()
    try:
        with filelock.FileLock(folder / ".process", timeout=_LOCK_SECONDS):
            _run(folder, told)
    except (UserError, filelock.Timeout) as error:
        wrong = str(error) if isinstance(error, UserError) else "Another process is at work on it; restart the server."
        print(json.dumps({"wrong": wrong}), flush=True)
        return 2
    except Exception as error:
        print(json.dumps({"wrong": "This is a defect; the log describes it.", "defect": described(error)}), flush=True)
        return 1
    return 0


def _end_with_server() -> None:
    while os.read(0, 1 << 10):  # not sys.stdin, whose lock a thread that is blocked would hold at the end
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _run(folder: Path, told: dict[str, Any]) -> None:
    facts = _read(folder)
    if not facts:
        raise UserError("The job is damaged; give its table again.")
    model = Path(told["model"][0]) if told["model"] else asking.demonstration()
    prompts = chosen(told["prompt_style"], Path(told["prompts"]) if told["prompts"] else None)
    adapter = Path(told["adapter"]) if told["adapter"] else None
    for one in filter(None, (model, adapter)):
        if not one.is_file() or sha256(one) != told["files"].get(one.name):
            raise UserError("The model's file was replaced since the server was started; restart the server.")
    choices = Router.load(Path(told["router"])).choices if told["router"] else {}
    for task, choice in choices.items():
        asking.demand_same(model, functools.partial(file_identity, model, adapter), choice, task)
    calibration = {task: choice.calibration for task, choice in choices.items() if "/" not in task}
    engine = Engine(
        model, told["context"], told["threads"], told["engine"], told["answer_seconds"], prompts, adapter,
        calibration=calibration,
    )  # fmt: skip
    job = batch.Job(
        folder / facts.table, folder / facts.result, facts.tasks, facts.texts, facts.carried, facts.wide,
        told["characters"],
    )  # fmt: skip

    def mark(question: batch.Question, reading: Reading) -> dict[str, Any]:
        return ledger.mark(question, reading, functools.partial(chain.digest, bytes.fromhex(told["key"])))

    def tell(rows: int, total: int, statuses: Mapping[str, int]) -> None:
        print(json.dumps({"rows": rows, "total": total, "statuses": dict(statuses)}), flush=True)

    if not job.out.exists():
        batch.run(job, engine, any_model=told["any_model"], tell=tell, mark=mark, most=told["rows"])


def _end(number: int, _frame: Any) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)  # nothing half written, and no process left behind
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server
    raise SystemExit(main(Path(sys.argv[1])))
