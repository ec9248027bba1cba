"""The offline bundle: what is in it, what is refused, and that install.sh goes forward and back.

Most of it with stand-in wheels of a few lines; the slow test takes the true ones and cuts the network off.
"""

import base64
import ensurepip
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import radlite
from radlite import manifest
from radlite.errors import UserError
from radlite.export import gguf
from radlite.routing.router import Choice, Router
from radlite.server import bundle, settings
from radlite.server.bundle import Target
from radlite.serving.asking import demonstration
from tests.conftest import random_base
from tests.runtime import gguf_file
from tests.test_cli import complains
from tests.test_cli import radlite as run

MAIN = f"""
import sys, time

def main():
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        import alpha
        print("{radlite.__version__}")
        return
    assert arguments[0] == "read" and sys.stdin.read()
    if "mute.gguf" in arguments[-1]:
        raise SystemExit(1)
    if "slow.gguf" in arguments[-1]:
        time.sleep(600)
"""


DEPLOYED = ["radlite.service", "models.env", "Containerfile"]
"""Files of a bundle that set settings by the environment."""


def wheel(
    folder: Path, name: str, version: str, files: dict[str, str], head: str = "", tag: str = "py3-none-any"
) -> Path:
    """Write a wheel; a file `entry_points.txt` goes beside its metadata."""
    info = f"{name}-{version}.dist-info"
    inside = {
        **{f"{info}/{path}" if path == "entry_points.txt" else path: text for path, text in files.items()},
        f"{info}/METADATA": f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{head}\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    digests = {path: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()) for path, text in inside.items()}
    record = "".join(f"{path},sha256={digest.decode().rstrip('=')},\n" for path, digest in digests.items())
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as file:
        for where, text in {**inside, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            file.writestr(zipfile.ZipInfo(where), text)
    return path


def stand_ins(folder: Path) -> Path:
    """Wheels of a radlite that needs alpha, and of one that it does not need; and Python's own pip."""
    folder.mkdir()
    bundled = sorted((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
    if not bundled:
        pytest.skip("this Python comes without a wheel of pip, which an offline bundle needs")
    shutil.copy(bundled[0], folder)
    entry = {"entry_points.txt": "[console_scripts]\nradlite = radlite:main\n"}
    needs = "License-Expression: Apache-2.0\nRequires-Dist: alpha>=1"
    wheel(folder, "radlite", radlite.__version__, {"radlite.py": MAIN, **entry}, needs)
    wheel(folder, "alpha", "1.2", {"alpha.py": ""}, "License: MIT\nClassifier: License :: OSI Approved :: MIT License")
    wheel(folder, "unneeded", "1.0", {"unneeded.py": ""})
    return folder


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stand_ins(tmp_path_factory.mktemp("room") / "wheels")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demonstration model with a card."""
    path = tmp_path_factory.mktemp("models") / "chest.gguf"
    shutil.copy(demonstration(), path)
    path.with_name("README.md").write_text("---\nmodel-index: [{name: chest}]\n---\n# chest\n")
    return path


def named(model: Path, name: str, folder: Path) -> Path:
    shutil.copy(model, folder / name)
    return folder / name


@pytest.fixture(scope="module")
def packed(wheels: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> bundle.Bundle:
    return bundle.make(tmp_path_factory.mktemp("out") / "bundle.tar.gz", [model], wheels=wheels)


def unpacked(made: bundle.Bundle, folder: Path) -> Path:
    with tarfile.open(made.path) as file:
        file.extractall(folder, filter="data")
    [root] = folder.iterdir()
    return root


@pytest.fixture
def opened(packed: bundle.Bundle, tmp_path: Path) -> Path:
    return unpacked(packed, tmp_path / "opened")


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


# What is in it


def test_every_file_has_its_checksum_in_the_list_and_nothing_else_is_there(packed: bundle.Bundle, opened: Path) -> None:
    listed = dict(reversed(line.split("  ")) for line in (opened / "SHA256SUMS").read_text().splitlines())
    assert files(opened) == sorted([*listed, "SHA256SUMS"])
    for name, digest in listed.items():
        assert hashlib.sha256((opened / name).read_bytes()).hexdigest() == digest
    assert hashlib.sha256((opened / "SHA256SUMS").read_bytes()).hexdigest() == packed.sums
    assert hashlib.sha256(packed.path.read_bytes()).hexdigest() == packed.sha256
    assert "models/chest/chest.gguf" in listed and "models/chest/README.md" in listed


def test_the_same_inputs_give_the_same_bytes_and_owners_and_times_do_not_count(
    packed: bundle.Bundle, wheels: Path, model: Path, tmp_path: Path
) -> None:
    os.utime(model, (1, 1))
    again = bundle.make(tmp_path / "other name.tar.gz", [model], wheels=wheels)
    assert (again.sha256, again.sums) == (packed.sha256, packed.sums)
    with tarfile.open(again.path) as file:
        assert {(one.uid, one.gid, one.uname, one.mtime) for one in file} == {(0, 0, "", bundle._TIME)}


def test_only_wheels_that_are_needed_are_taken_and_pinned_by_hash(opened: Path, wheels: Path) -> None:
    names = [path.name.split("-")[0] for path in sorted((opened / "wheels").iterdir())]
    assert names == ["alpha", "pip", "radlite"]  # pip is run from its wheel, so it is not listed to be installed
    first, second = (opened / "requirements.txt").read_text().splitlines()
    digest = hashlib.sha256((wheels / "alpha-1.2-py3-none-any.whl").read_bytes()).hexdigest()
    assert first == f"alpha==1.2 --hash=sha256:{digest}"
    assert second.startswith(f"radlite=={radlite.__version__} --hash=sha256:")


def test_the_bill_of_materials_lists_wheels_and_models_with_hash_and_licence(opened: Path, model: Path) -> None:
    bill = json.loads((opened / "sbom.cdx.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    alpha, _, ours, weights = bill["components"]
    assert alpha["purl"] == "pkg:pypi/alpha@1.2" and alpha["licenses"] == [{"license": {"name": "MIT"}}]
    assert ours["licenses"] == [{"expression": "Apache-2.0"}]
    assert weights["type"] == "machine-learning-model"
    assert weights["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(model.read_bytes()).hexdigest()}]


def test_a_bundle_for_another_python_and_an_older_system_takes_the_wheels_of_these(
    wheels: Path, model: Path, tmp_path: Path
) -> None:
    there = tmp_path / "wheels"
    shutil.copytree(wheels, there)
    (there / "alpha-1.2-py3-none-any.whl").unlink()
    wheel(there, "alpha", "1.3", {"alpha.py": ""}, tag="cp399-cp399-manylinux_2_17_aarch64")
    wheel(there, "alpha", "1.4", {"alpha.py": ""}, tag="cp399-cp399-manylinux_2_34_aarch64")
    target = Target("3.99", ("manylinux_2_28_aarch64",))
    made = bundle.make(tmp_path / "bundle.tar", [model], wheels=there, target=target)
    assert {one.name: one.version for one in made.wheels}["alpha"] == "1.3"
    root = unpacked(made, tmp_path / "opened")
    assert (root / "VERSION").read_text() == f"radlite {radlite.__version__}\npython 3.99\nmachine aarch64\n"
    done = install(root, tmp_path / "opt")
    assert done.returncode == 2 and "This bundle is for Python 3.99" in done.stderr


def random_model(out: Path, tuned: bool) -> Path:
    """A GGUF with random weights, of a model called random or of one that radlite did not make."""
    folder = random_base("qwen3", out.parent / "base")
    if not tuned:
        return gguf_file.write(folder, out, {})
    manifest.write(folder, manifest.describe("merged", base={"name": "random"}))
    return gguf.write(folder, out, "F16")


def test_several_models_come_with_their_router_each_in_a_folder_of_its_own(
    wheels: Path, model: Path, tmp_path: Path
) -> None:
    other = random_model(tmp_path / "spine.gguf", tuned=True)
    (tmp_path / "README.md").write_text("Notes of mine, no card.\n")
    router = tmp_path / "which.json"
    choice = Choice("random", "accuracy", 0.9, 0.8, 1.0, 50, "best")
    Router({"m_staging": choice, "n_staging": replace(choice, model="tiny-qwen3")}).save(router)
    made = bundle.make(tmp_path / "bundle.tar", [model, other], router, wheels)
    root = unpacked(made, tmp_path / "opened")
    assert (root / "models.env").read_text() == (
        "RADLITE_MODEL=/opt/radlite/current/models/chest/chest.gguf,/opt/radlite/current/models/spine/spine.gguf\n"
        "RADLITE_ROUTER=/opt/radlite/current/models/router.json\n"
    )
    assert [name for name in files(root) if "README" in name] == ["models/chest/README.md"]
    with pytest.raises(UserError, match="Several models need a router"):
        bundle.make(tmp_path / "none.tar", [model, other], wheels=wheels)
    with pytest.raises(UserError, match="are both tiny-qwen3; give one of them"):
        bundle.make(tmp_path / "none.tar", [model, model], router, wheels)
    with pytest.raises(UserError, match="sends m_staging to random, which is not among the models"):
        bundle.make(tmp_path / "none.tar", [model], router, wheels)


def test_a_model_of_others_is_taken_only_where_that_is_meant_and_is_then_served(wheels: Path, tmp_path: Path) -> None:
    theirs = random_model(tmp_path / "theirs.gguf", tuned=False)
    with pytest.raises(UserError, match="add --any-model"):
        bundle.make(tmp_path / "none.tar", [theirs], wheels=wheels)
    done = run("bundle", tmp_path / "bundle.tar", "--model", theirs, "--wheels", wheels, "--any-model")
    assert done.returncode == 0, done.stderr
    with tarfile.open(tmp_path / "bundle.tar") as file:
        told = file.extractfile(f"radlite-{radlite.__version__}/models.env")
        assert told and told.read().decode().splitlines()[1] == "RADLITE_ANY_MODEL=true"


def test_the_settings_that_come_along_are_those_that_serve_prints_and_the_unit_sets_only_some(opened: Path) -> None:
    assert (opened / "radlite.toml").read_bytes() == run("serve", "--print-config").stdout
    assert settings.load(opened / "radlite.toml") == settings.Settings()
    set_there = re.findall(r"RADLITE_(\w+)", "".join((opened / name).read_text() for name in DEPLOYED))
    assert set(set_there) == {"STATE", "KEYS", "MODEL"} and {one.lower() for one in set_there} <= set(
        settings.Settings.model_fields
    )


# What is refused


@pytest.mark.parametrize("name", ["a b.gguf", "-rf.gguf", "$(id).gguf", "a\nb.gguf", "a,b.gguf", "größe.gguf", "x.bin"])
def test_a_name_that_a_shell_or_a_list_would_misread_is_refused(
    name: str, model: Path, wheels: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="rename it"):
        bundle.make(tmp_path / "bundle.tar", [named(model, name, tmp_path)], wheels=wheels)


@pytest.mark.parametrize(
    ("python", "platforms", "words"),
    [
        ("3.12; id", (), "no version of Python"),
        ("312", (), "no version of Python"),
        ("3.12", ("win_amd64",), "no platform"),
        ("3.12", ("--index-url=http://a_x86_64",), "no platform"),
        ("3.12", ("linux_x86_64", "linux_aarch64"), "different processors"),
    ],
)
def test_a_target_that_is_none_is_refused(python: str, platforms: tuple[str, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Target(python, platforms)


def test_a_file_that_is_no_model_is_refused(wheels: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(UserError, match="holds no GGUF"):
        bundle.make(tmp_path / "bundle.tar", [path], wheels=wheels)


def test_what_is_missing_among_the_wheels_is_named_and_nothing_is_left(
    wheels: Path, model: Path, tmp_path: Path
) -> None:
    there = tmp_path / "wheels"
    shutil.copytree(wheels, there)
    (there / "alpha-1.2-py3-none-any.whl").unlink()
    before = sorted(tmp_path.iterdir())
    done = run("bundle", tmp_path / "bundle.tar.gz", "--model", model, "--wheels", there)
    complains(done, "do not make an installation of radlite==", "alpha")
    (there / "alpha-1.2-py3-none-any.whl").write_bytes(b"no zip")
    for name, folder, extras, words in (
        ("b.tar.gz", there, (), "do not make an installation of radlite=="),
        ("bundle.zip", wheels, (), "no name for a bundle"),
        ("b.tar", tmp_path / "none", (), "is no folder"),
        ("b.tar", wheels, ("x] @ file:///etc",), "has no extra"),
    ):
        with pytest.raises(UserError, match=words):
            bundle.make(tmp_path / name, [model], wheels=folder, extras=extras)
    assert sorted(tmp_path.iterdir()) == before


def test_a_machine_without_an_index_is_told_to_bring_the_wheels(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("PIP_NO_INDEX", "1"), ("PIP_CONFIG_FILE", os.devnull), ("PIP_FIND_LINKS", str(tmp_path))):
        monkeypatch.setenv(name, value)
    complains(run("bundle", tmp_path / "bundle.tar", "--model", model), "The wheel of radlite cannot be built")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_changes_while_it_is_packed_makes_no_bundle(
    wheels: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = named(model, "chest.gguf", tmp_path)

    def meddle(what: str) -> None:
        if what.startswith("writing"):
            with path.open("r+b") as file:
                file.seek(-1, os.SEEK_END)
                file.write(b"\xff" if path.read_bytes()[-1] != 255 else b"\0")

    with pytest.raises(UserError, match="was changed while it was packed"):
        bundle.make(tmp_path / "bundle.tar", [path], wheels=wheels, told=meddle)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["chest.gguf"]


def test_the_command_tells_what_to_note(wheels: Path, model: Path, tmp_path: Path) -> None:
    done = run("bundle", tmp_path / "bundle.tar.gz", "--model", model, "--wheels", wheels)
    assert done.returncode == 0, done.stderr
    first, second, third = done.stdout.decode().splitlines()
    assert "3 wheels for Python" in first and "chest.gguf" in first
    assert second.split()[1] == hashlib.sha256((tmp_path / "bundle.tar.gz").read_bytes()).hexdigest()
    assert len(third.split()[1]) == 64


# Installing


def environment(home: Path) -> dict[str, str]:
    """Of a machine that has nothing of ours, with settings of pip that would lead astray."""
    home.mkdir(exist_ok=True)
    path = f"{Path(sys.base_prefix) / 'bin'}:/usr/bin:/bin:/usr/sbin"
    return {"PATH": path, "HOME": str(home), "PIP_INDEX_URL": "http://127.0.0.1:9/", "PYTHONPATH": "/nowhere"}


def install(root: Path, prefix: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(root / "install.sh"), "--prefix", str(prefix), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=environment(prefix.with_name("home")), cwd="/"
    )


def state(prefix: Path) -> tuple[str, ...]:
    """Where the links lead, and which versions are there."""
    links = [os.readlink(prefix / name) if (prefix / name).is_symlink() else "" for name in ("current", "previous")]
    return (*links, *sorted(path.name for path in (prefix / "versions").iterdir()))


@pytest.fixture(scope="module")
def installed(packed: bundle.Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prefix of an installation; the tests with it leave it as it was."""
    room = tmp_path_factory.mktemp("installed")
    done = install(unpacked(packed, room / "opened"), room / "opt")
    assert done.returncode == 0, done.stderr
    return room / "opt"


def test_what_is_installed_is_whole_and_names_its_own_place(
    packed: bundle.Bundle, opened: Path, installed: Path, tmp_path: Path
) -> None:
    here = installed / "current"
    done = subprocess.run([here / "bin" / "radlite", "--version"], env=environment(tmp_path / "home"))
    assert done.returncode == 0
    assert f"RADLITE_MODEL={here}/models/chest/chest.gguf\n" == (here / "models.env").read_text()
    unit = (here / "radlite.service").read_text()
    assert f"ExecStart={here}/bin/radlite serve " in unit and "/opt/radlite" not in unit.replace(str(installed), "")
    before = state(installed)
    assert before == (f"versions/{radlite.__version__}-{packed.sums[:12]}", "", before[2])
    assert install(opened, installed).returncode == 0 and state(installed) == before


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze to hold the unit against")
def test_systemd_takes_the_unit_and_finds_little_exposed(installed: Path) -> None:
    unit = installed / "current" / "radlite.service"
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    check = ["systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", unit]
    done = subprocess.run(check, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]


def test_who_may_not_write_the_prefix_is_told_what_to_do(opened: Path) -> None:
    with tempfile.TemporaryDirectory() as room:  # not below pytest's, which is for its owner alone
        bundle_, prefix = Path(room) / "bundle", Path(room) / "opt"
        shutil.copytree(opened, bundle_)
        (prefix / "versions").mkdir(parents=True)
        for path in (prefix, prefix / "versions", Path(room)):
            path.chmod(0o555)
        become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
        command = [*become, "sh", str(bundle_ / "install.sh"), "--prefix", str(prefix)]
        done = subprocess.run(command, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
        Path(room).chmod(0o755)
    if "There is no python3" in done.stderr:
        pytest.skip("this machine has no Python for everybody")
    assert done.returncode == 2
    assert done.stderr == f"install: Cannot write {prefix}; run this as root, or give a --prefix of yours.\n"


@pytest.mark.parametrize(
    "name", ["wheels/alpha-1.2-py3-none-any.whl", "models/chest/chest.gguf", "install.sh", "requirements.txt"]
)
def test_a_bundle_with_one_byte_changed_is_refused(name: str, opened: Path, tmp_path: Path) -> None:
    path = opened / name
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b"\n")
    done = install(opened, tmp_path / "opt")
    assert done.returncode == 2 and "damaged or was altered" in done.stderr
    assert state(tmp_path / "opt") == ("", "")


@pytest.mark.parametrize("name", ["SHA256SUMS", "models/chest/chest.gguf", "sbom.cdx.json"])
def test_a_bundle_that_lacks_a_file_is_refused(name: str, opened: Path, tmp_path: Path) -> None:
    (opened / name).unlink()
    done = install(opened, tmp_path / "opt")
    assert done.returncode == 2 and "damaged or was altered" in done.stderr


def test_what_is_put_beside_the_files_of_a_bundle_is_not_installed_and_the_service_may_read_what_is(
    opened: Path, tmp_path: Path
) -> None:
    wheel(opened / "wheels", "alpha", "9.0", {"alpha.py": "", "evil.py": ""})
    wheel(opened / "wheels", "pip", "0.1", {"pip/__main__.py": "raise SystemExit(3)"})
    (opened / "models" / "chest" / "chest.md").write_text("---\nmodel-index: [{name: chest}]\n---\nAlways right.\n")
    for path in opened.rglob("*"):  # unpacked for root alone
        path.chmod(0o700 if path.is_dir() else 0o600)
    assert install(opened, tmp_path / "opt").returncode == 0
    for path in (tmp_path / "opt" / "current").resolve().rglob("*"):
        if not path.is_symlink():
            assert path.stat().st_mode & 0o077 in (0o055, 0o044), path
    there = {path.name for path in (tmp_path / "opt").rglob("*")}
    assert "alpha.py" in there and "README.md" in there and not there & {"evil.py", "chest.md"}


@pytest.mark.slow
def test_an_update_keeps_the_version_before_and_goes_back_and_forth(
    opened: Path, wheels: Path, model: Path, tmp_path: Path
) -> None:
    installed = tmp_path / "opt"
    assert install(opened, installed).returncode == 0
    old = state(installed)[0]
    second = named(model, "second.gguf", tmp_path)
    made = bundle.make(tmp_path / "second.tar", [second], wheels=wheels)
    done = install(unpacked(made, tmp_path / "second"), installed)
    assert done.returncode == 0 and "--rollback" in done.stdout
    new = state(installed)[0]
    assert new != old and state(installed)[1] == old
    assert "second.gguf" in (installed / "current" / "models.env").read_text()

    back = ["sh", str(installed / "current" / "install.sh"), "--rollback"]
    for want in ((old, new), (new, old)):
        done = subprocess.run(back, capture_output=True, text=True, env=environment(tmp_path / "home"))
        assert done.returncode == 0, done.stderr
        assert state(installed)[:2] == want
    assert (installed / "current" / "models" / "second" / "second.gguf").is_file()

    third = bundle.make(tmp_path / "third.tar", [named(model, "third.gguf", tmp_path)], wheels=wheels)
    assert install(unpacked(third, tmp_path / "third"), installed).returncode == 0
    assert state(installed)[1] == new and len(state(installed)) == 4  # the oldest is gone


def test_a_version_that_does_not_answer_is_never_switched_to(
    installed: Path, wheels: Path, model: Path, tmp_path: Path
) -> None:
    before = state(installed)
    made = bundle.make(tmp_path / "mute.tar", [named(model, "mute.gguf", tmp_path)], wheels=wheels)
    done = install(unpacked(made, tmp_path / "mute"), installed)
    assert done.returncode == 2 and "mute.gguf does not answer on this machine" in done.stderr
    assert state(installed) == before
    done = install(tmp_path / "mute" / f"radlite-{radlite.__version__}", installed, "--rollback")
    assert done.returncode == 2 and "no version before" in done.stderr


@pytest.fixture
def hanging(installed: Path, wheels: Path, model: Path, tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """An installation of another version that waits for its model, in a group of its own."""
    made = bundle.make(tmp_path / "slow.tar", [named(model, "slow.gguf", tmp_path)], wheels=wheels)
    command = ["sh", str(unpacked(made, tmp_path / "slow") / "install.sh"), "--prefix", str(installed)]
    # A shell cannot trap what was ignored when it began, as Ctrl-C is in what runs in the background, tests too.
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, env=environment(tmp_path / "home"), start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stdout and b"Asking the model" in process.stdout.readline()
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, *(pytest.param(one, marks=pytest.mark.slow) for one in (signal.SIGTERM, signal.SIGINT))]
)
def test_an_installation_that_is_ended_changes_nothing_and_the_next_one_works(
    number: signal.Signals, hanging: "subprocess.Popen[bytes]", installed: Path, opened: Path
) -> None:
    current = state(installed)[0]
    done = install(opened, installed)
    assert done.returncode == 2 and "Another installation is at work" in done.stderr
    os.killpg(hanging.pid, number)
    assert hanging.wait(timeout=30) != 0
    assert state(installed)[:2] == (current, "")
    done = install(opened, installed)
    assert done.returncode == 0, done.stderr
    assert state(installed) == (current, "", current.removeprefix("versions/"))  # and what was half is gone


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--prefix", "relative"], "no absolute path"),
        (["--prefix", "/tmp/a b"], "characters other than"),
        (["--prefix", "/tmp/$(id)"], "characters other than"),
        (["--prefix"], "needs a value"),
        (["--python", "no-such-python"], "There is no no-such-python"),
        (["--force"], "I do not know --force"),
    ],
)
def test_a_wrong_argument_of_the_script_is_told(arguments: list[str], words: str, opened: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", str(opened / "install.sh"), *arguments],
        capture_output=True,
        text=True,
        env=environment(tmp_path / "home"),
    )
    assert done.returncode == 2 and words in done.stderr


