"""The offline bundle: one archive from which a machine without a network installs RadLite with its models.

What it holds is listed in `SHA256SUMS`, and the wheels, with their licences, in CycloneDX form
(https://cyclonedx.org/docs/1.6/json/). `install.sh` of the archive checks it before anything of it runs.
"""

import contextlib
import email.parser
import email.policy
import gzip
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import re
import subprocess
import sys
import tarfile
import tempfile
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from importlib import resources
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import unquote

import radlite
from radlite.errors import UserError, shown
from radlite.files import atomic, sha256
from radlite.manifest import tuned_base
from radlite.routing.router import Router
from radlite.runtime import adapter as adapters
from radlite.server import readers
from radlite.server.settings import PREFIX, Settings, printed
from radlite.serving import asking

SUFFIXES: Final = (".tar.gz", ".tgz", ".tar")

_PREFIX: Final = "/opt/radlite"
"""As it stands in the files of deploy/; install.sh puts another one in its place."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
"""Names of files that a shell, a list of checksums and a unit take as they are."""
_TIME: Final = 315532800
"""Of every file in the archive, so that its bytes follow from what it holds: the first of January 1980."""
_FASTEST: Final = 1
"""Of gzip: wheels are compressed and weights hardly get smaller, and minutes count."""
_PIP: Final = "pip"
"""Goes along and is run from its wheel: a machine's Python often has none, or an old one. It is not installed."""
_LONGEST_LICENCE: Final = 120
"""Characters; some wheels have the whole text where the name belongs."""


@dataclass(frozen=True, slots=True)
class Target:
    """The machine that the bundle is for. Without `platforms` it is one like this."""

    python: str = f"{sys.version_info.major}.{sys.version_info.minor}"
    platforms: tuple[str, ...] = ()
    """Tags of wheels, such as manylinux_2_28_x86_64; what runs on older systems of the kind is taken too."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"3\.\d{1,2}", self.python):
            raise UserError(f"{shown(self.python)!r} is no version of Python; give one such as 3.12.")
        for one in self.platforms:
            if not re.fullmatch(r"(many|musl)?linux\w*_(x86_64|aarch64)", one):
                raise UserError(
                    f"{shown(one)!r} is no platform that a bundle is made for; give one such as manylinux_2_28_x86_64."
                )
        if len({self._machine(one) for one in self.platforms}) > 1:
            raise UserError("The platforms are of different processors; make a bundle for each.")

    @staticmethod
    def _machine(platform: str) -> str:
        return "x86_64" if platform.endswith("x86_64") else "aarch64"

    @property
    def machine(self) -> str:
        """As `uname -m` says it."""
        return self._machine(self.platforms[0]) if self.platforms else platform.machine()

    def options(self) -> list[str]:
        """What pip is told of it: nothing of a machine like this, which pip knows best."""
        tags = list(dict.fromkeys(tag for one in self.platforms for tag in _older(one)))
        options = [f"--platform={tag}" for tag in tags]
        return [*options, f"--python-version={self.python}"] if options or self != Target() else []


def _older(platform: str) -> Iterator[str]:
    """The platform and those whose wheels run on it: a manylinux of glibc 2.28 takes what was built for 2.5 to 2.28."""
    yield platform
    if found := re.fullmatch(r"manylinux_2_(\d+)_(\w+)", platform):
        names = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
        for glibc in range(int(found[1]), 4, -1):
            yield f"manylinux_2_{glibc}_{found[2]}"
            if glibc in names:
                yield f"{names[glibc]}_{found[2]}"


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel of the bundle: its file, and what it says of itself."""

    path: Path
    name: str
    version: str
    sha256: str
    licence: Mapping[str, Any] | None
    """As CycloneDX has it: {"expression": SPDX} or {"license": {"name": ...}}; None if the wheel does not say."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """What was made."""

    path: Path
    sha256: str
    sums: str
    """SHA-256 of SHA256SUMS, which install.sh prints."""
    target: Target
    wheels: tuple[Wheel, ...]
    models: tuple[str, ...]


@dataclass(slots=True)
class _Archive:
    """Files by their name in the archive: a path, or the bytes themselves; and the digests."""

    files: dict[str, Path | bytes] = field(default_factory=dict)
    sums: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, what: Path | str | bytes) -> None:
        self.files[name] = what.encode() if isinstance(what, str) else what
        held = self.files[name]
        self.sums[name] = sha256(held) if isinstance(held, Path) else hashlib.sha256(held).hexdigest()

    def write(self, part: Path, folder: str, packed: bool) -> None:
        """Write them into `folder` of a tar file, in the order of their names."""
        with contextlib.ExitStack() as stack:
            raw: Any = stack.enter_context(part.open("wb"))
            if packed:
                raw = stack.enter_context(gzip.GzipFile("", "wb", _FASTEST, raw, mtime=0))
            tar = stack.enter_context(tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT))
            for name, held in sorted(self.files.items()):
                entry = tarfile.TarInfo(f"{folder}/{name}")
                entry.mtime, entry.mode = _TIME, 0o755 if name.endswith(".sh") else 0o644
                if isinstance(held, bytes):
                    entry.size = len(held)
                    tar.addfile(entry, io.BytesIO(held))
                    continue
                with held.open("rb") as file:
                    entry.size = os.fstat(file.fileno()).st_size
                    packing = _Hashed(file)
                    tar.addfile(entry, packing)
                if packing.digest.hexdigest() != self.sums[name]:
                    raise UserError(f"{held} was changed while it was packed; make the bundle again.")


class _Hashed:
    """A file that is hashed as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        return data


