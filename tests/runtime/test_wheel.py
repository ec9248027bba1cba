import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import unicodedata
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import xllamacpp
from safetensors.torch import load_file

from radlite.chat import Prompt, Turn
from radlite.errors import UserError
from radlite.runtime import gguf, wheel
from radlite.runtime.model import Request
from radlite.runtime.wheel import WheelModel
from radlite.tasks.grammar import sequence
from radlite.tokenizer import Tokenizer
from radlite.training.base import Shape, new_model, save
from tests.runtime import gguf_file
from tests.runtime.answers import answers
from tests.test_cli import complains

SECRET = "zebra stripes in the left lower lobe"
LINUX = pytest.mark.skipif(not Path("/proc/self/net").is_dir(), reason="reads the sockets of Linux")


@pytest.fixture
def model(model_file: Path) -> Iterator[WheelModel]:
    model = wheel.open_model(model_file, threads=1)
    yield model
    model.close()


def ask(model: WheelModel, *texts: str) -> Prompt:
    return model.renderer.prompt([Turn("system", "You read reports."), *(Turn("user", text) for text in texts)])


def test_what_two_prompts_share_is_computed_once(model: WheelModel) -> None:
    report = "No pleural effusion is seen. " * 20
    first, second = answers(model, [Request(ask(model, report, task), 4) for task in ("M stage.", "N stage.")])
    assert first.cached_tokens == 0
    assert second.cached_tokens > 0.9 * len(ask(model, report).ids)
    assert second.prompt_tokens == len(ask(model, report, "N stage.").ids)


def test_the_last_token_of_context_can_be_used(model_file: Path) -> None:
    model = wheel.open_model(model_file, context_tokens=256, threads=1)
    ids = ask(model, "a" * 2000).ids[:240]
    [completion] = answers(model, [Request(Prompt(ids, ""), 16)])
    assert completion.generated_tokens == 16 or completion.stop_reason == "end"
    with pytest.raises(RuntimeError, match="exceed_context_size"):
        next(answers(model, [Request(Prompt(ids * 2, ""), 16)]))
    model.close()


def test_more_context_than_the_model_has_is_a_user_error(model_file: Path) -> None:
    with pytest.raises(UserError, match="1,024 tokens"):
        wheel.open_model(model_file, context_tokens=2048)


def test_a_model_of_someone_else_opens_without_manifest(base: Path, tmp_path: Path, model: WheelModel) -> None:
    foreign = wheel.open_model(gguf_file.write(base, tmp_path / "theirs.gguf"), threads=1)
    assert (foreign.name, foreign.manifest) == ("theirs", None)
    assert model.manifest == {"kind": "gguf"}
    foreign.close()


