"""What is written beside a GGUF for other programs, and that llama.cpp's own templating sends what radlite sends."""

import json
import re
import shutil
from pathlib import Path

import pytest

from radlite.chat import Renderer, Turn
from radlite.demo import BASES, base_folder
from radlite.errors import UserError
from radlite.export import notes
from radlite.reader import turns
from radlite.runtime import gguf, wheel
from radlite.tasks import SYSTEM, TASKS
from radlite.tokenizer import Tokenizer

MODEL = base_folder("tiny-qwen3").with_name("demonstration.gguf")
INPUTS = {
    name: f"The {name} of a chest: ≥ 3 mm,\n\n no effusion."
    for name in ("report", "premise", "hypothesis", "question", "current", "prior")
}


def ollama(template: str, messages: list[Turn]) -> str:
    """What Ollama makes of a template of our form: messages of a role in a row are joined, but not those of `tool`."""
    joined: list[Turn] = []
    for one in messages:
        if joined and joined[-1].role == one.role != "tool":
            joined[-1] = Turn(one.role, f"{joined[-1].text}\n\n{one.text}")
        else:
            joined.append(one)
    found = re.fullmatch(r"\{\{ range \.Messages \}\}(.*)\{\{ end \}\}(.*?)", template, re.DOTALL)
    assert found
    choice = '{{ if eq .Role "tool" }}user{{ else }}{{ .Role }}{{ end }}'
    assert found[1].count("{{") == 5 and choice in found[1]
    return (
        "".join(
            found[1].replace(choice, "user" if one.role == "tool" else one.role).replace("{{ .Content }}", one.text)
            for one in joined
        )
        + found[2]
    )


@pytest.mark.parametrize("name", BASES)
def test_the_modelfile_makes_the_text_that_radlite_sends(name: str) -> None:
    renderer = Renderer.from_folder(base_folder(name))
    made = notes.modelfile("m.gguf", renderer, 2048)
    found = re.search(r'TEMPLATE """(.*?)"""\nSYSTEM """(.*?)"""', made, re.DOTALL)
    assert found and found[2] == SYSTEM
    assert made.split("\n")[1] == "FROM ./m.gguf" and 'PARAMETER stop "<|im_end|>"\n' in made
    for task in TASKS.values():
        asked = turns(task, INPUTS)
        sent = [*asked[:2], *(Turn("tool", turn.text) for turn in asked[2:])]
        assert ollama(found[1], sent) == renderer.prompt(asked).text


def test_llama_cpp_with_the_embedded_template_reads_the_very_ids_that_radlite_sends() -> None:
    model = wheel.open_model(MODEL, threads=1)
    try:
        [server] = model._servers
        for task in TASKS.values():
            asked = turns(task, INPUTS)
            ids = model.renderer.prompt(asked).ids
            alone = server.handle_completions(
                {"prompt": list(ids), "max_tokens": 4, "temperature": 0, "cache_prompt": True}
            )
            messages = [{"role": turn.role, "content": turn.text} for turn in asked]
            more = {"chat_template_kwargs": {"enable_thinking": False}, "cache_prompt": True}
            chat = server.handle_chat_completions({"messages": messages, "max_tokens": 4, "temperature": 0, **more})
            # llama.cpp takes from its cache the ids that are the same; the last it always computes again.
            assert chat["usage"]["prompt_tokens"] == len(ids)
            assert chat["usage"]["prompt_tokens_details"]["cached_tokens"] == len(ids) - 1
            assert chat["choices"][0]["message"]["content"] == alone["choices"][0]["text"]
    finally:
        model.close()


def test_the_note_asks_as_the_model_was_tuned(tmp_path: Path) -> None:
    path = Path(shutil.copy(MODEL, tmp_path / "m.gguf"))
    assert [one.name for one in notes.write(path)] == ["m.Modelfile", "m.ask.md"]
    text = (tmp_path / "m.ask.md").read_text("utf-8")
    server, chat = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL))
    assert [one["role"] for one in server["messages"]] == ["system", "user", "user"]
    assert server["messages"][2]["content"] == chat["messages"][1]["content"] == TASKS["m_staging"].told("cue")
    assert all(task.told("cue").split("\n")[0] in text for task in TASKS.values())
    assert (
        TASKS["m_staging"].told("instruction")
        in json.loads(re.findall(r"```json\n(.*?)```", notes.note(path, tuned=False), re.DOTALL)[0])["messages"][
            2
        ].values()
    )
    assert f"PARAMETER num_ctx {gguf.read(path).context_tokens}\n" in (tmp_path / "m.Modelfile").read_text()


def test_another_template_than_chatml_is_refused() -> None:
    folder = base_folder("tiny-qwen3")
    template = "{% for one in messages %}<|im_start|>{{ one.content }}<|im_end|>{% endfor %}<|im_start|>"
    with pytest.raises(UserError, match="not ChatML"):
        notes.modelfile("m.gguf", Renderer(Tokenizer.from_folder(folder), template), 2048)
