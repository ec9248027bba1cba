"""The answers of a batch job on their way into the audit log, each once, however often server or job are ended."""

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from radlite.manifest import text_hash
from radlite.server.audit import Audit, noted
from radlite.serving.batch import Question
from radlite.tasks import Reading

FACTS = "audit"
"""What the audit log is to hold of an entry of a job's journal."""


def mark(question: Question, reading: Reading, digest: Callable[[str], str]) -> dict[str, Any]:
    """What the process of a job adds to its journal, for `Ledger` to take over: digests, as the texts end with it."""
    return {FACTS: noted(reading, question.inputs, digest)}


class Ledger:
    """Takes the answers of one job from its journal into the log.

    The log itself knows which it has. Not safe to use from several threads.
    """

    def __init__(self, audit: Audit, job: str, user: str, journal: Path, settings: str) -> None:
        self._audit, self._job, self._user, self._journal, self._settings = audit, job, user, journal, settings
        self._place = 0
        self._sha256 = ""
        self._there = defaultdict[str, set[int]](set)
        for one in audit.entries(job) if journal.exists() else ():
            self._there[one["facts"]["task"]].add(one["facts"]["row"])

    def note(self) -> None:
        """Note what has come since the last time. Raises `UserError` if it cannot be noted."""
        if not self._journal.exists():
            return
        with self._journal.open("rb") as file:
            file.seek(self._place)
            while (line := file.readline()).endswith(b"\n"):  # one that is being written is for the next time
                try:
                    entry = json.loads(line)
                except ValueError:  # the job says where it is damaged, and fails
                    return
                self._take(entry)
                self._place += len(line)

    def _take(self, entry: dict[str, Any]) -> None:
        if not self._place:  # the head of the journal
            digests = [entry[name] for name in ("model", "adapter") if name in entry]
            self._sha256 = text_hash(digests) if len(digests) > 1 else digests[0]
            return
        if entry["row"] in self._there[entry["task"]]:
            return
        facts = entry.get(FACTS) or {"task": entry["task"], "inputs": {}, "answer": "", "status": entry["status"]}
        model, sha256 = entry.get("model", ""), self._sha256 if "model" in entry else ""
        self._audit.answer(facts, self._job, self._user, model, sha256, self._settings, row=entry["row"])
