"""Settings are measured once for a machine and a model, stored, and never trusted blindly."""

import dataclasses
import json
from pathlib import Path

import pytest

from radlite.runtime import gguf, tuning
from radlite.runtime.gguf import Header
from radlite.runtime.tuning import Settings

pytest.importorskip("llama_cpp", reason="the native engine is compiled by `make native`")


@pytest.fixture
def header(model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Header:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return gguf.read(model_file)


def test_what_was_measured_is_stored_and_taken_again(
    header: Header, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "_WORTH", 0)
    said: list[str] = []
    first = tuning.settings(header, said.append)
    assert len(said) == 1 and header.path.name in said[0]
    found = tuning.stored(header)
    assert found[0].settings == first and all(min(trial.reading, trial.together, trial.writing) > 0 for trial in found)
    assert all(350 / trial.reading < trial.seconds < float("inf") for trial in found)
    assert tuning.settings(header, said.append) == first and len(said) == 1
    assert tuning.default() in [trial.settings for trial in found]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"x": 1}', "null"])
def test_a_damaged_store_is_measured_anew(content: str, header: Header, tmp_path: Path) -> None:
    place = tmp_path / "cache" / "radlite" / "tuning.json"
    place.parent.mkdir(parents=True)
    place.write_text(content)
    assert tuning.stored(header) == []
    assert tuning.measure(header, seconds=0.0)[0].settings == tuning.default()
    assert len(json.loads(place.read_text())) >= 1 and tuning.stored(header)


def test_a_small_model_and_a_place_that_cannot_be_written_are_no_hindrance(
    header: Header, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tuning.settings(header, pytest.fail) == tuning.default()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert tuning.measure(header, seconds=0.0)[0].settings == tuning.default()


def test_what_was_measured_by_request_counts_for_a_small_model_too(header: Header) -> None:
    assert tuning.settings(header) == tuning.default() and tuning.stored(header) == []
    found = tuning.measure(header, seconds=0.0)
    assert tuning.settings(header) == found[0].settings and tuning.stored(header) == found


def test_settings_that_end_the_process_are_left_out(header: Header) -> None:
    cut = header.path.with_suffix(".cut")
    cut.write_bytes(header.path.read_bytes()[:-5000])
    assert tuning._tried(cut, 1.0, [Settings(threads=1)], 20) == []
    assert len(tuning._tried(header.path, 1.0, [Settings(threads=1), Settings(threads=1, ubatch=64)], 20)) == 2


def test_settings_are_tried_on_layers_that_have_the_types_of_the_whole(header: Header, tmp_path: Path) -> None:
    path, share = tuning._part(header, tmp_path)
    part, count = gguf.read(path), f"{header.keys['general.architecture']}.block_count"
    layers = header.keys[count]
    assert share == min(4, layers) / layers and part.keys[count] == min(4, layers)
    assert part.types["blk.0.attn_v.weight"] == header.types["blk.0.attn_v.weight"]
    assert part.tensors["blk.0.ffn_up.weight"] == header.tensors["blk.0.ffn_up.weight"]
    with header.path.open("rb") as whole, path.open("rb") as cut:
        for name in ("blk.1.ffn_up.weight", "output_norm.weight"):
            whole.seek(header.starts[name])
            cut.seek(part.starts[name])
            assert whole.read(header.size(name)) == cut.read(part.size(name))


def test_where_no_part_can_be_made_settings_are_tried_on_the_whole(header: Header, tmp_path: Path) -> None:
    keys = {name: value for name, value in header.keys.items() if not name.endswith("block_count")}
    assert tuning._part(dataclasses.replace(header, keys=keys), tmp_path) == (header.path, 1.0)
    assert tuning._part(header, tmp_path / "absent") == (header.path, 1.0)
    for odd in (1 << 70, -(1 << 70), [1 << 70], {}):
        keys = {**header.keys, "general.odd": odd}
        assert tuning._part(dataclasses.replace(header, keys=keys), tmp_path) == (header.path, 1.0)
    for fine in (1 << 40, -3, [], [0.5]):
        keys = {**header.keys, "general.odd": fine}
        assert tuning._part(dataclasses.replace(header, keys=keys), tmp_path)[0] != header.path
