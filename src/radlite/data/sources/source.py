"""What a source is: under which terms, how its users get it, and how its files become examples."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from radlite.errors import UserError, shown
from radlite.files import sha256
from radlite.tasks import Example

Tier = Literal["gold", "silver", "synthetic", "proxy"]
"""`proxy`: the answer stands for something else, as a mention of enlarged nodes does for an N stage."""

MAX_MALFORMED = 0.01
"""Share of malformed rows above which a file is taken to be the wrong one."""

MAX_LISTED = 1000
"""Malformed rows of a source that are listed; the others are only counted."""


def printable(name: str | Path) -> str:
    """A name that someone else has chosen, of a file or a column, on one line: escapes stand for characters that cannot
    be printed, and for bytes that are no UTF-8."""
    return shown(str(name)).replace("\n", "\\n").replace("\t", "\\t")


@dataclass(frozen=True, slots=True)
class Malformed:
    """A row that could not be read: where and why, never its text."""

    file: str
    line: int
    """Line, row or entry; 1 where a file is one row."""
    why: str


@dataclass
class Tally:
    """What became of the rows of one source."""

    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each file read, by name."""
    rows: int = 0
    """Rows seen in all files."""
    rejected: int = 0
    """Malformed rows."""
    malformed: list[Malformed] = field(default_factory=list)
    """The first `MAX_LISTED` of them."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Sound rows that are not used, by reason."""

    def read(self, path: Path, name: str = "") -> None:
        """Note that a file is read, under its name or another one. Raises `UserError` if it cannot be."""
        try:
            self.files[printable(name or path.name)] = sha256(path)
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}.") from error

    def reject(self, file: Path, line: int, why: str) -> None:
        """Count a malformed row; `why` never quotes it."""
        self.rejected += 1
        if len(self.malformed) < MAX_LISTED:
            # What comes from an archive may be longer than the names of files are.
            self.malformed.append(Malformed(printable(file.name[:255]), line, printable(why[:255])))


@dataclass(frozen=True)
class Source:
    """A data set that RadLite can learn from: what it is, under which terms, and how its files become examples."""

    name: str
    title: str
    licence: str
    access: Literal["open", "registration", "credentialed", "generated", "own"]
    """`registration`: an account and terms to accept; `credentialed`: training and a data use agreement besides."""
    tier: Tier
    """Of its examples unless they have one of their own."""
    citation: str
    tasks: tuple[str, ...]
    how_to: str
    """How its users get the files, and which, step by step; one step a line."""
    rows: Callable[[Path, Tally], Iterator[Example]]
    """(folder, tally) to examples; patients are named so that equal names mean one person in all sources."""
    condense: Callable[[str, int, Callable[[str], int]], str] | None = None
    """(report, budget, counter) to a selection of its sentences that keeps the answers true; None: there is none."""
    needs_folder: bool = True
    hub: tuple[str, tuple[str, ...]] | None = None
    """Data set on the Hugging Face hub, and its files, where anyone may get them without an agreement."""

    def example(
        self,
        task: str,
        id: str,
        inputs: Mapping[str, str],
        answer: str,
        patient: str = "",
        study: str = "",
        split: str = "",
        tags: tuple[str, ...] = (),
        tier: Tier | None = None,
    ) -> Example:
        """An example of this source; `split` is the official one, empty where there is none."""
        return Example(
            id=id, task=task, inputs=inputs, answer=answer, source=self.name, tier=tier or self.tier, patient=patient,
            study=study, split=split, licence=self.licence, tags=tags,
        )  # fmt: skip

    def read(self, folder: Path | None, tally: Tally, most: float = MAX_MALFORMED) -> Iterator[Example]:
        """The examples of the files in `folder`, one by one; `tally` counts the rest.

        Raises `UserError` if a file is missing or wrong, or if more than the share `most` of the rows is malformed.
        """
        if self.needs_folder and (folder is None or not folder.is_dir()):
            raise UserError(
                f"{self.name} needs a folder with its files, but got {folder}; "
                f"radlite data how {self.name} tells how to get them."
            )
        yield from self.rows(folder or Path(), tally)
        if tally.rejected > most * tally.rows:
            first = tally.malformed[0]
            raise UserError(
                f"{tally.rejected} of {tally.rows} rows of {self.name} are malformed, the first in {first.file} "
                f"line {first.line} ({first.why}); more than {most:.0%} means the wrong or a damaged file: "
                "get the files again, or allow more with --max-malformed."
            )
