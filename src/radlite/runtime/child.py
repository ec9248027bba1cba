"""An engine in a process of its own, which is started again when it ends: nothing it does takes the caller down."""

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Final

from radlite.chat import Renderer
from radlite.errors import UserError
from radlite.runtime import adapter, engine, gguf
from radlite.runtime.model import DEFAULT_CONTEXT, Completion, Request, never

_TRIES: Final = 2
"""A request over which the engine ended so many times is given up."""
_PATIENCE: Final = 0.05
"""Seconds between looks at whether the caller wants to stop."""
_STEP: Final = 60.0
"""Seconds in which an engine that is told to stop has done so, which takes it a step; else it hangs, and is ended."""


def open_model(path: Path, **settings: Any) -> "ChildModel":
    """Load a GGUF file in a process of its own, with the settings of `engine.open_model`.

    Raises `UserError` as that does, and if the process ends while it loads.
    """
    model = describe(path, **settings)
    model.start()
    return model


def describe(path: Path, **settings: Any) -> "ChildModel":
    """What `open_model` gives, by the header of the file alone: its process starts with the first request.

    Raises `UserError` if a file is no model.
    """
    header = gguf.read(path)
    over = settings.get("adapter")
    made = adapter.read(over, header).manifest if over else header.manifest
    context = settings.get("context_tokens") or min(header.context_tokens, DEFAULT_CONTEXT)
    return ChildModel(path, settings, header.renderer(), context, made)


class ChildModel:
    """A model in a process that is watched. Threads wait for each other.

    Where it ends over requests, they are tried once more, one by one; what ends it again comes back as `failed`. An end
    before it has taken requests up is not put down to them, unless it comes again and again. It is started again with
    the files that it was made for, and no others.
    """

    def __init__(
        self,
        path: Path,
        settings: dict[str, Any],
        renderer: Renderer,
        context_tokens: int,
        manifest: dict[str, Any] | None,
    ) -> None:
        self.name = adapter.name(path, settings.get("adapter"))
        self.renderer = renderer
        self.manifest = manifest
        self.context_tokens = context_tokens
        self.broken = ""
        """Why the process could not be started, the last time that was tried; empty if it could."""
        self._starts = 0
        self._path, self._settings = path, settings
        self._files = _stamps(path, settings)
        self._lock = threading.RLock()
        self._process: Any = None
        self._pipe: Connection | None = None
        self._number = 0
        self._taken = False
        """Whether the process has begun with the requests that it was last sent."""
        self._left: float | None = None
        """Since when it should have stopped working on what was left."""

    @property
    def restarts(self) -> int:
        """How often the process was started again."""
        return max(0, self._starts - 1)

    def start(self) -> None:
        """Start the process and wait until the model is loaded. Raises `UserError` if it cannot be."""
        try:
            self._start()
        except UserError as error:
            self.broken = str(error)
            raise
        self.broken = ""
        self._starts += 1

    def _start(self) -> None:
        if _stamps(self._path, self._settings) != self._files:
            raise UserError(f"{self._path} was replaced or changed since it was opened; put it back, or start anew.")
        spawn = multiprocessing.get_context("spawn")
        self._pipe, other = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(other, self._path, self._settings), daemon=True)
        self._process.start()
        other.close()
        try:
            kind, value = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._end()
            raise UserError(
                f"The engine ended while it loaded {self._path}: the file is damaged or there is too little memory; "
                "get it again or use a smaller one."
            ) from error
        if kind != "ready":
            self._end()
            raise UserError(value)
        self.context_tokens = value

    def complete(
        self, requests: Sequence[Request], stop: Callable[[], bool] = never
    ) -> Iterator[tuple[int, Completion]]:
        """Complete the requests, greedily; each comes with its number, as soon as it is ready."""
        with self._lock:
            tries, idle = dict.fromkeys(range(len(requests)), 0), 0
            while tries:
                # After the engine ended, nobody knows over which request: each is asked alone.
                together = list(tries) if not any(tries.values()) else [next(iter(tries))]
                for number, completion in self._ask(requests, together, stop):
                    if completion is None:
                        return
                    del tries[number]
                    yield number, completion
                idle = 0 if self._taken else idle + 1
                for number in [one for one in together if one in tries and not 0 < idle < _TRIES]:
                    tries[number] += 1
                    if tries[number] >= _TRIES:
                        del tries[number]
                        yield number, _failed(requests[number])

    def revive(self) -> None:
        """Start the process if it has ended, or hangs. Raises `UserError` as `start` does."""
        with self._lock:
            self._settle(lambda: not (self._pipe and self._pipe.poll()))
            if self._process is None or not self._process.is_alive():
                self._end()
                self.start()

    def close(self) -> None:
        """End the process; a second call does nothing."""
        with self._lock:
            self._end()

    def _ask(
        self, requests: Sequence[Request], numbers: Sequence[int], stop: Callable[[], bool]
    ) -> Iterator[tuple[int, Completion | None]]:
        """What comes back before the process ends, if it does; (0, None) at the end where `stop` ended it."""
        if not self._settle(stop):
            yield 0, None
            return
        self.revive()
        assert self._pipe
        self._number += 1
        own, over = self._number, False
        self._taken = False
        with contextlib.suppress(BrokenPipeError, ConnectionError):
            self._pipe.send(("ask", own, [requests[number] for number in numbers]))
        try:
            while not over:
                if stop():
                    yield 0, None
                    return
                kind, of, *value = self._heard()
                if kind == "gone" or (kind == "broken" and of == own):
                    over = True
                    self._end()
                elif of == own and kind == "taken":
                    self._taken = True
                elif of == own and kind == "done":
                    yield numbers[value[0]], value[1]
                elif of == own and kind == "end":
                    over = True
        finally:
            if not over and self._pipe:
                self._left = time.monotonic()
                with contextlib.suppress(BrokenPipeError, ConnectionError):
                    self._pipe.send(("stop", own, None))

    def _settle(self, stop: Callable[[], bool]) -> bool:
        """Wait until the process works no more on what was left, and end it if it hangs; False if `stop` came first."""
        while self._left is not None:
            if time.monotonic() - self._left > _STEP:
                self._end()
            elif stop():
                return False
            elif self._heard()[0] == "gone":
                self._end()
        return True

    def _heard(self) -> tuple[Any, ...]:
        """What the process says; `nothing` for a while, `gone` once it has ended. Each with the number of the work."""
        assert self._pipe
        if self._pipe in wait([self._pipe, self._process.sentinel], _PATIENCE):
            try:
                heard: tuple[Any, ...] = self._pipe.recv()
                if heard[:2] == ("end", self._number):
                    self._left = None
                return heard
            except (EOFError, OSError):
                return "gone", 0
        return ("nothing", 0) if self._process.is_alive() else ("gone", 0)

    def _end(self) -> None:
        self._left = None
        if self._pipe:
            self._pipe.close()
            self._pipe = None
        if self._process:
            self._process.join(1)
            self._process.kill()
            self._process.join()
            self._process = None


