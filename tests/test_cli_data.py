"""`radlite data` as a real process: sources told, built, checked, shown; one sentence for what is wrong."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from radlite.data import corpus
from radlite.data.sources import SOURCES
from radlite.files import sha256, write_json
from radlite.tasks import TASKS
from tests.data.rows import row
from tests.data.shapes import mimic_cxr, radnlp2024
from tests.test_cli import complains, radlite


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of two sources, built by the command."""
    room = tmp_path_factory.mktemp("built")
    for name, write in (("mimic_cxr", mimic_cxr.write), ("radnlp2024", radnlp2024.write)):
        (room / name).mkdir()
        write(room / name)
    given = [f"--source={name}={room / name}" for name in ("mimic_cxr", "radnlp2024")]
    done = radlite("data", "build", *given, "--out", room / "corpus", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert b"impression_generation: " in done.stdout and b"left out of mimic_cxr" in done.stdout
    return room / "corpus"


def test_the_list_names_licence_access_tier_tasks_and_citation_of_every_source() -> None:
    said = radlite("data", "list").stdout.decode()
    listed = json.loads(radlite("data", "list", "--json").stdout)
    assert [one["name"] for one in listed] == list(SOURCES)
    for one in listed:
        assert all(one[fact] for fact in ("title", "licence", "access", "tier", "citation", "tasks", "how_to"))
        assert all(one[fact] in said for fact in ("name", "licence", "access", "tier", "citation"))


@pytest.mark.parametrize("name", SOURCES)
def test_how_tells_the_steps(name: str) -> None:
    source = SOURCES[name]
    steps = source.how_to.splitlines()
    assert source.access == "generated" or [step[:2] for step in steps] == [f"{n}." for n in range(1, len(steps) + 1)]
    assert source.access == "generated" or f"radlite data build --source {name}=FOLDER" in source.how_to
    if name in ("mimic_cxr", "radnlp2024"):
        said = radlite("data", "how", name).stdout.decode()
        assert source.how_to in said and ("data pull" in said) == bool(source.hub)


def test_a_restricted_source_is_never_pulled(tmp_path: Path) -> None:
    for name, source in SOURCES.items():
        assert not source.hub or source.access == "open", name
    complains(radlite("data", "pull", "mimic_cxr", tmp_path / "x"), "cannot be pulled", "radnlp2024")
    assert not (tmp_path / "x").exists()


def test_a_sound_corpus_is_called_so_and_a_leaking_one_named_row_by_row(built: Path, tmp_path: Path) -> None:
    done = radlite("data", "check", built)
    assert done.returncode == 0 and b"no patient, no text and no near-duplicate" in done.stdout
    said = [f"w{number}" for number in range(60)]
    rows = [
        row("held", split="test", inputs={"report": " ".join(said)}),
        row("near", split="train", inputs={"report": " ".join([*said[:-1], "end"])}),
        row("kin", split="train", patient="patient held"),
        row("same", split="validation", inputs={"report": " ".join(said).upper()}),
        row("fine", split="train"),
    ]
    leaking = tmp_path / "leaking"
    corpus.write(leaking, rows[:1], {})
    for split in ("train", "validation"):
        part = leaking / "n_staging" / f"{split}.parquet"
        other = tmp_path / split
        corpus.write(other, [one for one in rows if one.split == split], {})
        part.write_bytes((other / "n_staging" / f"{split}.parquet").read_bytes())
    made = corpus.describe(leaking)
    for part in sorted((leaking / "n_staging").iterdir()):
        made["files"][f"n_staging/{part.name}"] = {"rows": 1, "sha256": sha256(part)}
    write_json(leaking / "corpus.json", made)
    done = radlite("data", "check", leaking, "--json")
    found = {(one["kind"], one["split"], one["id"]) for one in json.loads(done.stdout)}
    assert done.returncode == 1
    assert found == {("near-duplicate", "train", "near"), ("patient", "train", "kin"), ("text", "validation", "same")}
    assert b"near: its near-duplicate is also in a stronger split" in radlite("data", "check", leaking).stdout


def test_rows_are_shown_as_the_model_sees_them_of_one_source_by_pattern_or_at_random(built: Path, base: Path) -> None:
    shown = radlite("data", "show", built, "--base", base, "--source", "radnlp2024", "--count", "2").stdout.decode()
    assert shown.count("[TASK: ") == 2 and "_staging]" in shown
    chest = radlite("data", "show", built, "--base", base, "--grep", "(?i)effusion", "--count", "50").stdout.decode()
    assert chest.count("[TASK: ") == sum("ffusion" in part for part in chest.split("tokens, ")[1:]) > 0
    one, two, other = (
        radlite("data", "show", built, "--base", base, "--random", "3", "--seed", seed).stdout for seed in (1, 1, 2)
    )
    assert one == two != other and one.count(b"[TASK: ") == 3
    complains(radlite("data", "show", built, "--base", base, "--source", "none"), "no source 'none'", "mimic_cxr")
    complains(radlite("data", "show", built, "--base", base, "--grep", "("), "no regular expression")


def test_what_a_row_holds_is_shown_and_not_obeyed(tmp_path: Path, base: Path) -> None:
    hostile = row("[red]id[/x] \x1b[2J", split="train", inputs={"report": "[bold]Nodes[/nothing] \x1b[31m seen."})
    corpus.write(tmp_path / "c", [hostile], {})
    shown = radlite("data", "show", tmp_path / "c", "--base", base)
    assert shown.returncode == 0 and b"\x1b" not in shown.stdout
    assert b"[red]id[/x] \\x1b[2J" in shown.stdout and b"[bold]Nodes[/nothing] \\x1b[31m seen." in shown.stdout


def test_pictures_and_hints_of_a_corpus(built: Path, tmp_path: Path) -> None:
    done = radlite("data", "stats", built, "--out", tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    written = [Path(line) for line in done.stdout.decode().splitlines()]
    assert written[0] == tmp_path / "page.html" and all(path.is_file() for path in written) and len(written) > 3
    told = json.loads(radlite("data", "hints", built, "--json").stdout)
    assert told.keys() == {"mimic_cxr", "radnlp2024"}
    assert b"no guarantee" in radlite("data", "hints", built).stdout


def test_wrong_input_gets_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "c"
    complains(radlite("data", "build", "--source", "nothing=x", "--out", out), "nothing")
    complains(radlite("data", "build", "--source", "mimic_cxr", "--out", out), "radlite data how mimic_cxr")
    (tmp_path / "files").mkdir()
    mimic_cxr.write(tmp_path / "files")
    page = "<!DOCTYPE html><html>Log in</html>"
    (tmp_path / "files" / "mimic_cxr_sectioned.csv").write_text(page)
    done = radlite("data", "build", "--source", f"mimic_cxr={tmp_path / 'files'}", "--out", out)
    complains(done, "mimic_cxr_sectioned.csv is a web page", "study, impression, findings")
    complains(radlite("data", "check", tmp_path), "not a corpus")
    complains(radlite("data", "how", "nobody"), "no source 'nobody'")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files"]


def test_malformed_rows_are_listed_and_more_of_them_can_be_put_up_with(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    mimic_cxr.write(files)
    with (files / "mimic_cxr_sectioned.csv").open("a") as file:
        file.write("study without a number,A,B,,\n" * 4)
    given = ("data", "build", "--source", f"mimic_cxr={files}", "--out", tmp_path / "c")
    complains(radlite(*given), "rows of mimic_cxr are malformed", "--max-malformed")
    done = radlite(*given, "--max-malformed", "0.2")
    assert done.returncode == 0 and b"malformed in mimic_cxr: 4 of" in done.stdout
    listed = corpus.describe(tmp_path / "c")["sources"]["mimic_cxr"]["malformed"]
    assert {(one["file"], one["why"]) for one in listed} == {
        ("mimic_cxr_sectioned.csv", "study is no s and eight digits")
    }


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of a hub as a snapshot of one data set needs."""

    files: dict[str, bytes]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        name = path.rpartition("/")[2]
        if "/tree/" in path:
            tree = [{"type": "file", "path": one, "size": len(self.files[one]), "oid": "0" * 40} for one in self.files]
            body = json.dumps(tree).encode()
        elif path.startswith("/api/datasets/"):
            body = json.dumps(
                {"id": "x/y", "sha": "0" * 40, "siblings": [{"rfilename": one} for one in self.files]}
            ).encode()
        elif name in self.files:
            body = self.files[name]
        else:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", f'"{name}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    radnlp2024.write(tmp_path)
    Hub.files = {path.name: path.read_bytes() for path in tmp_path.glob("*.csv")} | {"japanese_train.csv": b"x"}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_an_open_source_is_pulled_from_a_hub_and_built(
    hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    done = radlite("data", "pull", "radnlp2024", tmp_path / "got")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "got").glob("*.csv")) == sorted(
        set(Hub.files) - {"japanese_train.csv"}
    )
    built = radlite("data", "build", "--source", f"radnlp2024={tmp_path / 'got'}", "--out", tmp_path / "c")
    assert built.returncode == 0 and b"n_staging" in built.stdout


def test_a_hub_that_is_not_there_is_told_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    complains(radlite("data", "pull", "radnlp2024", tmp_path / "got"), "HF_ENDPOINT", "radlite data how radnlp2024")


@pytest.mark.slow
def test_the_sample_source_builds_and_shows_every_task(tmp_path: Path, base: Path) -> None:
    done = radlite("data", "build", "--source", "sample", "--out", tmp_path / "corpus")
    assert done.returncode == 0, done.stderr
    for task in TASKS:
        assert pq.read_table(tmp_path / "corpus" / task / "train.parquet").num_rows > 100
    shown = radlite("data", "show", tmp_path / "corpus", "--task", "m_staging", "--base", base, "--count", "1")
    assert b"[TASK: m_staging]" in shown.stdout