# The true wheels, with the network cut off

ALONE = """
import fcntl, json, os, re, signal, socket, struct, subprocess, sys, time, urllib.request

root, prefix, report = sys.argv[1:]
with socket.socket() as it:  # the loopback device of the empty network is down at first
    fcntl.ioctl(it, 0x8914, struct.pack("16sh14x", b"lo", 1))
try:
    socket.create_connection(("192.0.2.1", 80), 5)
    sys.exit("there is a network")
except OSError as error:
    print("cut off:", error.strerror)
subprocess.run(["sh", root + "/install.sh", "--prefix", prefix, "--python", sys.executable], check=True, stdout=2)
program, model = prefix + "/current/bin/radlite", prefix + "/current/models/demonstration/demonstration.gguf"
read = [program, "read", report, "--task", "impression_generation", "--model", model]
print("read:", subprocess.run(read, check=True, capture_output=True, text=True).stdout.strip())
environment = {**os.environ, **dict(line.split("=", 1) for line in open(prefix + "/current/models.env").read().split())}
command = [program, "serve", "--config", prefix + "/current/radlite.toml", "--port", "0"]
server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
try:
    address = re.search("http://[0-9.:]+", server.stdout.readline())[0]
    for _ in range(600):
        try:
            with urllib.request.urlopen(address + "/ready", timeout=5) as answer:
                print("ready:", json.load(answer)["ready"])
                break
        except urllib.error.HTTPError:
            time.sleep(0.1)
    with urllib.request.urlopen(address + "/", timeout=5) as answer:
        print("page:", answer.headers["content-type"].partition(";")[0])
    server.send_signal(signal.SIGTERM)
    server.wait(60)
finally:
    server.kill()
print("stopped:", server.returncode)
"""


