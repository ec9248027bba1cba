"""How an artefact came to be: what it was made from, with which settings and versions."""

import datetime
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import radlite
from radlite.errors import UserError
from radlite.files import known_sha256, read_json, sha256, write_json

NAME = "radlite.json"
"""File name of the manifest in a folder; a GGUF carries the same JSON under the key `radlite.manifest`."""

ADAPTER = ("base", "base_hash", "template_hash")
"""What the manifest of an adapter says of its base: where it is, and what its weights and its template are."""

_VERSIONS_OF = ("torch", "transformers", "peft", "tokenizers", "gguf", "xllamacpp")


def describe(kind: str, **facts: Any) -> dict[str, Any]:
    """A manifest of `kind` (`base`, `corpus`, `adapter`, `merged`, `gguf`, `adapter gguf`, `importance`, `results`):
    `facts`, and the versions."""
    return {
        "kind": kind,
        "radlite": radlite.__version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": {name: version for name in _VERSIONS_OF if (version := _version(name))},
        **facts,
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def write(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest into `folder`, last of all: a folder without one is unfinished."""
    write_json(folder / NAME, manifest)


def read(folder: Path, kind: str | None = None, keys: Sequence[str] = ()) -> dict[str, Any]:
    """The manifest of `folder`; `UserError` if there is none, it is not of `kind`, or it lacks one of `keys`."""
    if not folder.exists():
        raise UserError(f"There is no {folder}; check the name.")
    if not (folder / NAME).is_file():
        raise UserError(f"{folder} has no {NAME}: it was not made by radlite, or it is unfinished; make it again.")
    manifest = read_json(folder / NAME, "manifest")
    if kind and manifest.get("kind") != kind:
        raise UserError(f"{folder} is of kind {manifest.get('kind')!r}, but one of kind {kind!r} is needed here.")
    if lacking := [key for key in keys if key not in manifest]:
        raise UserError(f"The manifest of {folder} lacks {lacking[0]!r}; make it again.")
    return manifest


def tuned_base(made: Mapping[str, Any]) -> str | None:
    """Name of the base that radlite tuned to make this merged folder, GGUF or adapter GGUF; None if it is not tuned.

    A model that is tuned knows its tasks by their cue; any other is asked by full instruction.
    """
    merged = made.get("source") if made.get("kind") == "gguf" else made
    if not isinstance(merged, Mapping) or merged.get("kind") not in ("merged", "adapter gguf"):
        return None
    base = merged.get("base")
    return str(base["name"]) if isinstance(base, Mapping) and "name" in base else None


def tuned_wording(made: Mapping[str, Any]) -> dict[str, str]:
    """Task to digest of the wording that this adapter, merged folder or GGUF was tuned with; empty if unknown."""
    found = training(made).get("wording")
    return {str(task): str(digest) for task, digest in found.items()} if isinstance(found, Mapping) else {}


def training(made: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an adapter tells in this manifest, which is its own or that of a merged folder or GGUF made from it.

    Empty if there is nothing; of a file that was not tuned, what its source tells.
    """
    for outer, inner in (("gguf", "source"), ("merged", "adapter"), ("adapter gguf", "adapter")):
        if made.get("kind") == outer:
            made = found if isinstance(found := made.get(inner), Mapping) else {}
    return made


def without_places(made: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of an adapter without the paths in it, which mean nothing elsewhere and tell of the machine."""
    kept = {name: fact for name, fact in made.items() if name != "base"}
    if isinstance(recipe := kept.get("recipe"), Mapping):
        kept["recipe"] = {name: value for name, value in recipe.items() if name not in ("base", "corpus", "out")}
    return kept


def base_quantized(made: Mapping[str, Any]) -> str:
    """What the base was rounded to on which this adapter was trained, as in `rounding.KINDS`; empty if to nothing."""
    return str(training(made).get("base_quantized") or "")


def weights_hash(folder: Path) -> str:
    """One digest over the safetensors files of a model folder, in name order: the identity of a base."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError(f"{folder} has no safetensors weights; give a model folder.")
    return hashlib.sha256("".join(sha256(file) for file in files).encode()).hexdigest()


def file_identity(path: Path, adapter: Path | None = None) -> str:
    """One digest of a GGUF file, or of one with an adapter over it."""
    return text_hash([known_sha256(path), known_sha256(adapter)]) if adapter else known_sha256(path)


def text_hash(value: Any) -> str:
    """Short digest of a JSON value or text, for templates, recipes and data."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
