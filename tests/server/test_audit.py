"""The audit log: whatever is done to it is found, whatever happens to its server is survived, and it holds no text."""

import csv
import datetime
import errno
import hashlib
import io
import itertools
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radlite.errors import UserError
from radlite.server import audit, chain
from radlite.server.audit import Audit, noted
from radlite.server.chain import HEAD, KEY
from radlite.server.verdict import Verdict, find, verify
from radlite.tasks import Reading

SECRET = "Mrs Example, born 1950, has a carcinoma of the left breast."


def wrote(folder: Path, entries: int, rotate: int = audit.ROTATE) -> Path:
    """A log with so many entries beside that which begins each file."""
    with Audit(folder, rotate) as log:
        for number in range(entries):
            log.add("answer", request=f"{number:032x}", seconds=number / 7)
    return folder


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of several files."""
    return wrote(tmp_path_factory.mktemp("state") / "audit", 12, rotate=1500)


@pytest.fixture
def copy(long: Path, tmp_path: Path) -> Path:
    shutil.copy(long.with_name(KEY), tmp_path / KEY)
    return Path(shutil.copytree(long, tmp_path / "audit"))


def lines(folder: Path) -> list[tuple[Path, int]]:
    """File and place of every line."""
    return [(path, at) for path in files(folder) for at in range(len(path.read_bytes().splitlines()))]


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("audit-*.jsonl"))


def entries(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in files(folder) for line in path.read_text().splitlines()]


def kinds(folder: Path) -> list[str]:
    return [entry["kind"] for entry in entries(folder)]


def faulty(folder: Path, *words: str, **given: Any) -> Verdict:
    """The verdict, which has to have a fault with these words."""
    found = verify(folder, **given)
    assert not found.sound
    assert any(all(word in fault for word in words) for fault in found.faults), found.faults
    return found


def test_each_line_holds_the_hash_of_the_line_before_and_its_own(long: Path) -> None:
    before = audit.BEGIN
    for number, (path, at) in enumerate(lines(long), start=1):
        line = path.read_bytes().splitlines()[at]
        entry = json.loads(line)
        assert (entry["number"], entry["before"]) == (number, before)
        without = line.replace(f',"hash":"{entry["hash"]}"'.encode(), b"")
        before = hashlib.sha256(without).hexdigest()
        assert entry["hash"] == before


def test_a_whole_log_is_sound_and_its_head_is_that_of_its_last_line(long: Path) -> None:
    found = verify(long)
    assert found.sound and not found.notes
    assert found.files == len(files(long)) > 2
    assert found.entries == 12 + found.files and found.kinds == {"answer": 12, "file": found.files}
    assert found.head == entries(long)[-1]["hash"] == json.loads((long / HEAD).read_text())["hash"]
    assert found.begun <= found.ended and found.begun.endswith("+00:00")


def test_each_file_begins_with_its_name_and_that_of_the_file_before(long: Path) -> None:
    names = ["", *(path.name for path in files(long))]
    firsts = [json.loads(path.read_text().splitlines()[0]) for path in files(long)]
    assert [(one["kind"], one["facts"]["after"], one["facts"]["name"]) for one in firsts] == [
        ("file", *pair) for pair in itertools.pairwise(names)
    ]


@given(data=st.data())
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_any_edit_of_any_byte_is_found(long: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(files(long)))
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda one: one != whole[at]))
    with changed(path, whole[:at] + bytes([byte]) + whole[at + 1 :]):
        assert not verify(long).sound


@given(data=st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_a_line_that_is_removed_is_found(long: Path, data: st.DataObject) -> None:
    path, at = data.draw(st.sampled_from(lines(long)))
    kept = path.read_bytes().splitlines(keepends=True)
    with changed(path, b"".join(kept[:at] + kept[at + 1 :])):
        assert not verify(long).sound


@given(data=st.data())
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_bytes_that_are_put_in_or_taken_out_are_found(long: Path, data: st.DataObject) -> None:
    """But for what a crash leaves, bytes without an end of line after the last line, which is noted."""
    path = data.draw(st.sampled_from(files(long)))
    whole = path.read_bytes()
    begin, end = sorted(data.draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
    put = data.draw(st.binary(max_size=5))
    content = whole[:begin] + put + whole[end:]
    with changed(path, content):
        found = verify(long)
        torn = content.startswith(whole) and b"\n" not in content[len(whole) :] and path == files(long)[-1]
        assert found.sound == (content == whole or torn)
        assert bool(found.notes) or found.sound == (content == whole)


@given(data=st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_a_line_that_is_there_twice_is_found(long: Path, data: st.DataObject) -> None:
    path, at = data.draw(st.sampled_from(lines(long)))
    other, to = data.draw(st.sampled_from(lines(long)))
    line, held = path.read_bytes().splitlines(keepends=True)[at], other.read_bytes().splitlines(keepends=True)
    with changed(other, b"".join([*held[:to], line, *held[to:]])):
        assert not verify(long).sound


@given(data=st.data())
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_two_lines_that_are_swapped_are_found(long: Path, data: st.DataObject) -> None:
    one, two = data.draw(st.lists(st.sampled_from(lines(long)), min_size=2, max_size=2, unique=True))
    held = {path: path.read_bytes().splitlines(keepends=True) for path in files(long)}
    held[one[0]][one[1]], held[two[0]][two[1]] = held[two[0]][two[1]], held[one[0]][one[1]]
    with changed(one[0], b"".join(held[one[0]])), changed(two[0], b"".join(held[two[0]])):
        assert not verify(long).sound


@given(data=st.data())
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_any_truncation_is_found_also_by_a_server_that_starts(long: Path, data: st.DataObject) -> None:
    last = files(long)[-1]
    whole = last.read_bytes()
    with changed(last, whole[: data.draw(st.integers(0, len(whole) - 1))]):
        faulty(long, "entries were removed")
        with pytest.raises(UserError, match="does not end where"):
            Audit(long)


def test_a_file_that_is_removed_is_found(copy: Path) -> None:
    for path in files(copy):
        whole = path.read_bytes()
        path.unlink()
        assert not verify(copy).sound
        path.write_bytes(whole)
    assert verify(copy).sound


def test_files_that_are_renamed_are_found(copy: Path) -> None:
    one, two, *_ = files(copy)
    one.rename(copy / "x")
    two.rename(one)
    (copy / "x").rename(two)
    faulty(copy, "does not say that it begins")


def test_an_edit_whose_own_hash_is_put_right_breaks_the_chain_after_it(copy: Path) -> None:
    path = files(copy)[0]
    first, second, *rest = path.read_bytes().splitlines(keepends=True)
    entry = json.loads(second)
    entry["facts"]["seconds"] = 99
    entry.pop("hash")
    path.write_bytes(b"".join([first, chain.line(entry)[0], *rest]))
    found = faulty(copy, "line 3", "does not follow")
    assert len(found.faults) == 1


def test_a_history_written_anew_is_found_by_a_head_noted_elsewhere(tmp_path: Path) -> None:
    folder = wrote(tmp_path / "audit", 5)
    noted = [entries(folder)[2]["hash"], verify(folder).head]
    assert verify(folder, noted).sound
    shutil.rmtree(folder)
    wrote(folder, 9)
    assert verify(folder).sound
    assert len(faulty(folder, "noted elsewhere", heads=noted).faults) == 2


def test_a_history_written_anew_without_the_key_is_found(copy: Path, tmp_path: Path) -> None:
    """All hashes fit together, and `HEAD` tells the new end: but it cannot be sealed."""
    before = chain.BEGIN
    for path in files(copy):
        made = b""
        for found in map(json.loads, path.read_text().splitlines()):
            body = {**found, "before": before, "facts": {**found["facts"], "seconds": 9}}
            body.pop("hash")
            line, before = chain.line(body)
            made += line
        path.write_bytes(made)
    for wrong in (b"x" * 32, chain.key(wrote(tmp_path / "other" / "audit", 1))):
        (copy / HEAD).write_bytes(chain.Head(len(entries(copy)), before, len(entries(copy))).line(wrong))
        faulty(copy, "not sealed with the key")
        with pytest.raises(UserError, match="put back the key"):
            Audit(copy)
    key = copy.with_name(KEY).rename(tmp_path / "key")
    found = verify(copy)
    assert found.sound and "no key" in found.notes[0]
    faulty(copy, "not sealed with the key", key=key)


def test_how_much_is_safe_cannot_be_lowered_to_hide_a_truncation(copy: Path) -> None:
    held = files(copy)[-1].read_bytes().splitlines(keepends=True)
    files(copy)[-1].write_bytes(b"".join(held[:-1]))
    said = json.loads((copy / HEAD).read_text())
    (copy / HEAD).write_bytes((json.dumps({**said, "synced": 0}).encode()).ljust(255) + b"\n")
    with pytest.raises(UserError, match="not sealed"):
        Audit(copy)


@pytest.mark.parametrize("kind", ["junk", "link", "pipe", "folder"])
def test_what_is_put_among_the_files_is_told_and_neither_followed_nor_removed(
    copy: Path, tmp_path: Path, kind: str
) -> None:
    last = files(copy)[-1]
    strange = copy / "audit-000999.jsonl" if kind == "junk" else last
    if kind != "junk":
        last.rename(tmp_path / "elsewhere")
    make = {"junk": strange.touch, "pipe": lambda: os.mkfifo(strange), "folder": strange.mkdir}
    make.get(kind, lambda: strange.symlink_to(tmp_path / "elsewhere"))()
    assert not verify(copy).sound
    with pytest.raises(UserError, match="does not end where"):
        Audit(copy)
    assert strange.is_symlink() or strange.exists()


def test_a_clock_that_was_put_back_is_noted(tmp_path: Path, monkeypatch: Any) -> None:
    folder = wrote(tmp_path / "audit", 2)

    class Past(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return cls(2001, 1, 1, tzinfo=tz)

    with monkeypatch.context() as patched:
        patched.setattr(audit.datetime, "datetime", Past)
        wrote(folder, 3)
    found = verify(folder)
    assert found.sound
    assert [note for note in found.notes if "clock" in note] == [found.notes[0]] and "line 4" in found.notes[0]


def test_an_id_says_that_this_log_made_it(tmp_path: Path) -> None:
    with Audit(tmp_path / "audit", 700) as log:
        ids = [log.add("answer", row=number) for number in range(6)]
        assert [(log.entry(id) or {})["facts"]["row"] for id in ids] == [*range(6)]
        assert [log.entry(wrong) for wrong in ("0" * 32, ids[0][:-1] + "g", "", f"{ids[0]}0")] == [None] * 4
        files(tmp_path / "audit")[0].unlink()  # archived
        assert log.entry(ids[0]) == {} and log.entry(ids[-1])
    with Audit(tmp_path / "other" / "audit") as other:
        assert other.entry(ids[0]) is None


def test_a_log_whose_first_files_were_archived_follows_a_given_hash(copy: Path) -> None:
    gone = files(copy)[0]
    last = json.loads(gone.read_text().splitlines()[-1])["hash"]
    gone.unlink()
    assert not verify(copy).sound
    assert verify(copy, after=last).sound
    with Audit(copy, 1500) as log:
        log.add("answer")
    assert verify(copy, after=last).sound


def test_an_archive_ends_where_it_was_noted(copy: Path) -> None:
    for path in [*files(copy)[2:], copy / HEAD]:
        path.unlink()
    end = entries(copy)[-1]["hash"]
    assert not verify(copy).sound
    assert verify(copy, last=end).sound
    faulty(copy, "is due", last=entries(copy)[-2]["hash"])


def test_a_missing_or_foreign_head_is_a_fault(copy: Path, tmp_path: Path) -> None:
    head = (copy / HEAD).read_bytes()
    for other in (b"", b"{}", b"[" * 100_000, head.replace(b'"synced"', b'"syncedd"'), b"\xff" * 192):
        (copy / HEAD).write_bytes(other)
        faulty(copy, "HEAD is missing or damaged")
        with pytest.raises(UserError, match="radlite audit verify"):
            Audit(copy)
    (copy / HEAD).unlink()
    faulty(copy, "HEAD is missing")
    shutil.copy(wrote(tmp_path / "other" / "audit", 3) / HEAD, copy / HEAD)
    faulty(copy, "HEAD is not sealed with the key audit.key")
    (copy / HEAD).write_bytes(chain.Head(2, "0" * 64).line(chain.key(copy)))
    faulty(copy, "is another one than HEAD says")


@pytest.mark.parametrize(
    "line",
    [b"\n", b"{}\n", b"[" * 60_000 + b"\n", b"\xff\xfe\n", b"1" * 200_000 + b"\n", b"null\n", b'{"number":1}\n'],
    ids=["empty", "no keys", "deep", "bytes", "long", "null", "one key"],
)
def test_a_line_of_another_kind_is_told_and_not_choked_on(copy: Path, line: bytes) -> None:
    path = files(copy)[0]
    first, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([first, line, *rest]))
    faulty(copy, f"{path.name} line 2", "edited or damaged")


def test_a_sealed_line_without_its_facts_is_a_fault(copy: Path) -> None:
    path = files(copy)[-1]
    for entry in ({"number": True}, {"kind": 1}, {"facts": []}):
        body = {"number": 1, "time": "", "kind": "torn", "id": "", "facts": {}, "before": "", **entry}
        whole = path.read_bytes()
        with changed(path, whole + chain.line(body)[0]):
            assert not verify(copy).sound


def test_a_killed_server_loses_no_entry_that_it_has_promised(tmp_path: Path) -> None:
    """The process ends at once in the midst of its work; what it had told is in the log, and the log goes on."""
    folder = tmp_path / "audit"
    code = (
        "import sys\nfrom pathlib import Path\nfrom radlite.server.audit import Audit\n"
        "log = Audit(Path(sys.argv[1]), 20000)\n"
        "while True:\n    print(log.add('answer', request='x'), flush=True)\n"
    )
    told = []
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", code, folder], stdout=subprocess.PIPE)
        assert process.stdout
        told += [process.stdout.readline().strip().decode() for _ in range(150)]
        process.send_signal(signal.SIGKILL)
        process.wait()
        told += [line for line in process.stdout.read().decode().split("\n") if len(line) == 32]
        process.stdout.close()
    there = [entry["id"] for entry in entries(folder)]
    assert set(told) <= set(there) and len(set(there)) == len(there)
    with Audit(folder) as log:
        log.add("start")
    assert verify(folder).sound


@pytest.mark.parametrize("cut", [1, 30, 120])
def test_a_line_that_a_crash_cut_short_is_dropped_and_noted(tmp_path: Path, cut: int) -> None:
    folder = wrote(tmp_path / "audit", 3)
    whole = files(folder)[-1].read_bytes()
    files(folder)[-1].write_bytes(whole + whole.splitlines()[-1][:cut])
    found = verify(folder)
    assert found.sound and "cut short" in found.notes[0]
    with Audit(folder) as log:
        log.add("answer")
    found = verify(folder)
    assert found.sound and f"{cut} bytes" in found.notes[0]
    assert kinds(folder) == ["file", *["answer"] * 3, "torn", "answer"]


def test_a_crash_between_line_and_head_is_no_fault(tmp_path: Path) -> None:
    folder = wrote(tmp_path / "audit", 3)
    head = (folder / HEAD).read_bytes()
    wrote(folder, 1)
    (folder / HEAD).write_bytes(head)
    found = verify(folder)
    assert found.sound and "behind the log by 1" in found.notes[0]
    wrote(folder, 1)
    assert verify(folder).sound and not verify(folder).notes
    assert kinds(folder) == ["file", *["answer"] * 5]


def test_what_a_loss_of_power_takes_is_found_and_then_noted_for_good(tmp_path: Path, monkeypatch: Any) -> None:
    """Entries that were not yet on the disk are gone; `HEAD` was written later than they, and knows of them."""
    monkeypatch.setattr(audit, "_SAFE_EVERY", 1000.0)
    folder = tmp_path / "audit"
    log = Audit(folder)
    for _ in range(3):
        log.add("answer")
    safe = log.head()
    kept = files(folder)[-1].read_bytes()
    for _ in range(2):
        log.add("answer")
    head = (folder / HEAD).read_bytes()
    log.close()
    files(folder)[-1].write_bytes(kept + b"\0" * 500)
    (folder / HEAD).write_bytes(head)
    faulty(folder, "ends with entry 4, HEAD with 6")
    wrote(folder, 1)
    found = verify(folder, [safe.hash])
    assert found.sound and "entries 5 to 6 were lost" in found.notes[-1] and "500 bytes" in found.notes[0]
    assert kinds(folder) == ["file", *["answer"] * 3, "torn", "lost", "answer"]


def test_a_crash_while_a_file_is_begun_is_survived(tmp_path: Path) -> None:
    folder = wrote(tmp_path / "audit", 6, rotate=1000)
    following = folder / f"audit-{len(files(folder)) + 1:06}.jsonl"
    following.write_bytes(b'{"number":')
    wrote(folder, 6, rotate=1000)
    assert verify(folder).sound and "torn" in kinds(folder)


def test_a_crash_in_the_first_line_of_all_is_survived(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    folder.mkdir()
    (folder / HEAD).touch()
    (folder / "audit-000001.jsonl").write_bytes(b'{"number":1,"ti')
    wrote(folder, 1)
    assert kinds(folder) == ["file", "answer"] and verify(folder).sound


def test_on_a_full_disk_nothing_is_answered_and_the_log_stays_whole(tmp_path: Path, monkeypatch: Any) -> None:
    log = Audit(tmp_path / "audit")
    log.add("answer")
    real = log._file

    class Full:
        """The file, on a disk with room for some bytes more."""

        def write(self, data: bytes) -> int:
            if real.tell() > 820:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real.write(data[:40])

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

    monkeypatch.setattr(log, "_file", Full())
    for _ in range(2):
        with pytest.raises(UserError, match=r"No space left on device\. Nothing is answered without its entry"):
            log.add("answer")
    assert verify(log._folder).sound and not verify(log._folder).notes
    monkeypatch.setattr(log, "_file", real)
    log.add("answer")
    log.close()
    assert verify(log._folder).sound and kinds(log._folder) == ["file", "answer", "answer"]


def test_a_disk_that_fails_to_keep_what_was_written_ends_the_answers(tmp_path: Path, monkeypatch: Any) -> None:
    log = Audit(tmp_path / "audit")
    log.add("answer")

    def fail(handle: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match="Input/output error"):
        log.sync()
    monkeypatch.undo()
    with pytest.raises(UserError, match="start again when the disk is sound"):
        log.add("answer")
    log.close()
    wrote(tmp_path / "audit", 1)
    assert verify(tmp_path / "audit").sound


def test_threads_share_a_log(tmp_path: Path) -> None:
    log = Audit(tmp_path / "audit", 4000)

    def work(name: int) -> None:
        for number in range(50):
            log.add("answer", request=f"{name}-{number}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    closer = threading.Thread(target=log.close)
    closer.start()
    closer.join()
    found = verify(tmp_path / "audit")
    assert found.sound and found.kinds["answer"] == 300 and found.files > 10
    wrote(tmp_path / "audit", 1)


def test_a_log_is_verified_while_it_is_written(tmp_path: Path) -> None:
    log, ending = Audit(tmp_path / "audit", 20_000), threading.Event()

    def work() -> None:
        while not ending.is_set():
            log.add("answer")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        found = [verify(tmp_path / "audit") for _ in range(20)]
    finally:
        ending.set()
        thread.join()
        log.close()
    assert [one.faults for one in found if not one.sound] == []


def test_a_head_that_is_read_while_it_is_written_is_read_again(copy: Path, monkeypatch: Any) -> None:
    key, whole = chain.key(copy), (copy / HEAD).read_bytes()
    half = whole.replace(b"0", b"1")
    given = [half, whole[:100], whole]
    monkeypatch.setattr(Path, "open", lambda path, mode="r": io.BytesIO(given.pop(0)))
    assert chain.head(copy, key) and not given


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    with Audit(tmp_path / "audit"), pytest.raises(UserError, match="Another radlite"):
        Audit(tmp_path / "audit")


def test_files_are_for_their_owner_only(long: Path) -> None:
    assert stat.S_IMODE(long.stat().st_mode) == 0o700
    for path in (*long.iterdir(), long.with_name(KEY)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_key_that_others_may_read_or_that_is_none_is_refused(copy: Path) -> None:
    copy.with_name(KEY).chmod(0o644)
    with pytest.raises(UserError, match="chmod 600"):
        Audit(copy)
    copy.with_name(KEY).chmod(0o600)
    copy.with_name(KEY).write_text("secret")
    with pytest.raises(UserError, match="no key"):
        Audit(copy)


def test_a_new_key_for_an_old_log_is_noted(copy: Path) -> None:
    copy.with_name(KEY).unlink()
    wrote(copy, 1)
    assert kinds(copy)[-2:] == ["key", "answer"] and verify(copy).sound
    assert "a new key was made" in verify(copy).notes[0]
    assert entries(copy)[-2]["facts"]["key"] != entries(copy)[0]["facts"]["key"]


def test_where_no_new_file_can_be_begun_nothing_is_answered(tmp_path: Path) -> None:
    with Audit(tmp_path / "audit", rotate_bytes=700) as log:
        log.add("answer")
        (tmp_path / "audit" / "audit-000002.jsonl").mkdir()
        with pytest.raises(UserError, match="Nothing is answered without its entry"):
            for _ in range(3):
                log.add("answer")
        (tmp_path / "audit" / "audit-000002.jsonl").rmdir()
        log.add("answer")
    assert verify(tmp_path / "audit").sound and verify(tmp_path / "audit").files == 2


def test_an_answer_is_logged_without_any_text(tmp_path: Path) -> None:
    reading = Reading(
        "radiology_qa", "ok", None, "a carcinoma", model="m", wording="w", warnings=("x",), seconds=1.23456
    )
    inputs = {"report": f"  {SECRET}\n", "question": "What is there?"}
    with Audit(tmp_path / "audit") as log:
        made = log.answer(noted(reading, inputs, log.digest), "r" * 32, "ris", "m", "ab" * 32, "s")
        digest = log.digest(SECRET)
        log.review("b" * 32, made, "radiology_qa", "correct", "ris", corrected="No carcinoma.")
    entry = entries(tmp_path / "audit")[1]
    assert entry["id"] == made and len(made) == 32
    assert entry["facts"] == {
        "request": "r" * 32,
        "row": None,
        "user": "ris",
        "task": "radiology_qa",
        "system": None,
        "inputs": {"report": digest, "question": entry["facts"]["inputs"]["question"]},
        "wording": "w",
        "model": {"name": "m", "sha256": "ab" * 32},
        "settings": "s",
        "answer": entry["facts"]["answer"],
        "status": "ok",
        "stop_reason": "",
        "warnings": 1,
        "seconds": 1.235,
    }
    review = entries(tmp_path / "audit")[2]["facts"]
    assert (review["answer"], review["action"], len(review["corrected"])) == (made, "correct", 64)
    text = files(tmp_path / "audit")[0].read_text()
    assert "carcinoma" not in text and "What" not in text
    # A plain hash of a short text could be guessed.
    assert hashlib.sha256(b"a carcinoma").hexdigest() not in text


def test_the_same_text_has_another_digest_under_another_key(tmp_path: Path) -> None:
    digests = []
    for name in ("a", "b"):
        with Audit(tmp_path / name / "audit") as log:
            digests.append(log.digest("N2"))
    assert digests[0] != digests[1]


def test_the_entries_of_a_report_are_found_by_whoever_has_it_and_the_key(tmp_path: Path) -> None:
    with Audit(tmp_path / "audit") as log:
        for text in (SECRET, "another report", SECRET):
            log.answer(noted(Reading("m_staging", "ok", None, "M0"), {"report": text}, log.digest), "r")
    assert [one["number"] for one in find(tmp_path / "audit", f"{SECRET}\n")] == [2, 4]
    assert list(find(tmp_path / "audit", "a third report")) == []
    (tmp_path / KEY).unlink()
    with pytest.raises(UserError, match="key of the audit log"):
        list(find(tmp_path / "audit", SECRET))


def test_facts_that_are_too_long_or_no_json_write_nothing(tmp_path: Path) -> None:
    with Audit(tmp_path / "audit") as log:
        for wrong in ("x" * 70_000, float("nan"), b"bytes"):
            with pytest.raises((ValueError, TypeError)):
                log.add("answer", wrong=wrong)
        log.add("answer")
    assert verify(tmp_path / "audit").sound and kinds(tmp_path / "audit") == ["file", "answer"]


def test_a_closed_log_takes_no_entry(tmp_path: Path) -> None:
    log = Audit(tmp_path / "audit")
    log.close()
    log.close()
    with pytest.raises(UserError, match="closed"):
        log.add("answer")


class changed:
    """A file with another content for a while."""

    def __init__(self, path: Path, content: bytes) -> None:
        self.path, self.content = path, content

    def __enter__(self) -> None:
        self.before = self.path.read_bytes()
        self.path.write_bytes(self.content)

    def __exit__(self, *_: object) -> None:
        self.path.write_bytes(self.before)


def radlite(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from radlite.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_command_line_says_whether_a_log_is_whole(copy: Path) -> None:
    head = entries(copy)[-1]["hash"]
    done = radlite("audit", "verify", copy, "--head", head)
    assert done.returncode == 0, done.stderr
    assert f"Head: {head}\nThe log is whole.\n" in done.stdout and "12 answer" in done.stdout
    assert radlite("audit", "verify", copy, "--key", copy.with_name("none")).returncode == 2
    path = files(copy)[0]
    path.write_bytes(path.read_bytes().replace(b'"seconds":0.0', b'"seconds":9.0', 1))
    done = radlite("audit", "verify", copy)
    assert done.returncode == 1
    assert "FAULT: audit-000001.jsonl line 2 is edited or damaged." in done.stdout
    assert done.stdout.endswith("The log is NOT whole.\n")
    found = json.loads(radlite("audit", "verify", copy, "--json").stdout)
    assert not found["sound"] and found["faults"]


def test_what_a_forged_line_holds_is_not_obeyed_by_a_terminal(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    with Audit(folder) as log:
        log.add("torn\x1b[2J\nThe log is whole.", bytes="\x1b[2J")
        log.add("torn", bytes="\x1b[2J\n")
    done = radlite("audit", "verify", folder)
    assert "\x1b" not in done.stdout and done.stdout.count("\nThe log is whole.") == 1


def test_the_command_line_finds_the_answers_to_a_report(tmp_path: Path) -> None:
    with Audit(tmp_path / "audit") as log:
        made = log.answer(noted(Reading("m_staging", "ok", None, "M0"), {"report": SECRET}, log.digest), "r")
    (tmp_path / "report.txt").write_text(SECRET)
    done = radlite("audit", "find", tmp_path / "audit", tmp_path / "report.txt")
    assert json.loads(done.stdout)["id"] == made


def test_the_command_line_lists_what_has_an_id_in_it_or_all_as_json_or_csv(tmp_path: Path) -> None:
    with Audit(tmp_path / "audit") as log:
        made = log.answer(noted(Reading("m_staging", "ok", None, "M0"), {"report": SECRET}, log.digest), "r", "=ris")
        log.review("b" * 32, made, "m_staging", "accept")
        log.add("stop")
    done = radlite("audit", "find", tmp_path / "audit", "--id", f"urn:uuid:{uuid.UUID(made)}")
    assert [json.loads(line)["kind"] for line in done.stdout.splitlines()] == ["answer", "review"]
    (tmp_path / KEY).unlink()  # an auditor has none
    done = radlite("audit", "find", tmp_path / "audit", "--csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["kind"] for row in rows] == ["file", "answer", "review", "stop"]
    assert (rows[1]["user"], rows[1]["task"], rows[2]["action"]) == ("'=ris", "m_staging", "accept")
    assert json.loads(rows[1]["facts"])["status"] == rows[1]["status"] == "ok"
    done = radlite("audit", "find", tmp_path / "audit", "-", "--id", made)
    assert done.returncode == 2 and "give one of them" in done.stderr


def test_a_folder_without_a_log_is_told_in_one_sentence(tmp_path: Path) -> None:
    for verb in (["verify", tmp_path], ["verify", tmp_path / "none"], ["find", tmp_path]):
        done = radlite("audit", *verb)
        assert done.returncode == 2 and "has no audit log; give the folder audit" in done.stderr
        assert len(done.stderr.splitlines()) == 1
