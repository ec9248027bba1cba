"""Whether an audit log is whole: what is read of it, from its first line to its last."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from radlite.errors import UserError
from radlite.server import chain
from radlite.server.chain import BEGIN, HEAD, KEY, Head

_LISTED: Final = 20
"""Faults that are listed of a log."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `verify` found."""

    entries: int
    files: int
    head: str
    """Hash of the last entry."""
    begun: str
    """Time of the first entry, in UTC."""
    ended: str
    kinds: Mapping[str, int]
    """Kind to number of entries."""
    faults: tuple[str, ...]
    """Edits, gaps and truncations; the first of them, if there are many."""
    notes: tuple[str, ...]
    """What a crash or a loss of power has left."""

    @property
    def sound(self) -> bool:
        """Whether the log is whole."""
        return not self.faults


def verify(
    folder: Path, heads: Sequence[str] = (), after: str = BEGIN, last: str = "", key: Path | None = None
) -> Verdict:
    """Go through the whole log of a folder, also while it is written to.

    `heads` are hashes that were noted elsewhere: each has to be that of an entry. Of an archive, `after` is the hash
    that the first entry follows, where earlier files were taken away, and `last` that of the last one, in place of
    `HEAD`. `key` is the file of the key that sealed `HEAD`, that beside the folder if not given. Raises `UserError` if
    there is no log or it cannot be read.
    """
    place = key or folder.with_name(KEY)
    sealed = chain.read_key(place) if key or place.exists() else None
    try:
        head = chain.head(folder, sealed)  # before the files, which may grow meanwhile
        forged = chain.head(folder, None) if sealed and not head else None
        files = chain.files(folder)
        if not files:
            raise UserError(f"{folder} has no audit log; give the folder audit of the server's state.")
        walk = _Walk(after, {*heads}, head or forged, last)
        for path in files:
            walk.file(path, last=path == files[-1])
    except OSError as error:
        raise UserError(f"Cannot read the audit log {folder}: {error.strerror}.") from error
    if forged and not last:
        walk.faults.append(f"{HEAD} is not sealed with the key {place.name}: somebody else wrote where the log ends")
    elif not sealed and not last:
        walk.notes.append(f"there is no key {place.name} beside the log, so that the seal of {HEAD} was not checked")
    walk.end()
    return Verdict(
        walk.entries, len(files), walk.hash, walk.begun, walk.ended, dict(walk.kinds), tuple(walk.faults[:_LISTED]),
        tuple(walk.notes),
    )  # fmt: skip


def find(folder: Path, text: str) -> Iterator[dict[str, Any]]:
    """The entries of answers to `text`, found by its digest. Raises `UserError` if there is no log or no key."""
    digest = chain.digest(chain.key(folder), text)
    for entry in chain.entries(folder, digest):
        if digest in entry["facts"].get("inputs", {}).values():
            yield entry


def listed(folder: Path, id: str = "") -> Iterator[dict[str, Any]]:
    """The entries with an id in them, also as a FHIR resource has it, or all. Raises `UserError` if there is no log."""
    if not chain.files(folder):
        raise UserError(f"{folder} has no audit log; give the folder audit of the server's state.")
    yield from chain.entries(folder, id.removeprefix("urn:uuid:").replace("-", ""))


@dataclass
class _Walk:
    """What is known of a log up to some entry."""

    hash: str
    """Of the last entry; empty where that cannot be told."""
    heads: set[str]
    """Hashes that are to come."""
    head: Head | None
    """What `HEAD` says."""
    last: str = ""
    """Hash of the last entry that there has to be; empty: as `HEAD` says."""
    number: int = 0
    """Of the last entry; 0 if it is not known."""
    entries: int = 0
    begun: str = ""
    ended: str = ""
    kinds: Counter[str] = field(default_factory=Counter)
    there: str = ""
    """Hash of the entry with the number that `HEAD` says."""
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    before: str = ""
    """Name of the file before."""
    turned: str = ""
    """Where the clock first went back."""

    def file(self, path: Path, last: bool) -> None:
        """Go through a file; `last`: it is the one that is written to."""
        if self.before and self.before != (due := chain.name_before(path.name)):
            self.faults.append(f"{due} is missing")
        line = 0
        with path.open("rb") as file:
            while text := file.readline(chain.LONGEST):
                line += 1
                if last and not text.endswith(b"\n") and len(text) < chain.LONGEST:
                    self.notes.append(
                        f"{path.name}: the last line is cut short, by a crash or while it is written; the next start "
                        "drops it"
                    )
                    break
                self._line(f"{path.name} line {line}", text, path.name if line == 1 else "")
        if not line:
            (self.notes if last else self.faults).append(f"{path.name} is empty")
        self.before = path.name

    def _line(self, where: str, text: bytes, begins: str) -> None:
        found = chain.entry(text)
        self.entries += 1
        if not found:
            self.faults.append(f"{where} is edited or damaged")
            self.number, self.hash = self.number + 1 if self.number else 0, ""
            return
        entry, own = found
        if self.hash and entry["before"] != self.hash:
            self.faults.append(f"{where} does not follow what is before it: entries were removed, added or moved")
        elif self.number and entry["number"] != self.number + 1:
            self.faults.append(f"{where} is entry {entry['number']}, where {self.number + 1} is due")
        elif not self.number and self.hash == BEGIN and entry["number"] != 1:
            self.faults.append(f"{where} is entry {entry['number']}, where 1 is due")
        facts = entry["facts"]
        first = (entry["kind"], facts.get("name"), facts.get("after"))
        if begins and first != ("file", begins, chain.name_before(begins)):
            self.faults.append(f"{where} does not say that it begins {begins}")
        if entry["kind"] == "key":
            self.notes.append(f"{where}: a new key was made, as there was none; digests before are of another one")
        if entry["time"] < self.ended and not self.turned:
            self.turned = f"{where}: the clock was put back, from {self.ended} to {entry['time']}"
            self.notes.append(self.turned)
        if entry["kind"] == "torn":
            self.notes.append(f"{where}: {facts.get('bytes')} bytes that a crash had cut short were dropped")
        if entry["kind"] == "lost":
            self.notes.append(
                f"{where}: entries {facts.get('from')} to {facts.get('to')} were lost, as in a loss of power"
            )
        self.number, self.hash = entry["number"], own
        if self.head and self.number == self.head.entries:
            self.there = own
        self.heads.discard(own)
        self.begun, self.ended = self.begun or entry["time"], entry["time"]
        self.kinds[entry["kind"]] += 1

    def end(self) -> None:
        """Hold the end against `HEAD` and against what was noted elsewhere."""
        head = self.head
        if self.last:
            if self.hash != self.last:
                self.faults.append(f"the log ends with the hash {self.hash or 'unknown'}, where {self.last} is due")
        elif head is None:
            self.faults.append(f"{HEAD} is missing or damaged: nothing shows where the log ends")
        elif self.number < head.entries:
            self.faults.append(
                f"the log ends with entry {self.number}, {HEAD} with {head.entries}: entries were removed, or lost "
                "with the power"
            )
        elif self.there != head.hash:
            self.faults.append(f"entry {head.entries} is another one than {HEAD} says")
        elif self.number > head.entries:
            self.notes.append(
                f"{HEAD} is behind the log by {self.number - head.entries}, by a crash or while it is written"
            )
        self.faults += [f"no entry has the hash {one}, which was noted elsewhere" for one in sorted(self.heads)]
