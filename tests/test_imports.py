"""Rooms import from the left only, and heavy libraries stay where they belong."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "radlite"

# A room may import itself and what stands in a line above; rooms of one line do not know each other.
ORDER = [
    {"errors"},
    {"files"},
    {"manifest"},
    {"sections", "tokenizer"},
    {"rads"},
    {"tasks"},
    {"chat"},
    {"data", "runtime", "routing"},
    {"reader", "hub"},
    {"serving"},
    {"evaluation"},
    {"training"},
    {"export"},
    {"server"},
    {"demo"},
    {"cli"},
    {"__main__"},
]
RANK = {room: number for number, rooms in enumerate(ORDER) for room in rooms}

HEAVY = {"torch", "transformers", "peft", "accelerate"}
MAY_BE_HEAVY = ("training/", "runtime/hf.py", "runtime/machine.py")


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def imports(path: Path, top_level_only: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text("utf-8"))
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
            if node.module == "radlite":
                yield from (f"radlite.{alias.name}" for alias in node.names)


def room(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "radlite" and len(parts) > 1 and parts[1] in RANK else None


def test_every_file_belongs_to_a_room() -> None:
    rooms = {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in modules()} - {"__init__"}
    assert rooms == set(RANK)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_from_its_own_room_and_from_rooms_to_its_left(path: Path) -> None:
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    used = {found for module in imports(path) if (found := room(module))} - {own}
    assert [other for other in used if RANK[other] >= RANK.get(own, -1)] == []


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_torch_stays_in_training_in_the_engine_of_evaluation_and_where_speed_is_measured(path: Path) -> None:
    if str(path.relative_to(ROOT)).startswith(MAY_BE_HEAVY):
        return
    assert {module.split(".")[0] for module in imports(path)} & HEAVY == set()


def test_the_command_line_starts_without_anything_heavy() -> None:
    light = {
        "radlite",
        "typer",
        "collections",
        "contextlib",
        "json",
        "logging",
        "math",
        "os",
        "signal",
        "sys",
        "time",
        "warnings",
        "dataclasses",
        "pathlib",
        "typing",
    }
    verbs = [path for path in modules() if path.parent.name == "cli"]
    assert verbs and {one.split(".")[0] for path in verbs for one in imports(path, top_level_only=True)} <= light