def make(
    out: Path,
    models: Sequence[Path],
    router: Path | None = None,
    wheels: Path | None = None,
    target: Target | None = None,
    extras: Sequence[str] = (),
    any_model: bool = False,
    told: Callable[[str], None] = lambda _: None,
) -> Bundle:
    """Write the bundle `out` (.tar.gz, .tgz or .tar) with these GGUF files and their cards, and the wheels of this
    version of radlite and of what it needs.

    The wheels come from the folder `wheels` alone, or else from pip's index at the versions of this environment, with
    radlite's own built from its checkout. The same inputs give the same bytes. Raises `UserError` if a model is no
    GGUF or, without `any_model`, none that radlite made, a wheel cannot be had, or `out` cannot be written.
    """
    target = target or Target()
    if not out.name.endswith(SUFFIXES):
        raise UserError(f"{out} is no name for a bundle; end it with one of {', '.join(SUFFIXES)}.")
    archive = _Archive()
    asking.shares(models, router, [], any_model)
    names = _add_models(archive, models)
    if router:
        _demand_models(Router.load(router), models)
        archive.add("models/router.json", router)
    known = importlib.metadata.metadata("radlite").get_all("Provides-Extra") or []
    if lacking := [one for one in extras if one not in known]:
        raise UserError(f"radlite has no extra {shown(lacking[0])!r}; choose from: {', '.join(known)}.")
    wanted = "radlite" + (f"[{','.join(sorted(set(extras)))}]" if extras else "") + f"=={radlite.__version__}"
    with tempfile.TemporaryDirectory(prefix="radlite-bundle.") as room:
        if wheels is None:
            told(f"getting the wheels of {wanted}")
            _fetch(Path(room), wanted, target)
        elif not wheels.is_dir():
            raise UserError(f"{wheels} is no folder; give one with wheels to --wheels.")
        told("choosing the wheels that are needed")
        found = _resolved(wheels or Path(room), wanted, target)
        for wheel in found:
            archive.add(f"wheels/{wheel.path.name}", wheel.path)
        _add_words(archive, found, names, target, _set(names, router is not None, any_model))
        listed = "".join(f"{digest}  {name}\n" for name, digest in sorted(archive.sums.items()))
        archive.files["SHA256SUMS"] = listed.encode()
        told(f"writing {out}")
        with atomic(out) as part:
            archive.write(part, f"radlite-{radlite.__version__}", packed=not out.name.endswith(".tar"))
            digest = sha256(part)
    return Bundle(out, digest, hashlib.sha256(listed.encode()).hexdigest(), target, tuple(found), tuple(names))


