"""Claims about writing: whole or not at all, and one process at a time."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from radlite import files
from radlite.errors import UserError
from radlite.files import atomic_folder, exclusive, front_matter, read_json, read_text, write_json

_HOLDER = """
import sys, time
from pathlib import Path
from radlite.files import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def _filled(folder: Path, text: str) -> None:
    with atomic_folder(folder) as new:
        (new / "file").write_text(text)


def test_a_folder_takes_the_place_of_an_earlier_one_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    for text in ("one", "two"):
        _filled(tmp_path / "out", text)
    assert (tmp_path / "out" / "file").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_error_while_a_folder_is_filled_leaves_the_earlier_one(tmp_path: Path) -> None:
    _filled(tmp_path / "out", "one")
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "out") as new:
        (new / "file").write_text("half")
        raise ZeroDivisionError
    assert (tmp_path / "out" / "file").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"Cannot write .*file/out"), atomic_folder(tmp_path / "file" / "out"):
        pass


def test_a_place_is_for_one_process_at_a_time_and_free_when_that_dies(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True)
    assert holder.stdout and holder.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=r"Another radlite is writing to .*out"), exclusive(tmp_path / "out"):
        pass
    with exclusive(tmp_path / "other"):
        pass
    holder.kill()
    holder.communicate()
    with exclusive(tmp_path / "out"):
        pass


def test_a_device_or_a_pipe_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="is there and is no file"):
        write_json(tmp_path / "pipe", {})
    assert (tmp_path / "pipe").is_fifo()


def test_a_full_disk_is_told_by_its_name_even_if_the_library_does_not_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    for free, why in ((0, "No space left on device. Free some space"), (1 << 30, "OSError. Choose another")):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
        with pytest.raises(UserError, match=why), atomic_folder(tmp_path / "out"):
            raise OSError("3 requested and 0 written")


def test_json_with_half_of_a_surrogate_pair_is_written_and_read_again(tmp_path: Path) -> None:
    write_json(tmp_path / "made.json", {"file": "b\udce9.csv"})
    assert read_json(tmp_path / "made.json", "file") == {"file": "b\udce9.csv"}


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    pipe, text = tmp_path / "pipe", "No pleural effusion.\n" * 150_000
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(text,))
    writer.start()
    assert read_text(pipe, "report") == text
    writer.join()


def test_what_says_it_is_empty_is_read_to_its_end_too() -> None:
    status = Path("/proc/self/status")
    if not status.is_file():
        pytest.skip("only Linux has files that do not say their size")
    assert "VmSize" in read_text(status, "status")


def test_the_head_of_a_card_is_a_mapping_or_nothing(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_bytes(b"---\r\nlicense: other\r\ntags: [a]\r\n---\r\n# Title\n---\nmore: 1\n---\n")
    assert front_matter(card) == {"license": "other", "tags": ["a"]}
    for text in (
        "",
        "# Title\n---\na: 1\n---\n",
        "---\n- a\n---\n",
        "---\n{\n---\n",
        "---\na: 1\n",
        "---\n2000-99-99\n---",
    ):
        card.write_text(text)
        assert front_matter(card) == {}
    card.write_bytes(b"---\na: \xff\n---\n")
    assert front_matter(card) == {} == front_matter(tmp_path / "none") == front_matter(tmp_path)


def test_the_digest_of_a_big_file_is_remembered_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(files, "_BIG", 4)
    path = tmp_path / "model.gguf"
    path.write_bytes(b"12345678")
    known = tmp_path / "cache" / "radlite" / "digests.json"
    assert files.known_sha256(path) == files.sha256(path)
    known.write_text(known.read_text().replace(files.sha256(path), "remembered"))
    assert files.known_sha256(path) == "remembered"
    path.write_bytes(b"87654321")
    assert files.known_sha256(path) == files.sha256(path)
    for broken in ("{", "[]", json.dumps({str(path): 1})):
        known.write_text(broken)
        assert files.known_sha256(path) == files.sha256(path)
    known.unlink()
    known.mkdir()
    assert files.known_sha256(path) == files.sha256(path)
