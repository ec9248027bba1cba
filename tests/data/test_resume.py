"""A build that is cut off goes on, and ends as if nothing had happened; the number of processes changes nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from radlite.data.build import build
from radlite.data.sources import SOURCES
from radlite.data.sources.sample import source
from tests.data.shapes import mimic_cxr

SCRIPT = """
import sys
from pathlib import Path
from radlite.data.build import build
from radlite.data.sources.sample import source
if __name__ == "__main__":
    build({"sample": None}, Path(sys.argv[1]), known={"sample": source(%r)}, workers=2)
"""
COUNTS = {"train": 500, "validation": 40, "test": 40}


def digests(folder: Path) -> dict[str, str]:
    made = json.loads((folder / "corpus.json").read_text())
    return {name: entry["sha256"] for name, entry in made["files"].items()}


def whole(folder: Path) -> dict[str, str]:
    build({"sample": None}, folder, known={"sample": source(COUNTS)}, workers=1)
    return digests(folder)


def test_a_killed_build_goes_on_with_its_pieces_and_gives_the_same_files(tmp_path: Path) -> None:
    script = tmp_path / "build.py"
    script.write_text(SCRIPT % COUNTS)
    out, room = tmp_path / "killed", tmp_path / ".killed.building"
    process = subprocess.Popen([sys.executable, str(script), str(out)], start_new_session=True)
    try:
        while not list(room.glob("*.npz")):
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not out.exists() and not (room / "sample.json").exists()
    kept = {path.name: path.stat().st_mtime_ns for path in room.glob("*.npz")}
    build({"sample": None}, out, known={"sample": source(COUNTS)}, workers=1, seed=0)
    assert digests(out) == whole(tmp_path / "whole")
    assert kept and not room.exists()


@pytest.mark.slow
def test_pieces_of_a_killed_build_are_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import radlite.data.spool as spool

    made, lay_one = [], spool._lay

    def counted(path: Path, rows: object) -> None:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(path.name)
        lay_one(path, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(spool, "_lay", counted)
    arguments = {"known": {"sample": source(COUNTS)}, "workers": 1}
    with pytest.raises(KeyboardInterrupt):
        build({"sample": None}, tmp_path / "c", **arguments)  # type: ignore[arg-type]
    first, made[:] = made[:], ["", "", ""]
    build({"sample": None}, tmp_path / "c", **arguments)  # type: ignore[arg-type]
    assert len(first) == 2 and not set(first) & set(made)
    assert digests(tmp_path / "c") == whole(tmp_path / "whole")


def test_a_changed_file_makes_an_interrupted_build_begin_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import radlite.data.build as module

    files = tmp_path / "files"
    files.mkdir()
    mimic_cxr.write(files)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "_split", stop)
        with pytest.raises(KeyboardInterrupt):
            build({"mimic_cxr": files}, tmp_path / "c")
    before = (tmp_path / ".c.building" / "mimic_cxr.json").read_text()
    mimic_cxr.write(files, count=30, seed=5)
    made = build({"mimic_cxr": files}, tmp_path / "c")
    assert made["sources"]["mimic_cxr"]["files"] != json.loads(before)["files"]


def test_the_number_of_processes_does_not_change_a_byte(tmp_path: Path) -> None:
    one, two = (tmp_path / str(workers) for workers in (1, 2))
    for workers, out in enumerate((one, two), start=1):
        build({"sample": None}, out, known={"sample": source(COUNTS)}, workers=workers)
    assert digests(one) == digests(two)
    first, second = (json.loads((out / "corpus.json").read_text()) for out in (one, two))
    assert {**first, "created": ""} == {**second, "created": ""}


@pytest.mark.slow
def test_a_killed_worker_is_told_and_its_work_is_made_good(tmp_path: Path) -> None:
    out, room = tmp_path / "c", tmp_path / ".c.building"
    script = tmp_path / "build.py"
    script.write_text(SCRIPT % COUNTS)
    process = subprocess.Popen([sys.executable, str(script), str(out)], stderr=subprocess.PIPE)
    own = psutil.Process(process.pid)
    while not (workers := [one for one in own.children() if "spawn_main" in " ".join(one.cmdline())]):
        assert process.poll() is None
        time.sleep(0.02)
    workers[-1].kill()
    _, said = process.communicate(timeout=100)
    assert process.returncode and b"goes on where it stopped" in said and room.is_dir()
    assert whole(out) == whole(tmp_path / "whole")


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, marks=pytest.mark.slow),
    ],
)
def test_a_build_that_is_ended_leaves_no_process_and_nothing_half_written(number: int, tmp_path: Path) -> None:
    out, room = tmp_path / "c", tmp_path / ".c.building"
    run = [sys.executable, "-c", "from radlite.cli import main; main()"]
    command = [*run, "data", "build", "--source", "sample", "--workers", "2", "--out", str(out)]
    # Under nohup, as tests may run, a hang-up is to be ignored.
    process = subprocess.Popen(command, stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(number, signal.SIG_DFL)
                               if number != signal.SIGKILL else None)  # fmt: skip
    own = psutil.Process(process.pid)
    while not (len(list(room.glob("*.npz"))) > 1 and (started := own.children(recursive=True))):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=100)
    if number == signal.SIGKILL:
        assert process.returncode == -number
    else:
        assert process.returncode == 128 + number and said == b""
    assert psutil.wait_procs(started, timeout=60)[1] == []
    assert not out.exists() and list(tmp_path.glob("*.part")) == []


@pytest.mark.slow
def test_a_second_ctrl_c_does_not_cut_off_what_the_first_puts_in_order(tmp_path: Path) -> None:
    out, room = tmp_path / "c", tmp_path / ".c.building"
    run = [sys.executable, "-c", "from radlite.cli import main; main()"]
    command = [*run, "data", "build", "--source", "sample", "--workers", "2", "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    own = psutil.Process(process.pid)
    while not (len(list(room.glob("*.npz"))) > 1 and (started := own.children(recursive=True))):
        assert process.poll() is None
        time.sleep(0.02)
    for _ in range(3):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.05)
    _, said = process.communicate(timeout=100)
    assert process.returncode == 130 and b"Traceback" not in said
    assert psutil.wait_procs(started, timeout=60)[1] == [] and not out.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_check_that_is_ended_leaves_no_text_behind(number: int, tmp_path: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()
    build({"sample": None}, tmp_path / "c", known={"sample": source({"train": 1000})}, workers=2)
    run = [sys.executable, "-c", "from radlite.cli import main; main()"]
    command = [*run, "data", "check", str(tmp_path / "c"), "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, "TMPDIR": str(room)})
    while not list(room.rglob("*.npz")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    process.communicate(timeout=100)
    assert process.returncode == 128 + number and list(room.rglob("*.parquet")) == []


def test_what_a_killed_build_had_begun_to_write_is_removed_by_the_next(tmp_path: Path) -> None:
    half, other = tmp_path / ".c.abcd1234.part", tmp_path / ".c.d.abcd1234.part"
    for folder in (half, other):
        (folder / "c").mkdir(parents=True)
    build({"sample": None}, tmp_path / "c", known={"sample": source({"train": 5})}, workers=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, "c"]


@pytest.mark.parametrize("name", ["c", "link/c", "linked"])
def test_two_builds_into_one_place_are_refused_under_any_of_its_names(name: str, tmp_path: Path) -> None:
    from radlite.errors import UserError
    from radlite.files import exclusive

    (tmp_path / "real").mkdir()
    for link, target in (("link", "real"), ("linked", "real/c")):
        (tmp_path / link).symlink_to(tmp_path / target)
    with exclusive(tmp_path / "real" / "c"), pytest.raises(UserError, match="Another radlite"):
        place = tmp_path / ("real/c" if name == "c" else name)
        build({"sample": None}, place, known={"sample": SOURCES["sample"]})
