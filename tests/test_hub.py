"""Models from and to the hub, against a stand-in that speaks its requests on loopback."""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import huggingface_hub.constants
import numpy as np
import pytest

from radlite import hub, manifest
from radlite.demo import base_folder
from radlite.errors import UserError
from radlite.files import front_matter, sha256
from radlite.hub import parcel, pull, push
from tests import hub_server
from tests.hub_server import TOKEN, Hub
from tests.test_cli import complains

# Of the client, about a library of its own.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

BASE = base_folder("tiny-qwen3")
WEIGHTS = "model.safetensors"
NAME = "someone/tiny"


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An empty hub, which the client in this process asks with an empty cache, without a token."""
    found, server = hub_server.start()
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", found.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{found.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    yield found
    server.shutdown()
    server.server_close()


def adapter(folder: Path, **facts: Any) -> Path:
    """An adapter folder as training writes it, with a matrix of one number."""
    folder.mkdir(parents=True)
    table = json.dumps({"base_model.model.a.lora_A.weight": {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}})
    weights = len(table).to_bytes(8, "little") + table.encode() + np.ones(1, "<f4").tobytes()
    (folder / "adapter_model.safetensors").write_bytes(weights)
    settings = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "base_model_name_or_path": "/home/me/secret/base"}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    (folder / "log.jsonl").write_text("{}\n")
    (folder / "excluded.json").write_text('[{"id": "patient-17"}]\n')
    sources = [{"source": "sample", "title": "Synthetic", "access": "generated", "licence": "Apache-2.0", "rows": 3}]
    usual = {
        "base": "/home/me/secret/base", "base_hash": "0", "template_hash": "0", "base_model": "Qwen/Qwen3-4B",
        "base_licence": {"license": "apache-2.0"}, "sources": sources,
        "recipe": {"corpus": "/home/me/secret", "rank": 1},
    }  # fmt: skip
    manifest.write(folder, manifest.describe("adapter", **{**usual, **facts}))
    return folder


def test_a_base_comes_whole_and_is_found_by_its_name_without_a_network(
    there: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there.put(NAME, BASE).files["notes.csv"] = b"not wanted"
    found = pull(NAME, tmp_path / "base")
    assert found == tmp_path / "base" and manifest.weights_hash(found) == manifest.weights_hash(BASE)
    assert not (found / "notes.csv").exists() and not list(tmp_path.glob(".base.*"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    there.asked.clear()
    assert manifest.weights_hash(hub.base_folder(NAME)) == manifest.weights_hash(BASE)
    assert manifest.weights_hash(pull(NAME, tmp_path / "again")) == manifest.weights_hash(BASE)
    assert there.asked == []
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set, and the cache"):
        pull("someone/other")


def test_a_broken_transfer_goes_on_where_it_stopped(
    there: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the client waits before it tries again
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 1 << 20)
    there.put(NAME, BASE)
    there.cuts[WEIGHTS] = [5 << 20, *[0] * 9]
    with pytest.raises(UserError, match=r"someone/tiny cannot be had .*goes on where this stopped"):
        pull(NAME, tmp_path / "base")
    assert not (tmp_path / "base").exists()
    there.cuts.clear()
    there.asked.clear()
    assert manifest.weights_hash(pull(NAME, tmp_path / "base")) == manifest.weights_hash(BASE)
    assert [one[2] for one in there.sent(f"resolve/{there.repositories[NAME].sha}/{WEIGHTS}") if one[0] == "GET"] == [
        f"bytes={5 << 20}-"
    ]


def test_a_killed_pull_goes_on_where_it_stopped(there: Hub, tmp_path: Path) -> None:
    piece = huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE
    there.put(NAME, BASE)
    there.stalls[WEIGHTS] = piece + 1000
    cache = Path(huggingface_hub.constants.HF_HUB_CACHE)
    surroundings = {**os.environ, "HF_ENDPOINT": there.url, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "0"}
    code = f"from radlite.hub import pull; pull({NAME!r})"
    child = subprocess.Popen([sys.executable, "-c", code], env=surroundings, stderr=subprocess.DEVNULL)
    assert there.stalled.wait(60)
    while not any(path.stat().st_size >= piece for path in cache.rglob("*.radlite")):
        time.sleep(0.01)
    child.kill()
    child.wait()
    there.asked.clear()
    assert manifest.weights_hash(pull(NAME, tmp_path / "base")) == manifest.weights_hash(BASE)
    assert f"bytes={piece}-" in {one[2] for one in there.sent(WEIGHTS)}


@pytest.mark.parametrize(
    ("name", "token", "why"),
    [
        ("someone/none", "", "no such name, or it is private"),
        ("someone/private", "", "no such name, or it is private"),
        ("someone/gated", "", "terms must be accepted"),
        ("someone/tiny", "hf_wrong", "refuses this token; set HF_TOKEN"),
        ("no/such/name", "", "OWNER/NAME"),
        ("../up", "", "OWNER/NAME"),
        ("someone/broken", "", "answered 500"),
    ],
)
def test_why_it_cannot_be_had_is_one_sentence(
    there: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, token: str, why: str
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    for one, settings in (("tiny", {}), ("private", {"private": True}), ("gated", {"gated": True}), ("broken", {})):
        there.put(f"someone/{one}", BASE, **settings)
    there.refused.add("someone/broken/resolve")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UserError, match=why) as told:
        pull(name, tmp_path / "out")
    assert not (tmp_path / "out").exists() and "hf_wrong" not in str(told.value)
    with pytest.raises(UserError, match=f"{why}.*give a local model folder, or set HF_ENDPOINT"):
        hub.base_folder(name)


def test_an_unknown_revision_and_a_taken_place_are_refused(there: Hub, tmp_path: Path) -> None:
    there.put(NAME, BASE)
    with pytest.raises(UserError, match="no such revision"):
        pull(NAME, revision="v9")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(UserError, match="is there already"):
        pull(NAME, tmp_path / "full")


@pytest.mark.parametrize(
    ("file", "change", "why"),
    [
        (WEIGHTS, lambda data: data[:-1000], "cut short"),
        ("tokenizer.json", lambda data: None, "no tokenizer.json"),
        ("tokenizer_config.json", lambda data: b"{}", "no chat template"),
        ("config.json", lambda data: b"{", "not JSON"),
        ("model.safetensors.index.json", lambda data: b'{"weight_map": {"a": "model-2.safetensors"}}', "lacks model-2"),
    ],
)
def test_a_model_that_is_not_whole_there_does_not_come(
    there: Hub, tmp_path: Path, file: str, change: Any, why: str
) -> None:
    files = there.put(NAME, BASE).files
    changed = change(files.pop(file, b""))
    if changed is not None:
        files[file] = changed
    with pytest.raises(UserError, match=why):
        pull(NAME, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_was_damaged_in_the_cache_is_got_again(there: Hub) -> None:
    there.put(NAME, BASE)
    path = pull(NAME) / WEIGHTS
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.resolve().write_bytes(data)
    with pytest.raises(UserError, match=f"{WEIGHTS} came damaged and was removed; pull it again"):
        pull(NAME)
    assert sha256(pull(NAME) / WEIGHTS) == sha256(BASE / WEIGHTS)


def test_a_full_disk_is_told_and_leaves_nothing(there: Hub, tmp_path: Path) -> None:
    there.put(NAME, BASE)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, limits[1]))
    try:
        with pytest.raises(UserError, match="free some space or set HF_HOME"):
            pull(NAME, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "out").exists()
    assert pull(NAME, tmp_path / "out") == tmp_path / "out"


def test_one_gguf_of_several_is_named(there: Hub, tmp_path: Path) -> None:
    data = BASE.with_name("demonstration.gguf").read_bytes()
    there.repositories[NAME] = hub_server.Repository({"a.gguf": data, "b.gguf": data[:-9], "README.md": b"# A"})
    with pytest.raises(UserError, match=r"has these GGUF files: a.gguf, b.gguf; name one .* --file"):
        pull(NAME)
    assert pull(NAME, tmp_path / "a", file="a.gguf") == tmp_path / "a" / "a.gguf"
    assert not there.sent("b.gguf") and sorted(os.listdir(tmp_path / "a")) == ["README.md", "a.gguf"]
    with pytest.raises(UserError, match="cut short"):
        pull(NAME, file="b.gguf")
    there.repositories["someone/empty"] = hub_server.Repository({"README.md": b"#"})
    with pytest.raises(UserError, match="neither a model"):
        pull("someone/empty")


def test_an_adapter_goes_there_and_back_without_paths_rows_and_logs(
    there: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = adapter(tmp_path / "tuned")
    with pytest.raises(UserError, match="no token to push with; set HF_TOKEN"):
        push(parcel(made), "me/tuned")
    assert there.repositories == {}
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    sent = push(parcel(made), "me/tuned")
    assert sent.private and sent.url.endswith("me/tuned") and there.repositories["me/tuned"].private
    files = there.repositories["me/tuned"].files
    assert sorted(files) == ["README.md", "adapter_config.json", "adapter_model.safetensors", "radlite.json"]
    assert not any(b"secret" in data or b"patient-17" in data for data in files.values())
    found = pull("me/tuned", tmp_path / "back")
    assert manifest.read(found, "adapter", manifest.ADAPTER)["base"] == "Qwen/Qwen3-4B"
    assert manifest.weights_hash(found) == manifest.weights_hash(made)
    head = front_matter(found / "README.md")
    assert (head["license"], head["base_model"], head["library_name"]) == ("apache-2.0", "Qwen/Qwen3-4B", "peft")


def test_a_push_that_broke_sends_only_what_is_not_there_yet(
    there: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    there.refused.add("/commit/")
    with pytest.raises(UserError, match="tiny-qwen3 cannot be pushed to me/base: it answered 500"):
        push(parcel(BASE), "me/base")
    assert there.repositories["me/base"].files == {} and len(there.sent("/lfs/")) == 2  # asked for, and sent
    there.refused.clear()
    there.asked.clear()
    push(parcel(BASE), "me/base")
    assert [one[0] for one in there.sent("/lfs/")] == ["POST"]
    assert there.repositories["me/base"].files[WEIGHTS] == (BASE / WEIGHTS).read_bytes()


def test_what_learned_under_an_agreement_is_never_public(
    there: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    closed = adapter(tmp_path / "closed", sources=[{"source": "mimic_cxr", "access": "credentialed"}])
    unknown = adapter(tmp_path / "unknown", sources=[])
    for made, why in ((closed, "mimic_cxr"), (unknown, "sources unknown")):
        with pytest.raises(UserError, match=f"not everybody may have \\({why}\\); leave out --public"):
            push(parcel(made), "me/it", public=True)
    assert there.repositories == {} and there.asked == []
    assert not push(parcel(adapter(tmp_path / "open")), "me/open", public=True).private
    with pytest.raises(UserError, match="me/open is public already"):
        push(parcel(closed), "me/open")
    assert b"mimic" not in b"".join(there.repositories["me/open"].files.values())


def test_only_what_radlite_made_and_only_with_a_licence_is_sent(tmp_path: Path) -> None:
    made = adapter(tmp_path / "made", base_licence={})
    with pytest.raises(UserError, match=r"Nothing tells the licence of .*made; .*--licence apache-2.0"):
        parcel(made)
    assert parcel(made, "mit").licence == "mit"
    (made / "README.md").write_text("---\nlicense: other\nlicense_name: own\n---\n# Mine\n")
    assert parcel(made).licence == "own" and isinstance(parcel(made).files["README.md"], Path)
    (made / "deep").mkdir()
    (made / "deep" / "train.parquet").touch()
    with pytest.raises(UserError, match=r"train.parquet may hold rows of patients"):
        parcel(made)
    shutil.rmtree(made / "deep")
    (made / "adapter_model.safetensors").write_bytes(b"\x08")
    with pytest.raises(UserError, match="damaged or cut short"):
        parcel(made)
    with pytest.raises(UserError, match=r"has no radlite\.json"):
        parcel(tmp_path)
    results = tmp_path / "results"
    results.mkdir()
    manifest.write(results, manifest.describe("results"))
    with pytest.raises(UserError, match="of kind 'results', which is not pushed"):
        parcel(results)


def test_of_a_corpus_only_a_card_is_sent(there: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from radlite.data import corpus
    from tests.training.conftest import examples

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    facts = {"sources": {"mine": {"title": "A|B", "licence": "own", "access": "own", "files": {"SMITH^JOHN.csv": "0"}}}}
    corpus.write(tmp_path / "corpus", examples(), facts)
    push(parcel(tmp_path / "corpus"), "me/corpus")
    [(name, data)] = there.repositories["datasets/me/corpus"].files.items()
    text = data.decode()
    assert name == "README.md" and there.repositories["datasets/me/corpus"].private
    assert "| mine | A\\|B | own | own |" in text and "SMITH" not in text
    assert not any(value in text for one in examples() for value in (*one.inputs.values(), one.id))


def test_the_commands_use_a_mirror_and_tell_what_goes(there: Hub, tmp_path: Path) -> None:
    there.put(NAME, BASE)
    surroundings = {
        **os.environ, "HF_ENDPOINT": there.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
    }  # fmt: skip

    def run(*arguments: object, **more: str) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-c", "from radlite.cli import main; main()", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, timeout=120, env={**surroundings, **more})

    done = run("pull", NAME, "--to", tmp_path / "base")
    assert done.returncode == 0 and done.stdout.decode().strip() == str(tmp_path / "base"), done.stderr
    complains(run("push", BASE, "me/base", HF_TOKEN="hf_wrong"), "tiny-qwen3 cannot be pushed", "refuses this token")
    done = run("push", adapter(tmp_path / "tuned"), "me/tuned", HF_TOKEN=TOKEN)
    assert done.returncode == 0 and done.stdout.decode().strip().endswith("me/tuned (private)"), done.stderr
    assert b"radlite: adapter_model.safetensors\n" in done.stderr and b"licence apache-2.0" in done.stderr
    assert TOKEN.encode() not in done.stderr + done.stdout
