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
    folder = resources.files("radlite.server") / "page"
    return {one.name: _read(one) for one in folder.iterdir() if _suffix(one.name) in _KINDS} if folder.is_dir() else {}


def viewer() -> dict[str, Page]:
    """The files of the viewer of the OpenAPI document."""
    import swagger_ui_bundle

    vendor = resources.files(swagger_ui_bundle) / "vendor"
    names = ("swagger-ui.css", "swagger-ui-bundle.js")
    folder = next(one for one in vendor.iterdir() if one.is_dir())
    own = {"index.html": _INDEX, "start.js": _START}
    made = {name: _made(text.encode(), name) for name, text in own.items()}
    return {name: _read(folder / name) for name in names} | made


def _read(file: Traversable) -> Page:
    return _made(file.read_bytes(), file.name)


def _made(content: bytes, name: str) -> Page:
    return Page(content, _KINDS[_suffix(name)], f'"{hashlib.sha256(content).hexdigest()[:16]}"')


def _suffix(name: str) -> str:
    return name[name.rfind(".") :]


_INDEX = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>RadLite: API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<script src="docs/swagger-ui-bundle.js" defer></script>
<script src="docs/start.js" defer></script>
</head>
<body><main id="viewer"></main></body>
</html>
"""
_START = """SwaggerUIBundle({ url: "openapi.json", dom_id: "#viewer", deepLinking: true, validatorUrl: null });
"""