def _demand_models(router: Router, models: Sequence[Path]) -> None:
    """Raise `UserError` if the router sends a task to another model: it would be noticed only where the bundle goes."""
    names = {tuned_base(asking.tuning(path, None, any_model=True)) or adapters.name(path, None) for path in models}
    for task, choice in router.choices.items():
        if choice.model not in names:
            raise UserError(
                f"The router sends {task} to {choice.model}, which is not among the models; add it with --model."
            )


def _add_models(archive: _Archive, models: Sequence[Path]) -> list[str]:
    """Add each model with its card, in a folder of its own; their names in the archive."""
    names: list[str] = []
    for path in models:
        if not _PLAIN.fullmatch(path.name) or path.suffix != ".gguf":
            raise UserError(
                f"{shown(str(path))} has a name that not every machine takes; "
                "rename it to letters, digits, . _ + and -, ending with .gguf."
            )
        name = f"models/{path.stem}/{path.name}"
        if name in names:
            raise UserError(f"Two models have the name {path.name}; rename one.")
        archive.add(name, path)
        archive.add(f"models/{path.stem}/{readers.SUMS}", f"{archive.sums[name]}  {path.name}\n")
        names.append(name)
        if found := readers.card(path):
            archive.add(f"models/{path.stem}/README.md", found[0])
    return names


def _set(models: Sequence[str], routed: bool, any_model: bool) -> str:
    """The settings that come with the models, as variables of the environment."""
    paths = [f"{_PREFIX}/current/{name}" for name in models]
    settings = {"model": ",".join(paths)}
    if routed:
        settings["router"] = f"{_PREFIX}/current/models/router.json"
    if any_model:
        settings["any_model"] = "true"
    return "".join(f"{PREFIX}{name.upper()}={value}\n" for name, value in settings.items())


def _add_words(archive: _Archive, wheels: Sequence[Wheel], models: Sequence[str], target: Target, env: str) -> None:
    """Add what install.sh, the service and an auditor read."""
    deploy = resources.files("radlite.server") / "deploy"
    for name in ("install.sh", "radlite.service", "Containerfile"):
        archive.add(name, (deploy / name).read_bytes())
    archive.add("radlite.toml", printed(Settings()))
    pins = [f"{one.name}=={one.version} --hash=sha256:{one.sha256}\n" for one in wheels if one.name != _PIP]
    archive.add("requirements.txt", "".join(pins))
    archive.add("VERSION", f"radlite {radlite.__version__}\npython {target.python}\nmachine {target.machine}\n")
    archive.add("models.env", env)
    archive.add("sbom.cdx.json", json.dumps(_bill(archive, wheels, models), indent=1, ensure_ascii=False) + "\n")


def _bill(archive: _Archive, wheels: Sequence[Wheel], models: Sequence[str]) -> dict[str, Any]:
    """The bill of materials, CycloneDX 1.6. Its number follows from what it lists, so that it is the same each time."""
    libraries = [
        {
            "type": "library",
            "bom-ref": f"pkg:pypi/{one.name}@{one.version}",
            "name": one.name,
            "version": one.version,
            "purl": f"pkg:pypi/{one.name}@{one.version}",
            "hashes": [{"alg": "SHA-256", "content": one.sha256}],
            **({"licenses": [one.licence]} if one.licence else {}),
        }
        for one in wheels
    ]
    weights = [
        {
            "type": "machine-learning-model",
            "bom-ref": name,
            "name": Path(name).stem,
            "hashes": [{"alg": "SHA-256", "content": archive.sums[name]}],
        }
        for name in models
    ]
    parts = [*libraries, *weights]
    number = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(parts, sort_keys=True))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{number}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": "bundle",
                "name": "radlite-bundle",
                "version": radlite.__version__,
            }
        },
        "components": parts,
    }


