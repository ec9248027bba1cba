"""The files that a browser gets, read once at the start: no path of a request reaches the file system."""

import hashlib
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

_KINDS: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Page:
    """A file, its kind, and a tag that changes with its content."""

    content: bytes
    kind: str
    tag: str


def page() -> dict[str, Page]:
    """The files of the page by name."""
    return _files("page")


def viewer() -> dict[str, Page]:
    """The files of the viewer of the OpenAPI document."""
    return _files("viewer")


def _files(name: str) -> dict[str, Page]:
    folder = resources.files("radlite.server") / name
    return {one.name: _read(one) for one in folder.iterdir() if _suffix(one.name) in _KINDS} if folder.is_dir() else {}


def _read(file: Traversable) -> Page:
    content = file.read_bytes()
    return Page(content, _KINDS[_suffix(file.name)], f'"{hashlib.sha256(content).hexdigest()[:16]}"')


def _suffix(name: str) -> str:
    return name[name.rfind(".") :]
