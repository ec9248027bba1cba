"""The Hugging Face hub, or a mirror of it: bases by name, models pulled, models and cards of corpora pushed.

Where it is (`HF_ENDPOINT`), who asks (`HF_TOKEN`, or the login of `hf auth login`), where files are kept (`HF_HOME`)
and whether there is a network (`HF_HUB_OFFLINE`) are the settings of `huggingface_hub`, which does the transfer. The
rows of a corpus are never sent.
"""

import errno
import fnmatch
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radlite import manifest
from radlite.chat import Renderer
from radlite.data import corpus
from radlite.errors import UserError, shown
from radlite.files import atomic_folder, exclusive, front_matter, read_json, read_text, sha256
from radlite.runtime import gguf, weights

_TEXTS = ("README.md", "LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "NOTICE.txt")
_MODEL = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "*.safetensors",
    "model.safetensors.index.json", manifest.NAME, *_TEXTS,
)  # fmt: skip
_ADAPTER = ("adapter_config.json", "adapter_model.safetensors", manifest.NAME, *_TEXTS)
_INDEX = "model.safetensors.index.json"

_ROWS = (".parquet", ".jsonl", ".csv", ".tsv", ".xlsx", ".arrow", ".ndjson")
_LOGS = ("log.jsonl", "excluded.json")
"""What training writes beside an adapter. Numbers, and ids of rows: neither is sent."""

_PUBLIC = ("open", "generated")
"""What a source's `access` must be for a model that learned from it to become public: all others have terms."""

_BIG = 8 << 20
"""Bytes from which on a file is got in pieces, and linked out of the cache, where the disk allows it, not copied."""


def base_folder(base: str) -> Path:
    """The folder of a base model: `base` itself, or the hub's model of that name (safetensors, JSON, template)."""
    if Path(base).is_dir():
        if not (Path(base) / "config.json").is_file():
            raise UserError(f"The base folder {base!r} has no config.json; give the folder of a Hugging Face model.")
        return Path(base)
    try:
        return _snapshot(base, _MODEL)
    except _Refused as error:
        raise UserError(
            f"The base {base} is no folder here, and it cannot be had from the Hugging Face hub ({error}); "
            "give a local model folder, or set HF_ENDPOINT to a mirror."
        ) from error


def pull(name: str, to: Path | None = None, file: str = "", revision: str | None = None) -> Path:
    """Get a base, an adapter or a GGUF from the hub, check it, and return its place: a folder, or the GGUF file.

    It is kept in the cache of `huggingface_hub`, where bases are also found by their names; an interrupted transfer
    goes on where it stopped. With `to`, that folder is filled too, whole or not at all. `file` names the GGUF where
    the repository has several. Without a network what is in the cache is taken.

    Raises `UserError` if it cannot be had, is incomplete or damaged, or if `to` is there already.
    """
    if to and (to.is_file() or (to.is_dir() and any(to.iterdir()))):
        raise UserError(f"{to} is there already; choose another --to, or remove it.")
    try:
        wanted = _wanted(name, _names(name, revision), file)
        folder = _snapshot(name, wanted, revision)
    except _Refused as error:
        raise UserError(f"{name} cannot be had from the Hugging Face hub: {error}.") from error
    names = [one for one in sorted(os.listdir(folder)) if any(fnmatch.fnmatch(one, pattern) for pattern in wanted)]
    _demand_sound(folder, names)
    demand_whole(folder, names)
    only = next((one for one in names if one.endswith(".gguf")), "")
    if to:
        with exclusive(to), atomic_folder(to) as part:
            for one in names:
                _placed(folder / one, part / one)
        folder = to
    return folder / only


def _names(name: str, revision: str | None) -> list[str]:
    """Names of the files of a repository; without a network those that the cache has of it."""
    import huggingface_hub
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        return list(huggingface_hub.HfApi().list_repo_files(name, revision=revision))
    except OfflineModeIsEnabled:
        return os.listdir(_snapshot(name, ["no file"], revision))
    except Exception as error:  # the hub's client raises of many kinds: name, network, rights, disk
        raise _Refused(_why(error)) from error


def _wanted(name: str, names: Sequence[str], file: str) -> list[str]:
    """The patterns of the files to get: those of one model. Raises `UserError` where it is not clear which."""
    files = [one for one in names if one.endswith(".gguf")]
    if file or (files and "config.json" not in names and "adapter_config.json" not in names):
        if file not in ([*files] if file or len(files) > 1 else ["", *files]):
            have = ", ".join(map(shown, sorted(files))) or "none"
            raise UserError(f"{name} has these GGUF files: {have}; name one of them with --file.")
        chosen = file or files[0]
        if not re.fullmatch(r"[\w.+-]+", chosen):
            raise UserError(f"The file {shown(chosen)} of {name} is in a folder there; get it by hand.")
        return [chosen, *_TEXTS]
    if "adapter_config.json" in names:
        return [*_ADAPTER]
    if "config.json" in names:
        return [*_MODEL]
    raise UserError(f"{name} holds neither a model in safetensors, nor an adapter, nor a GGUF; check the name.")


