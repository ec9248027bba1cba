"""What other programs need to ask a GGUF as radlite does: an Ollama Modelfile, and a note for llama.cpp and LM Studio.

The form of a Modelfile: https://docs.ollama.com/modelfile.
"""

import json
from pathlib import Path

from radlite import manifest
from radlite.chat import Renderer, Turn
from radlite.errors import UserError
from radlite.files import atomic
from radlite.reader import turns
from radlite.runtime import gguf
from radlite.runtime.model import DEFAULT_CONTEXT
from radlite.tasks import SYSTEM, TASKS
from radlite.tasks.task import Style

_REPORT = "EXAM: Chest radiograph. FINDINGS: The heart is normal. No pleural effusion."
_END = "<|im_end|>"


def write(path: Path) -> list[Path]:
    """Write NAME.Modelfile and NAME.ask.md beside the GGUF file NAME.gguf of a model, and return their places.

    Raises `UserError` for a file whose chat template is not ChatML, which radlite does not export.
    """
    header = gguf.read(path)
    tuned = bool(manifest.tuned_base(header.manifest or {}))
    texts = {
        f"{path.stem}.Modelfile": modelfile(path.name, header.renderer(), min(header.context_tokens, DEFAULT_CONTEXT)),
        f"{path.stem}.ask.md": note(path, tuned),
    }
    for name, text in texts.items():
        with atomic(path.parent / name) as part:
            part.write_text(text, "utf-8")
    return [path.parent / name for name in texts]


def modelfile(name: str, renderer: Renderer, context_tokens: int) -> str:
    """The Modelfile of the GGUF `name`, whose template writes what the renderer does.

    Ollama joins messages of one role in a row, but not those of the role `tool`: this template writes these as user
    turns, so that report and task stay turns of their own.
    """
    return "\n".join(
        [
            "# Made by radlite. ollama create NAME -f THIS_FILE; how to ask: the file .ask.md beside it.",
            f"FROM ./{name}",
            f'TEMPLATE """{_go_template(renderer)}"""',
            f'SYSTEM """{SYSTEM}"""',
            f'PARAMETER stop "{_END}"',
            "PARAMETER temperature 0",
            f"PARAMETER num_ctx {context_tokens}",
            "",
        ]
    )


def _go_template(renderer: Renderer) -> str:
    asked = (Turn("system", "one"), Turn("user", "two"), Turn("user", "three"))
    opening = "".join(f"<|im_start|>{turn.role}\n{turn.text}{_END}\n" for turn in asked) + "<|im_start|>assistant\n"
    text = renderer.prompt(asked).text
    if not text.startswith(opening) or "{{" in text:
        raise UserError("This model's chat template is not ChatML; a Modelfile for it cannot be written.")
    role = '{{ if eq .Role "tool" }}user{{ else }}{{ .Role }}{{ end }}'
    each = f"<|im_start|>{role}\n{{{{ .Content }}}}{_END}\n"
    return f"{{{{ range .Messages }}}}{each}{{{{ end }}}}<|im_start|>assistant\n{text[len(opening) :]}"


def note(path: Path, tuned: bool) -> str:
    """How the GGUF is asked in other programs; `tuned` models are asked by cue, any other by full instruction."""
    style: Style = "cue" if tuned else "instruction"
    asked = turns(TASKS["m_staging"], {"report": _REPORT}, style)
    messages = [{"role": turn.role, "content": turn.text} for turn in asked]
    server = {"messages": messages, "temperature": 0, "chat_template_kwargs": {"enable_thinking": False}}
    ollama = {"model": "NAME", "stream": False, "messages": [messages[1], {**messages[2], "role": "tool"}]}
    last = "\n".join(
        f"* `{' + '.join(task.inputs)}`, then:\n\n{_quoted(task.told(style))}\n" for task in TASKS.values()
    )
    return f"""# {path.name} in other programs

**Not a medical device.** Research software; a qualified radiologist must review every answer. `radlite read` asks this
file best: it holds answers to the task's form and against the report. Other programs do neither, and in them a control
token that stands in a report (`{_END}`) ends the turn.

The turns: the system text; each text of the task (the report first) as a user turn of its own; last the task, as a user
turn. Answers are written greedily (temperature 0), without thinking.

System text:

{_quoted(SYSTEM)}

## llama.cpp

`llama-server --jinja -m {path.name}`, then POST to `/v1/chat/completions`:

```json
{json.dumps(server, indent=1, ensure_ascii=False)}
```

## LM Studio

It uses the template in the file. Send the messages above to its server, `/v1/chat/completions`, with thinking off. Its
chat window sends text and task as one user turn, which this model was not made for.

## Ollama

`ollama create NAME -f {path.stem}.Modelfile`, then POST to `/api/chat`. Ollama joins user turns, so every turn after
the first text has the role `tool` here, which the Modelfile's template writes as a user turn:

```json
{json.dumps(ollama, indent=1, ensure_ascii=False)}
```

## The tasks: texts, then the last turn

Any text that is not the report has its name before it: `Hypothesis: ...`, `Question: ...`.

{last}"""


def _quoted(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.split("\n"))