def _resolved(folder: Path, wanted: str, target: Target) -> list[Wheel]:
    """The wheels of `folder` that pip takes for an installation of `wanted`; `UserError` if one is missing."""
    with tempfile.TemporaryDirectory(prefix="radlite-bundle.") as room:
        report = Path(room) / "report.json"
        options = ["--dry-run", "--ignore-installed", "--no-index", "--no-cache-dir", "--only-binary=:all:"]
        places = [f"--target={room}/nowhere", f"--find-links={folder}", f"--report={report}"]
        _pip(
            ["install", *options, *places, *target.options(), wanted, _PIP],
            f"The wheels in {folder} do not make an installation of {wanted} and pip for Python {target.python}",
            own_settings=False,
        )
        installs = json.loads(report.read_text("utf-8"))["install"]
    paths = [folder / unquote(one["download_info"]["url"].rpartition("/")[2]) for one in installs]
    return sorted(map(_wheel, paths), key=lambda one: one.name)


def _wheel(path: Path) -> Wheel:
    try:
        with zipfile.ZipFile(path) as file:
            [head] = [name for name in file.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
            said = email.parser.BytesParser(policy=email.policy.compat32).parsebytes(file.read(head))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is no whole wheel; get it again.") from error
    name = re.sub(r"[-_.]+", "-", str(said["Name"])).lower()
    return Wheel(path, name, str(said["Version"]), sha256(path), _licence(said))


def _licence(said: Message) -> dict[str, Any] | None:
    """What the metadata of a wheel say of its licence: the expression, else the name, else the classifiers."""
    if expression := said["License-Expression"]:
        return {"expression": str(expression)}
    name = str(said["License"] or "").strip()
    if not name or "\n" in name or len(name) > _LONGEST_LICENCE:
        classes = (str(one).split(" :: ") for one in said.get_all("Classifier", []))
        name = ", ".join(one[-1] for one in classes if one[0] == "License")
    return {"license": {"name": name}} if name else None


def _fetch(folder: Path, wanted: str, target: Target) -> None:
    """Put the wheels of `wanted` into `folder`: radlite's own from its checkout, the others from pip's index at the
    versions of this environment."""
    checkout, there = Path(radlite.__file__).parents[2], target.options()
    if (checkout / "pyproject.toml").is_file():
        _pip(
            ["wheel", "--no-deps", "--wheel-dir", str(folder), str(checkout)],
            f"The wheel of radlite cannot be built from {checkout}",
        )
    pins = folder / "constraints.txt"
    installed = {one.name: one.version for one in importlib.metadata.distributions()}
    pins.write_text("".join(f"{name}=={version}\n" for name, version in sorted(installed.items()) if name != "radlite"))
    try:
        # For a machine like this one, what has no wheel is built, an engine compiled for this CPU included.
        how = ["download", "--only-binary=:all:", f"--dest={folder}"] if there else ["wheel", f"--wheel-dir={folder}"]
        _pip(
            [*how, f"--find-links={folder}", f"--constraint={pins}", *there, wanted, _PIP],
            f"The wheels of {wanted} cannot be had from pip's index; where it lacks one, such as radlite's own, which "
            "pip wheel builds in a checkout, give a folder with all of them to --wheels",
        )
    finally:
        pins.unlink()


def _pip(arguments: list[str], failure: str, own_settings: bool = True) -> None:
    """Run pip of this environment; `UserError` that begins with `failure` and ends with pip's own words."""
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "NO_COLOR": "1"}
    environment.setdefault("SOURCE_DATE_EPOCH", str(_TIME))  # so that what is built is the same each time
    if not own_settings:
        environment = {name: value for name, value in environment.items() if not name.startswith("PIP_")}
        environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pip", *arguments, "--quiet"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode == 0:
        return
    if "No module named pip" in done.stderr:
        raise UserError(f"A bundle needs pip, which {sys.executable} lacks; run {sys.executable} -m ensurepip.")
    said = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
    raise UserError(f"{failure}: {shown((said or done.stderr.splitlines() or ['no reason given'])[0]).rstrip('.')}.")
