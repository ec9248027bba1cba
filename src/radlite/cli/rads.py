"""`radlite rads`: categories found, masked, decided by rule, looked up."""

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from radlite.cli.common import Json, print_json, read_text
from radlite.errors import UserError

rads = typer.Typer(no_args_is_help=True, help="RADS categories: find, mask, decide by rule, look up.")


@rads.command("find")
def rads_find(text: Annotated[str, typer.Argument(help="Text, or - for standard input.")] = "-") -> None:
    """Every RADS category that a text mentions, one JSON line each."""
    from radlite.rads.mentions import find

    for mention in find(_given(text)):
        typer.echo(json.dumps(asdict(mention), ensure_ascii=False))


@rads.command("mask")
def rads_mask(text: Annotated[str, typer.Argument(help="Text, or - for standard input.")] = "-") -> None:
    """The text without any RADS category: what is then asked has to be inferred."""
    from radlite.rads.mentions import mask

    typer.echo(mask(_given(text)))


@rads.command("rule")
def rads_rule(
    system: Annotated[str, typer.Argument(help="System, for example TI-RADS.")],
    features: Annotated[str, typer.Argument(help="Findings as a JSON file, or - for standard input.")] = "",
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of the findings instead.")] = False,
    as_json: Json = False,
) -> None:
    """The category that a guideline's decision table gives for findings, and the rule that fired."""
    from radlite.rads import rules

    system = _system(system)
    if schema:
        print_json(rules.schema(system))
        return
    if not features:
        raise UserError("Name the findings: a JSON file, or - for standard input; --schema prints their form.")
    try:
        value = json.loads(read_text(features, "file of findings"))
    except (json.JSONDecodeError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise UserError(f"The findings are not JSON (line {line}); --schema prints their form.") from error
    ruling = rules.decide(system, value)
    if as_json:
        print_json(asdict(ruling))
    else:
        typer.echo("\n".join(filter(None, (ruling.category, ruling.rule, ruling.advice))))


@rads.command("table")
def rads_table(
    system: Annotated[str, typer.Argument(help="System; all ten if not given.")] = "", as_json: Json = False
) -> None:
    """The categories of the systems with order, risk and management; version and source of each system."""
    from rich.console import Console

    from radlite.rads import systems

    chosen = [systems()[_system(system)]] if system else list(systems().values())
    if as_json:
        print_json([asdict(one) for one in chosen])
        return
    for one in chosen:
        Console().print(_table(one))


def _system(name: str) -> str:
    """The system called so, in any case of letters."""
    from radlite.rads import systems

    found = next((system for system in systems() if system.casefold() == name.casefold()), None)
    if found is None:
        raise UserError(f"There is no system {name!r}; choose from {', '.join(systems())}.")
    return found


def _table(system: Any) -> Any:
    """One system as a table for people."""
    from rich import box
    from rich.table import Table

    title = f"{system.name}: {system.title}. {system.version}.\n{system.source}."
    table = Table("category", "risk", "next", title=title, title_justify="left", title_style="", box=box.SIMPLE_HEAD)
    for scale in system.scales:
        if not scale.stated_only:
            table.add_section()
            for one in scale.categories:
                table.add_row(one.code, one.risk, one.management)
    table.caption = "; ".join(f"{name}: {meaning}" for name, meaning in system.modifiers.items())
    return table


def _given(text: str) -> str:
    return read_text("-", "text") if text == "-" else text
