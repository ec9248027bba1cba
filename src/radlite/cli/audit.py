"""`radlite audit`: the log of what was answered, checked and searched."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from radlite.cli.common import Json, print_json, read_text
from radlite.errors import UserError

audit = typer.Typer(no_args_is_help=True, help="The log of what was answered: check that it is whole, search it.")

_ENTRY = ("number", "time", "kind", "id")
_FACTS = ("user", "request", "row", "task", "status", "action")
"""Facts with a column of their own."""

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder audit of the server's state.")]


@audit.command("verify")
def audit_verify(
    folder: Folder,
    head: Annotated[
        list[str] | None, typer.Option(metavar="HASH", help="Hash noted elsewhere, which has to be there; repeatable.")
    ] = None,
    after: Annotated[
        str, typer.Option(metavar="HASH", help="Hash that the first entry follows, where older files were archived.")
    ] = "",
    last: Annotated[
        str, typer.Option(metavar="HASH", help="Hash of the last entry of an archive, which has no HEAD.")
    ] = "",
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Key of the log, if it is not beside the folder as audit.key.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say whether a log is whole: no edit, gap, reordering or truncation. Exit code 1 if it is not."""
    from radlite.errors import shown
    from radlite.server.chain import BEGIN
    from radlite.server.verdict import verify

    found = verify(folder, head or (), after or BEGIN, last, key)
    if as_json:
        print_json({**asdict(found), "sound": found.sound})
    else:
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in sorted(found.kinds.items()))
        lines = [f"{found.entries:,} entries in {found.files:,} files, {found.begun} to {found.ended}: {kinds}"]
        lines += [f"Head: {found.head or 'unknown'}"]
        lines += [f"Note: {note}." for note in found.notes] + [f"FAULT: {fault}." for fault in found.faults]
        for line in lines:  # a log that was tampered with may hold anything
            typer.echo(shown(line).replace("\n", "\\n"))
        typer.echo("The log is whole." if found.sound else "The log is NOT whole.")
    raise typer.Exit(0 if found.sound else 1)


@audit.command("find")
def audit_find(
    folder: Folder,
    report: Annotated[
        str, typer.Argument(help="Report as a UTF-8 text file, or - for standard input; all entries without it.")
    ] = "",
    id: Annotated[
        str, typer.Option(metavar="ID", help="Entries with this id in them: of an answer, a request, a job, a review.")
    ] = "",
    as_csv: Annotated[bool, typer.Option("--csv", help="A table for a spreadsheet, with the facts as JSON.")] = False,
) -> None:
    """The entries of a log, one JSON line each: all, or those of answers to a report or with an id.

    To find a report takes the key audit.key beside the folder.
    """
    from radlite.server.verdict import find, listed

    if report and id:
        raise UserError("A report and --id are two ways to look; give one of them.")
    entries = find(folder, read_text(report)) if report else listed(folder, id)
    if not as_csv:
        for entry in entries:
            typer.echo(json.dumps(entry))
        return
    import csv

    from radlite.serving.tables import guarded

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([*_ENTRY, *_FACTS, "facts"])
    for entry in entries:
        cells = [*map(entry.get, _ENTRY), *map(entry["facts"].get, _FACTS), json.dumps(entry["facts"])]
        writer.writerow(guarded(cell) for cell in cells)
