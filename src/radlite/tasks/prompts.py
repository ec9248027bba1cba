"""The wording of all tasks, from `prompts.toml`."""

import tomllib
from importlib import resources

_PACK = tomllib.loads((resources.files(__package__) / "prompts.toml").read_text("utf-8"))

SYSTEM: str = _PACK["system"]
"""The system prompt of every task: one for all, so that tasks share the prompt up to their own turn."""


def cue(task: str) -> str:
    """What a tuned model is told."""
    return str(_PACK[task]["cue"])


def instruction(task: str) -> str:
    """What any other model is told."""
    return str(_PACK[task]["instruction"]).strip()