def _snapshot(name: str, patterns: Sequence[str], revision: str | None = None) -> Path:
    import huggingface_hub

    try:
        _fetch_large(name, patterns, revision)
        found = huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=list(patterns))
    except UserError:
        raise
    except Exception as error:  # as above
        raise _Refused(_why(error)) from error
    return Path(str(found))


def _fetch_large(name: str, patterns: Sequence[str], revision: str | None) -> None:
    """Bring the large files into the cache, each from the byte where an earlier try ended, even one that was killed.

    The client itself begins a file anew. The cache's form is told in its guide "Manage the cache": a file lies in
    `blobs` by the name of its SHA-256, and the client takes it from there.
    """
    import huggingface_hub
    from huggingface_hub import constants, file_download

    try:
        about = huggingface_hub.HfApi().model_info(name, revision=revision, files_metadata=True)
    except Exception:  # the client, which comes after, tells it, or takes what the cache has
        return
    token = huggingface_hub.get_token()
    folder = Path(constants.HF_HUB_CACHE) / file_download.repo_folder_name(repo_id=name, repo_type="model") / "blobs"
    for file in about.siblings or ():
        place = folder / file.lfs.sha256 if file.lfs and re.fullmatch("[0-9a-f]{64}", file.lfs.sha256) else None
        wanted = any(fnmatch.fnmatch(file.rfilename, pattern) for pattern in patterns)
        if not (place and wanted and file.lfs and file.lfs.size >= _BIG) or place.exists():
            continue
        with exclusive(place):
            part = place.with_name(f"{place.name}.radlite")
            with part.open("ab") as target:
                file_download.http_get(
                    huggingface_hub.hf_hub_url(name, file.rfilename, revision=about.sha),
                    target,
                    resume_size=part.stat().st_size,
                    headers={"Authorization": f"Bearer {token}"} if token else {},
                    expected_size=file.lfs.size,
                    displayed_filename=file.rfilename,
                )
            part.replace(place)


class _Refused(Exception):
    """The hub, the network or the disk said no; the text says why, and what to do."""


def _why(error: BaseException) -> str:
    """What an error of the hub's client means to its user."""
    from huggingface_hub import constants, errors

    while not hasattr(error, "response") and not isinstance(error, ValueError) and error.__cause__:
        error = error.__cause__
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.HFValidationError):
        return "the hub's names have the form OWNER/NAME"
    if isinstance(error, errors.GatedRepoError):
        return "its terms must be accepted on its page there, by the account that HF_TOKEN is of"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "it has no such name, or it is private and needs HF_TOKEN; check both"
    if isinstance(error, errors.RevisionNotFoundError):
        return "it has no such revision"
    if status in (401, 403):
        return "it refuses this token; set HF_TOKEN to one that may do this"
    if status:
        return f"it answered {status}; try again later, which goes on where this stopped"
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set, and the cache does not have all of it"
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{os.strerror(number)}; free some space or set HF_HOME to another disk, then run it again"
    return f"{type(error).__name__}; check the network and run it again, which goes on where this stopped"


def _demand_sound(folder: Path, names: Sequence[str]) -> None:
    """Raise `UserError` if a file of the cache is not what its name there says, and remove it: it would come again.

    The cache calls large files by the SHA-256 of what they hold.
    """
    for name in names:
        path = folder / name
        digest = path.resolve().name
        if path.is_symlink() and re.fullmatch("[0-9a-f]{64}", digest) and sha256(path) != digest:
            path.resolve().unlink()
            path.unlink()
            raise UserError(f"{name} came damaged and was removed; pull it again.")


def demand_whole(folder: Path, names: Sequence[str]) -> None:
    """Raise `UserError` unless these files of `folder` are a whole model, adapter or GGUF.

    A model has all its tensors' bytes, a tokenizer and a chat template; an adapter its settings and tensors; a GGUF all
    its tensors' bytes and, if it is a model, tokenizer and template.
    """
    if files := [name for name in names if name.endswith(".gguf")]:
        header = gguf.read(folder / files[0], "any")
        if header.keys.get("general.type") != "adapter":
            header.renderer()
        return
    weights.read(folder)
    if "adapter_config.json" in names:
        read_json(folder / "adapter_config.json", "adapter settings", ("peft_type",))
        if manifest.NAME in names:
            manifest.read(folder, "adapter", manifest.ADAPTER)
        return
    read_json(folder / "config.json", "model configuration", ("architectures",))
    if _INDEX in names:
        shards = read_json(folder / _INDEX, "index of the weights", ("weight_map",))["weight_map"]
        if lacking := sorted({str(shard) for shard in dict(shards).values()} - {*names}):
            raise UserError(f"{folder} lacks {lacking[0]}; get the model again.")
    Renderer.from_folder(folder)