@pytest.mark.slow
def test_a_true_bundle_installs_reads_and_serves_where_there_is_no_network(tmp_path: Path) -> None:
    cut = ["unshare", "--map-root-user", "--net"]
    if not shutil.which("unshare") or subprocess.run([*cut, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets no one make a network of his own (unshare)")
    try:
        made = bundle.make(tmp_path / "bundle.tar", [demonstration()])
    except UserError as error:
        if "cannot be had from pip's index" in str(error) or "cannot be built" in str(error):
            pytest.skip(f"no wheels without an index: {error}")
        raise
    root = unpacked(made, tmp_path / "opened")
    report = tmp_path / "report.txt"
    report.write_text("EXAM: Chest radiograph.\nFINDINGS: Small left pleural effusion. No pneumothorax.\n")
    done = subprocess.run(
        [*cut, sys.executable, "-I", "-c", ALONE, str(root), str(tmp_path / "opt"), str(report)],
        capture_output=True,
        text=True,
        env=environment(tmp_path / "home"),
    )
    assert done.returncode == 0, done.stderr
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert said == {
        "cut off": "Network is unreachable",
        "read": "Small left pleural effusion.",
        "ready": "True",
        "page": "text/html",
        "stopped": "0",
    }
    assert "effusion" not in done.stderr
