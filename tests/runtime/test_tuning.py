"""Settings are measured once for a machine and a model, stored, and never trusted blindly."""

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
    assert found[0].settings == first and all(trial.reading > 0 and trial.writing > 0 for trial in found)
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
    assert tuning._tried(cut, Settings(threads=1), 20) is None
    assert tuning._tried(header.path, Settings(threads=1), 20) is not None