def _placed(source: Path, target: Path) -> None:
    """The file `source` of the cache at `target` too; a large one takes no second place on the disk if it can."""
    source = source.resolve()
    if source.stat().st_size >= _BIG:
        try:
            os.link(source, target)
            return
        except OSError:
            pass  # another disk, or a file system without links
    shutil.copyfile(source, target)


@dataclass(frozen=True)
class Parcel:
    """What is sent: each file of the repository from a path or as it is here, and the terms that it stands under."""

    name: str
    kind: str
    """`model`, or `dataset` for the card of a corpus."""
    files: Mapping[str, Path | bytes]
    licence: str
    closed: tuple[str, ...] = ()
    """Sources under an agreement that a model learned from, or `sources unknown`."""


@dataclass(frozen=True)
class Sent:
    """Where it lies now, and whether only its owner sees it."""

    url: str
    private: bool


def parcel(what: Path, licence: str = "") -> Parcel:
    """What `push` sends of a model or adapter folder, a GGUF file, or a corpus, of which it is a card alone.

    Only files of known names go along, and no paths of this machine. `licence` is what nothing else tells. Raises
    `UserError` for what radlite did not make, is damaged, or might hold rows of patients, and where no licence is
    known.
    """
    name = what.resolve().name
    if (what / corpus.NAME).is_file():
        return Parcel(name, "dataset", {"README.md": _corpus_card(corpus.describe(what), licence)}, licence or "other")
    made, files = _file(what) if what.is_file() else _folder(what)
    demand_whole(what.parent if what.is_file() else what, [*files])
    learned = manifest.training(made)
    card = files.get("README.md")
    known = front_matter(card) if isinstance(card, Path) else {}
    told = ({"license": licence}, known, learned.get("base_licence") or {})
    terms = next(({key: one[key] for key in _LICENCE if one.get(key)} for one in told if one.get("license")), None)
    if terms is None:
        raise UserError(f"Nothing tells the licence of {what}; name it as the hub does, such as --licence apache-2.0.")
    if not known.get("license"):
        files["README.md"] = _card(name, made, terms, card if isinstance(card, Path) else None)
    sources = learned.get("sources") or []
    closed = {str(one.get("source")) for one in sources if one.get("access") not in _PUBLIC}
    if not sources and (made.get("kind") == "adapter" or manifest.tuned_base(made)):
        closed = {"sources unknown"}
    return Parcel(name, "model", files, str(terms.get("license_name", terms["license"])), tuple(sorted(closed)))


def _file(path: Path) -> tuple[dict[str, Any], dict[str, Path | bytes]]:
    """Manifest of a GGUF, and what goes along: its card and licence beside it, and how other programs ask it."""
    made = gguf.read(path, "any").manifest
    if made is None:
        raise UserError(f"{path} was not made by radlite; only what radlite made is pushed.")
    names = (*_TEXTS, f"{path.stem}.Modelfile", f"{path.stem}.ask.md", path.name)
    return made, {name: path.parent / name for name in names if (path.parent / name).is_file()}


def _folder(folder: Path) -> tuple[dict[str, Any], dict[str, Path | bytes]]:
    made = manifest.read(folder)
    if made.get("kind") not in ("adapter", "merged", "base"):
        raise UserError(f"{folder} is of kind {made.get('kind')!r}, which is not pushed; give a model or an adapter.")
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in _ROWS and path.name not in _LOGS:
            raise UserError(f"{path} may hold rows of patients, which are never sent; take it out of the folder.")
    patterns = _ADAPTER if made["kind"] == "adapter" else _MODEL
    names = [path.name for path in sorted(folder.iterdir()) if path.is_file()]
    files: dict[str, Path | bytes] = {
        name: folder / name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
    }
    return made, files | (_placeless(folder, made) if made["kind"] == "adapter" else {})


_LICENCE = ("license", "license_name", "license_link")