def _stamps(path: Path, settings: dict[str, Any]) -> list[tuple[int, ...]]:
    """By which the files of a model are known again; a file that is not there has none."""
    files = [one for one in (path, settings.get("adapter")) if one and one.exists()]
    return [(about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns) for about in (one.stat() for one in files)]


def _failed(request: Request) -> Completion:
    return Completion(
        text="", stop_reason="failed", prompt_tokens=len(request.prompt.ids), cached_tokens=0, generated_tokens=0,
        seconds=0.0,
    )  # fmt: skip


def _serve(pipe: Connection, path: Path, settings: dict[str, Any]) -> None:
    """In the process: answer until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent.
    try:
        model = engine.open_model(path, **settings)
    except UserError as error:
        pipe.send(("wrong", str(error)))
        return
    pipe.send(("ready", model.context_tokens))
    asked: queue.SimpleQueue[tuple[int, list[Request]]] = queue.SimpleQueue()
    stopped = [0]

    def listen() -> None:
        while True:
            try:
                kind, number, requests = pipe.recv()
            except (EOFError, OSError):
                os._exit(0)  # The parent has gone or has closed the model.
            if kind == "stop":
                stopped[0] = number
            else:
                asked.put((number, requests))

    threading.Thread(target=listen, daemon=True).start()
    while True:
        number, requests = asked.get()
        pipe.send(("taken", number))
        try:
            for at, completion in model.complete(requests, lambda own=number: stopped[0] >= own):
                pipe.send(("done", number, at, completion))
            pipe.send(("end", number))
        except (ArithmeticError, RuntimeError, MemoryError):
            # What the engine holds may be half done: it begins anew.
            pipe.send(("broken", number))
            os._exit(1)
