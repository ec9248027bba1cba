"""Defaults, below a file, below the environment, below the command line; each setting told and checked."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from radlite.errors import UserError
from radlite.server.settings import Settings, assigned, load, printed


def test_the_command_line_goes_before_the_environment_and_that_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "radlite.toml"
    path.write_text('port = 1\nqueue = 2\nstreams = 3\nmodel = ["a.gguf", "b.gguf"]\n')
    assert (load(path).port, load(path).model) == (1, (Path("a.gguf"), Path("b.gguf")))
    monkeypatch.setenv("RADLITE_QUEUE", "5")
    monkeypatch.setenv("RADLITE_STREAMS", "6")
    monkeypatch.setenv("RADLITE_MODEL", "c.gguf, d.gguf")
    found = load(path, {"streams": "9"})
    assert (found.port, found.queue, found.streams, found.model) == (1, 5, 9, (Path("c.gguf"), Path("d.gguf")))


def test_an_empty_value_unsets_a_setting(tmp_path: Path) -> None:
    path = tmp_path / "radlite.toml"
    path.write_text("threads = 3\n")
    assert load(path, {"threads": ""}).threads is None


def test_what_is_printed_is_a_file_that_gives_the_same_settings_and_describes_each(tmp_path: Path) -> None:
    odd = {"host": "::1", "model": 'a "b"\\é.gguf', "hosts": "a,b", "keys": tmp_path / "k", "body_seconds": "0.5"}
    for settings in (load(), load(None, odd)):
        text = printed(settings)
        assert Settings(**tomllib.loads(text)) == settings
        for name, field in Settings.model_fields.items():
            assert f"# {field.description}\n" in text
            assert f"\n{name} = " in text or f"\n# {name} = " in text


def test_every_default_that_is_commented_out_is_valid_once_it_is_not() -> None:
    lines = [line.removeprefix("# ") if " = " in line else line for line in printed(load()).splitlines()[2:]]
    assert Settings(**tomllib.loads("\n".join(lines)))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"port": "x"}, ("port", "the command line")),
        ({"port": "70000"}, ("port",)),
        ({"queue": "0"}, ("queue",)),
        ({"body_seconds": "inf"}, ("body_seconds",)),
        ({"keep_reviews": "all"}, ("keep_reviews", "'text', 'answers' or 'off'")),
        ({"nothing": "1"}, ("nothing", "--print-config")),
        ({"host": "0.0.0.0"}, ("0.0.0.0", "key file")),
        ({"host": "radlite.clinic.example"}, ("key file",)),
        ({"tls_cert": "a.pem"}, ("tls_cert and tls_key",)),
        ({"engine": "fast"}, ("engine", "'native'")),
    ],
)
def test_a_wrong_setting_is_told_by_name_and_place(given: dict[str, str], words: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as told:
        load(None, given)
    for word in words:
        assert word in str(told.value)


@pytest.mark.parametrize(
    "text",
    ["nothing = 1", "port = [1]", "[port]\na = 1", "port = ", 'model = "a"\nmodel = "b"', "queue = -1"],
)
def test_a_wrong_file_is_told_by_its_path(tmp_path: Path, text: str) -> None:
    path = tmp_path / "radlite.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"radlite\.toml"):
        load(path)


@pytest.mark.parametrize(
    ("host", "loopback"), [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True)]
)
def test_loopback_needs_no_keys(host: str, loopback: bool) -> None:
    assert load(None, {"host": host}).loopback is loopback


def test_the_state_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert load().folder == tmp_path / "radlite"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load().folder == tmp_path / ".local" / "state" / "radlite"
    assert load(None, {"state": "/x"}).folder == Path("/x")


def test_an_account_without_a_home_needs_the_state_to_be_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert Settings(state=tmp_path).folder == tmp_path
    with pytest.raises(UserError, match="set state"):
        _ = Settings().folder


def test_a_setting_on_the_command_line_is_name_and_value() -> None:
    assert assigned(["a=b=c", "d="]) == {"a": "b=c", "d": ""}
    with pytest.raises(UserError, match="name=value"):
        assigned(["a"])


def test_the_command_prints_all_of_it() -> None:
    command = [
        sys.executable,
        "-c",
        "from radlite.cli import main; main()",
        "serve",
        "--print-config",
        "--port",
        "9",
        "queue=7",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert tomllib.loads(done.stdout)["port"] == 9
    assert tomllib.loads(done.stdout)["queue"] == 7