def _placeless(adapter: Path, made: Mapping[str, Any]) -> dict[str, bytes]:
    """Manifest and settings of an adapter, with the base by its name instead of its place."""
    base = str(made.get("base_model") or Path(str(made.get("base", ""))).name)
    settings = read_json(adapter / "adapter_config.json", "adapter settings")
    told = {
        manifest.NAME: {**manifest.without_places(made), "base": base},
        "adapter_config.json": {**settings, "base_model_name_or_path": base},
    }
    return {name: (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode() for name, value in told.items()}


def push(sent: Parcel, repository: str, public: bool = False) -> Sent:
    """Send a parcel to the hub as one commit. The repository is made if need be, private unless `public`.

    Large files that the hub has already are not sent again, so that an interrupted push goes on file by file. Raises
    `UserError` without a token; where `public` would show what was learned under an agreement; where the repository is
    public and `public` was not said; and where the hub or the network refuses.
    """
    import huggingface_hub
    from huggingface_hub import constants

    if public and sent.closed:
        raise UserError(
            f"{sent.name} learned from data that not everybody may have ({', '.join(sent.closed)}); leave out --public."
        )
    if constants.HF_HUB_OFFLINE:
        raise UserError("HF_HUB_OFFLINE is set; unset it to push.")
    if not huggingface_hub.get_token():
        raise UserError("There is no token to push with; set HF_TOKEN, or log in with hf auth login.")
    api = huggingface_hub.HfApi()
    try:
        api.create_repo(repository, repo_type=sent.kind, private=not public, exist_ok=True)
        private = bool(api.repo_info(repository, repo_type=sent.kind).private)
        if not (private or public):
            raise UserError(f"{repository} is public already; choose another one, or say --public.")
        operations = [
            huggingface_hub.CommitOperationAdd(name, content if isinstance(content, bytes) else str(content))
            for name, content in sent.files.items()
        ]
        message = f"radlite push: {sent.name}"
        done = api.create_commit(repository, operations, commit_message=message, repo_type=sent.kind)
    except UserError:
        raise
    except Exception as error:  # as above
        raise UserError(f"{sent.name} cannot be pushed to {repository}: {_why(error)}.") from error
    return Sent(str(done.repo_url), private)


def _card(name: str, made: Mapping[str, Any], terms: Mapping[str, Any], card: Path | None) -> bytes:
    """A model card of what the manifest tells; where there is a `card` that lacks the licence, that with it."""
    learned = manifest.training(made)
    kind, base = str(made.get("kind")), learned.get("base_model")
    head = {
        **terms,
        **({"base_model": base, "base_model_relation": "adapter" if "adapter" in kind else "finetune"} if base else {}),
        **({"library_name": "peft"} if kind == "adapter" else {}),
        "tags": ["radlite", "radiology", *(["lora"] if "adapter" in kind else [])],
    }
    if card:
        text = read_text(card, "card")
        return _front({**head, **front_matter(card)}, re.sub(r"\A---\r?\n.*?\n---(\r?\n|$)", "", text, flags=re.DOTALL))
    lines = [
        f"# {Path(name).stem}",
        f"A radlite {kind} for tasks on radiology reports.",
        "**Not a medical device.** Research software; a qualified radiologist must review every answer.",
        *_learned(learned),
    ]
    return _front(head, "\n\n".join(lines))


def _learned(made: Mapping[str, Any]) -> Iterator[str]:
    sources = made.get("sources") or []
    if sources:
        heads = ("source", "title", "access", "tier", "licence", "rows")
        yield "Learned from:\n\n" + _table(heads, [[one.get(head, "") for head in heads] for one in sources])


def _corpus_card(made: Mapping[str, Any], licence: str) -> bytes:
    """What a corpus is made of: counts, sources and their terms. No row, no text, no id, no name of a file."""
    splits = ("train", "validation", "test")
    counts = [[task, *(by.get(split, {}).get("rows", 0) for split in splits)] for task, by in made["counts"].items()]
    heads = ("title", "licence", "access", "tier", "citation")
    sources = [[name, *(one.get(head, "") for head in heads)] for name, one in made.get("sources", {}).items()]
    parts = [
        "# The card of a corpus",
        f"Made by `radlite data build`; digest of its data: {made.get('data')}. The rows themselves are not here: the "
        "terms of their sources do not allow it. `radlite data how SOURCE` tells how to get each, and the same sources "
        "make the same corpus again.",
        _table(("task", *splits), counts),
        _table(("source", *heads), sources),
    ]
    return _front({"license": licence or "other", "tags": ["radlite", "radiology"]}, "\n\n".join(parts))


def _table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    cells = [[shown(str(cell)).replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *cells))


def _front(head: Mapping[str, Any], body: str) -> bytes:
    import yaml

    told = yaml.safe_dump(dict(head), sort_keys=False, allow_unicode=True)
    return f"---\n{told}---\n\n{body.strip()}\n".encode()
