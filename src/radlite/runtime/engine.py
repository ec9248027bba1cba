"""Which engine reads a GGUF file: the native one where it is installed, else the wheel."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

from radlite.errors import UserError

Engine = Literal["auto", "native", "wheel"]


def kind(engine: str) -> Literal["native", "wheel"]:
    """The engine that `engine` names on this machine. Raises `UserError` if there is none of this name."""
    if engine not in get_args(Engine):
        raise UserError(f"There is no engine {engine!r}; choose from {', '.join(get_args(Engine))}.")
    native = engine == "native" or (engine == "auto" and importlib.util.find_spec("llama_cpp"))
    return "native" if native else "wheel"


def open_model(
    path: Path,
    context_tokens: int | None = None,
    threads: int | None = None,
    engine: str = "auto",
    remembered: int = 8,
    told: Callable[[str], None] = lambda _: None,
    adapter: Path | None = None,
) -> Any:
    """Load a GGUF file: a `NativeModel` or a `WheelModel`, which give the same answers but for rounding.

    `remembered` is how many reports the native engine keeps for a second question; 0 makes every call independent of
    those before it. `told` is told what takes long. `adapter`, the GGUF of a LoRA adapter, is added to the model in all
    it answers; the model's manifest is then the adapter's. Raises `UserError` for an unknown engine and as the engines
    do.
    """
    if kind(engine) == "native":
        from radlite.runtime import native

        return native.open_model(path, context_tokens, threads, remembered=remembered, told=told, adapter=adapter)
    from radlite.runtime import wheel

    return wheel.open_model(path, context_tokens, threads, adapter)