def test_a_model_that_does_not_load_is_a_user_error_and_prints_nothing(
    model_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = model_file.read_bytes()
    (tmp_path / "m.gguf").write_bytes(content.replace(b"blk.1.ffn_norm.weight", b"blk.1.ffn_morn.weight"))
    with pytest.raises(UserError, match=r"cannot load .*m\.gguf"):
        wheel.open_model(tmp_path / "m.gguf")
    assert capfd.readouterr() == ("", "")


def test_weights_that_are_no_numbers_are_a_user_error(base: Path, tmp_path: Path) -> None:
    path = gguf_file.write(base, tmp_path / "m.gguf")
    norm = load_file(base / "model.safetensors")["model.norm.weight"].float().numpy().tobytes()
    content = path.read_bytes()
    assert norm in content
    path.write_bytes(content.replace(norm, b"\xff" * len(norm)))
    with pytest.raises(UserError, match="computes no answer"):
        wheel.open_model(path)


def test_nothing_is_printed_and_no_report_is_quoted(model_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = wheel.open_model(model_file, threads=1)
    list(answers(model, [Request(ask(model, SECRET), 8), Request(ask(model, SECRET), 8, sequence(["M0", "M1"]))]))
    model.close()
    assert capfd.readouterr() == ("", "")


def test_threads_wait_for_each_other(model: WheelModel) -> None:
    grammar = sequence(["M0", "M1"], [" a", " b"])
    asked = [Request(ask(model, f"Report {number}. " * 9), 12, grammar) for number in range(6)]
    alone = [completion.text for completion in answers(model, asked)]
    together: dict[int, str] = {}

    def work(number: int) -> None:
        together[number] = next(answers(model, [asked[number]])).text

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(asked))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert [together[number] for number in range(len(asked))] == alone


def test_a_closed_model_refuses_to_answer(model_file: Path) -> None:
    model = wheel.open_model(model_file, threads=1)
    request = Request(ask(model, "x"), 2)
    model.close()
    with pytest.raises(RuntimeError, match="closed"):
        next(answers(model, [request]))


@LINUX
def test_no_other_process_can_connect(model: WheelModel) -> None:
    mine = {
        os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink() and os.path.lexists(path)
    }
    sockets = {name.removeprefix("socket:[").removesuffix("]") for name in mine if name.startswith("socket:")}
    for table in ("tcp", "tcp6"):
        lines = Path("/proc/self/net", table).read_text().splitlines()[1:]
        assert not [line for line in lines if line.split()[9] in sockets and line.split()[3] == "0A"]
    unix = [line.split() for line in Path("/proc/self/net/unix").read_text().splitlines()[1:]]
    paths = [Path(fields[7]) for fields in unix if fields[6] in sockets and len(fields) > 7]
    assert any(path.name == "llama.sock" for path in paths)
    assert not [path for path in paths if path.name == "llama.sock" and path.exists()]


@pytest.fixture(scope="module")
def loopback(qwen: Tokenizer, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address and key of a server on loopback, as on systems without Unix sockets, with Qwen's real vocabulary."""
    folder = tmp_path_factory.mktemp("real")
    shape = Shape(hidden=64, feed_forward=64, layers=1, heads=1, key_value_heads=1)
    save(new_model("qwen2.5", shape, qwen, 0), qwen, "qwen2.5", folder)
    path = gguf_file.write(folder, folder / "m.gguf", {"tokenizer.huggingface.json": None})
    assert gguf.read(path).tokenizer().control == qwen.control
    settings = wheel.parameters(path, 256, 1, "127.0.0.1")
    server = xllamacpp.Server(settings)
    yield server.listening_address, settings.api_keys[0]
    del server


def fetch(url: str, body: dict[str, Any] | None = None, key: str = "") -> tuple[int, Any]:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    data = json.dumps(body).encode() if body is not None else None
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=30) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, None


@pytest.mark.parametrize("path", ["/completion", "/v1/completions", "/tokenize", "/slots", "/props", "/metrics"])
def test_on_loopback_a_request_without_the_key_is_refused(loopback: tuple[str, str], path: str) -> None:
    address, key = loopback
    body = {"prompt": "a", "content": "a"} if path in ("/completion", "/v1/completions", "/tokenize") else None
    assert fetch(address + path, body)[0] == 401
    assert fetch(address + path, body, key="guess")[0] == 401
    assert len(key) > 40


def test_on_loopback_nothing_tells_of_prompts(loopback: tuple[str, str]) -> None:
    address, key = loopback
    assert fetch(address + "/tokenize", {"content": "a"}, key)[0] == 200  # the key itself is good
    for path in ("/slots", "/metrics"):
        assert fetch(address + path, key=key)[0] == 501
    assert fetch(address + "/")[0] == 404


@pytest.mark.parametrize(
    "text",
    [
        "CHEST CT 2024-03-07: 8 mm nodule (LUL), T=38,5 °C.",
        "FINDINGS:\n\n  - Atelectasis: negative\n\t- Edema:\tpositive\r\n\r\nIMPRESSION:   none   ",
        "1234567890 12,345.67 3x4x5cm L4/5 C5-6 pT2N1M0 BI-RADS 4A",
        "Ödem, Erguß; Pneumothorax à gauche; 右肺上葉結節 8 mm; محاكاة; 🩻🫁",
        "é e\u0301 ﬁ Å Å ﷺ \u200b\u00a0\u2003x",
        "it's we'll I'VE don’t DON'T",
        "<|im_end|>\n<|im_start|>system\n<|endoftext|><think></think>",
        "\n \n\n  \n x \n",
        "…—–“quoted” 5–7 ≥ 10 µm ± ½ x² ####### ------- ______",
    ],
)
def test_our_ids_are_llama_cpps_own(qwen: Tokenizer, loopback: tuple[str, str], text: str) -> None:
    address, key = loopback
    text = unicodedata.normalize("NFC", text)  # Qwen's tokenizer does so; llama.cpp leaves it to the caller
    _, reply = fetch(address + "/tokenize", {"content": text, "add_special": False, "parse_special": False}, key)
    assert qwen.encode(text) == reply["tokens"]


def run(model_file: Path, code: str) -> "subprocess.Popen[str]":
    script = f"""
        import sys, threading
        from pathlib import Path
        from radlite.chat import Turn
        from radlite.runtime import wheel
        from radlite.runtime.model import Request
        model = wheel.open_model(Path(sys.argv[1]), threads=1)
        request = Request(model.renderer.prompt([Turn("user", "{SECRET}")]), 900)
    """
    command = [sys.executable, "-c", textwrap.dedent(script) + textwrap.dedent(code), str(model_file)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    "code", ["list(model.complete([request]))", "model.close()", "pass", "keep = next(model.complete([request]))"]
)
def test_a_process_ends_at_once_and_silently_with_or_without_close(model_file: Path, code: str) -> None:
    process = run(model_file, code)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0


def test_a_process_killed_while_it_answers_is_gone(model_file: Path) -> None:
    process = run(model_file, "print('ready', flush=True)\nwhile True: list(model.complete([request]))")
    assert process.stdout and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    begin = time.monotonic()
    assert process.wait(timeout=30) == -signal.SIGTERM
    assert time.monotonic() - begin < 10
    process.communicate()


def test_an_error_in_the_program_does_not_leave_it_hanging(model_file: Path) -> None:
    process = run(model_file, "raise SystemExit(3)")
    process.communicate(timeout=60)
    assert process.returncode == 3


def test_a_system_without_a_library_that_llama_cpp_needs_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "xllamacpp"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError('libgomp.so.1: cannot open shared object file')")
    source = str(Path(wheel.__file__).parents[2])
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from radlite.cli import main; main()",
            "read",
            "-",
            "--task=m_staging",
            "--engine=wheel",
        ],
        input=b"CT chest. No metastases.",
        capture_output=True,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{source}"},
    )
    complains(done, "libgomp.so.1: cannot open shared object file", "install it")
