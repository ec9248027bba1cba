"""The fast engine: llama.cpp compiled for this CPU, through the low-level functions of `llama-cpp-python`.

All open answers advance together, one batch a step. What prompts share is computed once and belongs to several
sequences at the same time; forced text and guesses are read along; all labels of a closed set are the leaves of one
tree in one batch. Measured reasons: docs/performance.md.
"""

import bisect
import contextlib
import ctypes
import hashlib
import itertools
import mmap
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from radlite.chat import Prompt, Renderer, Turn
from radlite.errors import UserError
from radlite.files import atomic
from radlite.runtime import adapter as adapters
from radlite.runtime import gguf, memory
from radlite.runtime.answer import Answer, Beginning
from radlite.runtime.model import DEFAULT_CONTEXT, Completion, Request, never
from radlite.runtime.tuning import Settings, settings
from radlite.tasks import SYSTEM

_BATCH: Final = 512
"""Tokens of a batch at most: what llama.cpp computes at once, and how much of new prompts a step takes in."""
_SEQUENCES: Final = 256
"""llama.cpp's own limit."""
_RUNNING: Final = 64
"""Answers that advance together at most."""
_SPARE: Final = 80
"""Cells of an answer beside its own tokens: for guesses and the branches of its labels."""
_WORTH: Final = 16
"""A shared beginning of fewer tokens than this is not kept by itself."""
_LARGE: Final = 64 << 20
"""Bytes of memory from which on huge pages are asked for."""
_MANY: Final = 48
"""New tokens of a prompt from which on the kernels for prompts are the faster ones (docs/performance.md)."""
_SLOWER: Final = 3
"""One part in so many of a prompt has to be computed already, that going on without those kernels is as fast."""


def open_model(
    path: Path,
    context_tokens: int | None = None,
    threads: int | None = None,
    remembered: int = 8,
    guesses: bool = True,
    cells: int | None = None,
    save_after: float = 0.25,
    chosen: Settings | None = None,
    told: Callable[[str], None] = lambda _: None,
    adapter: Path | None = None,
) -> "NativeModel":
    """Load a GGUF file: its weights, tokenizer and chat template, and an adapter over it if given.

    `context_tokens` is the model's own up to `DEFAULT_CONTEXT` unless given. Without `threads` or `chosen` the settings
    are those that `tuning` measured or measures now, of which `told` is told. `remembered` is how many reports stay in
    memory for a second question, `guesses` whether ids are guessed ahead where that pays, `cells` how many tokens of
    all reports together have room: twice the context unless given. The state of the system prompt is saved beside the
    file, or that of the adapter, if the folder can be written and computing it took longer than `save_after` seconds.

    Raises `UserError` if the file cannot be used, has less context than asked for, needs more memory than there is, or
    if llama-cpp-python is missing.
    """
    _library()
    header = gguf.read(path)
    context = context_tokens or min(header.context_tokens, DEFAULT_CONTEXT)
    if context > header.context_tokens:
        raise UserError(f"{path} was trained for {header.context_tokens:,} tokens of context; ask for no more.")
    renderer = header.renderer()
    room = max(cells or 2 * context, context)
    over = adapters.read(adapter, header) if adapter else None
    memory.demand(header, room, rows=_SEQUENCES, adapter=over)
    best = chosen or (Settings(threads) if threads else settings(header, told))
    plain = replace(best, repack="off")
    if best.repack == "answers" and (free := memory.available()) is not None:
        best = best if memory.needed(header, **rooms(context, room, best), adapter=over) <= free else plain
    cache = Cache(path, room, best, adapter)
    ahead = Cache(path, context + 2 * _BATCH, plain, adapter) if best.repack == "answers" else None
    name, made = adapters.name(path, adapter), (over or header).manifest
    model = NativeModel(name, cache, renderer, context, made, remembered, guesses, ahead)
    try:
        model.next_log_probabilities(Prompt((renderer.end_id,), ""), 1)
        model.pin(_beginning(renderer), _Saved(path, save_after, adapter))
    except (ArithmeticError, RuntimeError) as error:
        model.close()
        raise adapters.damaged(path, adapter) from error
    return model


def rooms(context: int, cells: int, chosen: Settings) -> dict[str, Any]:
    """What `memory` has to know of the engine beside the file: cells and rows of its contexts, whether it copies."""
    both = chosen.repack == "answers"
    return {
        "context_tokens": cells + both * (context + 2 * _BATCH),
        "rows": _SEQUENCES * (1 + both),
        "private": chosen.repack != "off",
    }


def _beginning(renderer: Renderer) -> tuple[int, ...]:
    """What all prompts begin with: the system turn, up to the first report."""
    one, other = (renderer.prompt([Turn("system", SYSTEM), Turn("user", text)]).ids for text in ("A", "b"))
    return one[: _common(one, other)]


class _Saved:
    """The state of the system prompt in a file beside the model's, `NAME.gguf.prefix`. It holds no report.

    Digest of all that it depends on, digest of the state, state. What does not fit is as if it were not there. With an
    adapter it is another state, and lies beside the adapter's file.
    """

    def __init__(self, model: Path, after: float, adapter: Path | None = None) -> None:
        self._files = [model, *([adapter] if adapter else [])]
        self._path = self._files[-1].with_name(f"{self._files[-1].name}.prefix")
        self.after = after

    def load(self, ids: Sequence[int]) -> bytes | None:
        try:
            content = self._path.read_bytes()
        except OSError:
            return None
        key, digest, state = content[:32], content[32:64], content[64:]
        return state if key == self._key(ids) and digest == hashlib.sha256(state).digest() else None

    def save(self, ids: Sequence[int], state: bytes) -> None:
        with contextlib.suppress(UserError), atomic(self._path) as part:
            part.write_bytes(self._key(ids) + hashlib.sha256(state).digest() + state)

    def _key(self, ids: Sequence[int]) -> bytes:
        """Of the weights by size, date, header and samples; of the library by its version and what it uses."""
        from llama_cpp import __version__, llama_cpp

        digest = hashlib.sha256(f"{__version__} {llama_cpp.llama_print_system_info()} {list(ids)}".encode())
        for path in self._files:
            stat = path.stat()
            size = stat.st_size
            digest.update(f"{size} {stat.st_mtime_ns}".encode())
            with path.open("rb") as file:
                for at in range(0, size, max(size // 256, 1 << 12)):
                    file.seek(at)
                    digest.update(file.read(1 << 12))
        return digest.digest()


@dataclass(slots=True)
class _Token:
    """One place in a batch."""

    id: int
    position: int
    sequences: list[int]
    rows: list[tuple[Answer, Beginning]] = field(default_factory=list)
    """Who wants the logits after it."""


class Cache:
    """llama.cpp's model and context: tokens of several sequences, each in cells that sequences may share."""

    def __init__(self, path: Path, cells: int, chosen: Settings, adapter: Path | None = None) -> None:
        llama = _library()
        parameters = llama.llama_model_default_params()
        parameters.use_extra_bufts = chosen.repack != "off"
        loading = _Loading()
        if parameters.use_extra_bufts:
            parameters.progress_callback = llama.llama_progress_callback(loading)
        self._model = llama.llama_model_load_from_file(os.fsencode(path), parameters)
        if loading.interrupt:
            llama.llama_model_free(self._model)
            raise loading.interrupt
        if not self._model:
            raise UserError(
                f"llama.cpp cannot load {path}: it is damaged or needs more memory; get it again or use a smaller one."
            )
        # Before the context, which reckons the size of its graphs with it. It is freed with the model.
        lora = llama.llama_adapter_lora_init(self._model, os.fsencode(adapter)) if adapter else None
        if adapter and not lora:
            llama.llama_model_free(self._model)
            raise UserError(f"llama.cpp cannot load the adapter {adapter}: it is damaged; export it again.")
        options = llama.llama_context_default_params()
        options.n_ctx, options.n_batch, options.n_ubatch = cells, _BATCH, chosen.ubatch
        options.n_seq_max, options.kv_unified = _SEQUENCES, True
        options.n_threads = options.n_threads_batch = chosen.threads
        options.no_perf = True
        self._context = llama.llama_init_from_model(self._model, options)
        if not self._context:
            llama.llama_model_free(self._model)
            raise UserError(f"{path} needs more memory than there is; use a smaller model or less --context.")
        if lora:
            llama.llama_set_adapters_lora(self._context, (type(lora) * 1)(lora), 1, (ctypes.c_float * 1)(1.0))
        self._memory = llama.llama_get_memory(self._context)
        self.cells = int(llama.llama_n_ctx(self._context))
        self.size = int(llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self._model)))
        self._llama = llama
        self._batch = llama.llama_batch(
            n_tokens=0,
            token=(ctypes.c_int32 * _BATCH)(),
            pos=(ctypes.c_int32 * _BATCH)(),
            n_seq_id=(ctypes.c_int32 * _BATCH)(),
            seq_id=(ctypes.POINTER(ctypes.c_int32) * _BATCH)(),
            logits=(ctypes.c_int8 * _BATCH)(),
        )

    def read(self, tokens: Sequence[_Token]) -> None:
        """Compute the tokens, at most `_BATCH`, and tell the answers the logits that they asked for.

        Raises `MemoryError` where no cells are free: nothing was computed.
        """
        batch = self._batch
        batch.n_tokens = len(tokens)
        sequences = [(ctypes.c_int32 * len(token.sequences))(*token.sequences) for token in tokens]
        for at, token in enumerate(tokens):
            batch.token[at], batch.pos[at] = token.id, token.position
            batch.n_seq_id[at], batch.seq_id[at] = len(token.sequences), sequences[at]
            batch.logits[at] = bool(token.rows)
        result = self._llama.llama_decode(self._context, batch)
        if result == 1:
            raise MemoryError
        if result:
            raise RuntimeError(f"llama.cpp failed to compute a batch ({result})")
        for at, token in enumerate(tokens):
            if token.rows:
                row = self._llama.llama_get_logits_ith(self._context, at)
                logits = np.ctypeslib.as_array(row, (self.size,))
                for answer, beginning in token.rows:
                    answer.tell(beginning, logits)

    def time(self, ids: Sequence[int], times: int = 1) -> float:
        """Seconds that it takes to read the ids, at most `_BATCH`, so many times one after the other."""
        begun = time.perf_counter()
        for number in range(times):
            self.read([_Token(one, number * len(ids) + at, [0]) for at, one in enumerate(ids)])
        taken = time.perf_counter() - begun
        self.cut(0, 0)
        return taken

    def copy(self, source: int, to: int, count: int, start: int = 0) -> None:
        """Let the sequence `to`, which holds as many, share the tokens of `source` from `start` to `count`."""
        if count:
            self._llama.llama_memory_seq_cp(self._memory, source, to, start, count)

    def cut(self, sequence: int, count: int) -> None:
        """Leave a sequence its first `count` tokens."""
        self._llama.llama_memory_seq_rm(self._memory, sequence, count, -1)

    def state(self, sequence: int) -> bytes:
        """What a sequence holds, to be given to `restore` later, by a process with the same file and library."""
        size = self._llama.llama_state_seq_get_size(self._context, sequence)
        buffer = (ctypes.c_uint8 * size)()
        return bytes(memoryview(buffer)[: self._llama.llama_state_seq_get_data(self._context, buffer, size, sequence)])

    def restore(self, sequence: int, state: bytes) -> bool:
        """Fill an empty sequence; False if the state does not fit."""
        buffer = (ctypes.c_uint8 * len(state)).from_buffer_copy(state)
        done = self._llama.llama_state_seq_set_data(self._context, buffer, len(state), sequence)
        return bool(done == len(state))

    def close(self) -> None:
        self._llama.llama_free(self._context)
        self._llama.llama_model_free(self._model)


class _Loading:
    """What llama.cpp calls while it fills memory with copied weights: an interrupt then ends it.

    Called first, when there is room for the weights but none is there yet, it asks Linux to hold large pieces of memory
    in huge pages: each step reads all weights, and looking up small pages takes some of its time.
    """

    def __init__(self) -> None:
        self.interrupt: BaseException | None = None
        self._asked = False

    def __call__(self, progress: float, _: Any) -> bool:
        try:
            if not self._asked and hasattr(mmap, "MADV_HUGEPAGE"):
                self._asked = True
                with contextlib.suppress(OSError, ValueError, AttributeError):
                    self._ask()
        except BaseException as error:  # Python would print it and forget it
            self.interrupt = error
        return not self.interrupt

    def _ask(self) -> None:
        system = ctypes.CDLL(None)
        for line in Path("/proc/self/maps").read_text("utf-8", errors="replace").splitlines():
            place, rights, _offset, _device, inode, *name = line.split()
            begin, end = (int(number, 16) for number in place.split("-"))
            if rights == "rw-p" and inode == "0" and not name and end - begin >= _LARGE:
                system.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_HUGEPAGE)


def _library() -> Any:
    try:
        from llama_cpp import llama_cpp
    except (ImportError, OSError, RuntimeError) as error:
        raise UserError(
            "The native engine needs llama-cpp-python; run pip install 'radlite[native]' (it is compiled for this "
            "machine, which needs a C++ compiler), or use the wheel engine."
        ) from error
    global _silent
    if _silent is None:
        _silent = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(_silent, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
    return llama_cpp


_silent: Any = None
"""llama.cpp holds no reference of its own to the function that it calls."""


@dataclass(slots=True, eq=False)
class _Run:
    """A request that is being answered."""

    number: int
    answer: Answer
    sequence: int
    begun: float
    read: int
    """Tokens of the prompt and of `path` that the sequence holds."""
    cached: int
    path: Beginning = ()
    """What the sequence holds of answers after the prompt."""
    ways: list["_Branch"] = field(default_factory=list)
    """Branches of earlier steps that others may go on from."""

    @property
    def prompt(self) -> tuple[int, ...]:
        return self.answer.request.prompt.ids


@dataclass(slots=True)
class _Branch:
    """A way from what a run holds to beginnings that it asks for."""

    beginning: Beginning
    start: int
    """Tokens that it shares with the run's own sequence."""
    sequence: int


class NativeModel:
    """A GGUF model in llama.cpp. Safe to use from several threads, which wait for each other."""

    def __init__(
        self,
        name: str,
        cache: Cache,
        renderer: Renderer,
        context_tokens: int,
        manifest: dict[str, Any] | None,
        remembered: int = 8,
        guesses: bool = True,
        ahead: Cache | None = None,
    ) -> None:
        """`ahead` reads long prompts for `cache`, with other kernels."""
        self.name = name
        self.renderer = renderer
        self.context_tokens = context_tokens
        self.manifest = manifest
        self._lock = threading.RLock()
        self._caches = [cache, *([ahead] if ahead else [])]
        self._free = list(range(_SEQUENCES))
        self._pace = _Pace(guesses)
        self._remembered = remembered
        self._kept: OrderedDict[tuple[int, ...], int] = OrderedDict()
        """Beginnings of prompts to the sequence that holds them, the one used last at the end."""
        self._pinned: tuple[int, ...] = ()
        """The beginning of all prompts, which is never forgotten."""
        self._pin = self._free.pop()

    def complete(
        self, requests: Sequence[Request], stop: Callable[[], bool] = never
    ) -> Iterator[tuple[int, Completion]]:
        """Complete the requests, greedily; each comes with its number as soon as it is ready."""
        with self._lock:
            if not self._remembered:
                self._pace.forget()
            work = _Work(self, requests)
            try:
                while work.going and not stop():
                    yield from work.step()
            finally:
                work.clear()

    def next_log_probabilities(self, prompt: Prompt, top: int) -> dict[int, float]:
        """Natural logarithms of the probability of the `top` likeliest ids after `prompt`, likeliest first."""
        seen: list[NDArray[np.float64]] = []
        listener: Any = _Listener(seen)
        with self._lock:
            sequence = self._free.pop()
            try:
                tokens = [_Token(one, at, [sequence]) for at, one in enumerate(prompt.ids)]
                tokens[-1].rows.append((listener, ()))
                self._read(tokens)
            finally:
                self._give(sequence)
        [logits] = seen
        order = np.argsort(-logits, kind="stable")[:top]
        return dict(zip(order.tolist(), logits[order].tolist(), strict=True))

    def pin(self, ids: tuple[int, ...], saved: _Saved) -> None:
        """Keep what all prompts begin with for good."""
        with self._lock:
            state = saved.load(ids)
            if not (state and self._cache.restore(self._pin, state)):
                self._cache.cut(self._pin, 0)
                begun = time.perf_counter()
                self._read([_Token(one, at, [self._pin]) for at, one in enumerate(ids)])
                if time.perf_counter() - begun > saved.after:
                    saved.save(ids, self._cache.state(self._pin))
            for ahead in self._caches[1:]:
                if not ahead.restore(self._pin, self._cache.state(self._pin)):
                    raise RuntimeError("llama.cpp does not take the state of the system prompt")
            self._pinned = ids

    def close(self) -> None:
        """Free the model; a second call does nothing."""
        with self._lock:
            while self._caches:
                self._caches.pop().close()

    @property
    def _cache(self) -> Cache:
        if not self._caches:
            raise RuntimeError("the model is closed")
        return self._caches[0]

    def _give(self, sequence: int) -> None:
        """Take a sequence back."""
        if self._caches:
            self._cache.cut(sequence, 0)
            bisect.insort(self._free, sequence)

    def _read(self, tokens: Sequence[_Token], fresh: Mapping[int, int] | None = None) -> None:
        """Compute the tokens. `fresh`: sequences with so much of the beginning of all prompts, and nothing else."""
        new = [token for token in tokens if fresh and token.sequences[0] in fresh]
        if fresh and self._free and any(_MANY <= len(new) <= one.cells - len(self._pinned) for one in self._caches[1:]):
            self._read_new(new, fresh)
            tokens = [token for token in tokens if token.sequences[0] not in fresh]
        for begin in range(0, len(tokens), _BATCH):
            part = tokens[begin : begin + _BATCH]
            while True:
                try:
                    self._cache.read(part)
                    break
                except MemoryError:
                    self._forget()

    def _read_new(self, tokens: Sequence[_Token], held: Mapping[int, int]) -> None:
        """Compute tokens of prompts that are new with the kernels for prompts, and move them into the cache.

        `held`: how much of the beginning of all prompts each of their sequences holds.
        """
        ahead, scratch = self._caches[1], self._free.pop()
        try:
            for sequence, count in held.items():
                ahead.copy(self._pin, sequence, count)
            for begin in range(0, len(tokens), _BATCH):
                ahead.read(tokens[begin : begin + _BATCH])
            spans: dict[tuple[int, ...], list[int]] = {}
            for token in tokens:
                spans.setdefault(tuple(token.sequences), []).append(token.position)
            for sequences, places in spans.items():
                ahead.copy(sequences[0], scratch, places[-1] + 1, places[0])
                state = ahead.state(scratch)
                ahead.cut(scratch, 0)
                while not self._cache.restore(scratch, state):
                    self._forget()
                for sequence in sequences:
                    self._cache.copy(scratch, sequence, places[-1] + 1, places[0])
                self._cache.cut(scratch, 0)
        finally:
            for sequence in (*held, scratch):
                ahead.cut(sequence, 0)
            self._give(scratch)

    def _forget(self) -> None:
        """Let go of the beginning that was longest not used."""
        if not self._kept:
            raise RuntimeError("the answers that run together need more cells than there are")
        _, sequence = self._kept.popitem(last=False)
        self._give(sequence)

    def _best(self, ids: tuple[int, ...]) -> tuple[int, int]:
        """How much of a prompt is computed already, at most, and in which sequence.

        Reports often begin alike. Going on from another one saves those tokens, but the rest is then not new to the
        context and does not get the kernels for prompts; so with those, it has to be worth it.
        """
        kept = max(self._kept, key=lambda one: _common(ids, one), default=())
        most, pinned = _common(ids, kept), len(self._pinned)
        worth = (len(ids) - pinned) // _SLOWER if len(self._caches) > 1 else 0
        if most <= pinned + worth and ids[:pinned] == self._pinned:
            return pinned, self._pin
        if most:
            self._kept.move_to_end(kept)
        return most, self._kept[kept] if most else self._pin


class _Listener:
    """What asks for one row of logits as probabilities."""

    def __init__(self, seen: list[NDArray[np.float64]]) -> None:
        self._seen = seen

    def tell(self, beginning: Beginning, logits: NDArray[np.float32]) -> None:
        values = logits.astype(np.float64)
        highest = values.max()
        if not np.isfinite(highest):
            raise ArithmeticError("the model's weights compute what is no number")
        self._seen.append(values - highest - np.log(np.exp(values - highest).sum()))


class _Pace:
    """How often guesses of each kind came true of late."""

    def __init__(self, guesses: bool) -> None:
        self._guesses = guesses
        self._seen: dict[str, tuple[float, float]] = {}

    def trust(self, kind: str) -> float:
        """The probability that the next guess comes true; 0 where none are wanted."""
        right, tried = self._seen.get(kind, (0.0, 0.0))
        return (right + 2.4) / (tried + 4) if self._guesses else 0.0

    def forget(self) -> None:
        """Begin as if nothing had been guessed."""
        self._seen.clear()

    def learn(self, kind: str, outcomes: Sequence[tuple[int, int]]) -> None:
        """Take in what came true in a step; what is long ago counts less, so that a kind is tried again."""
        right, tried = self._seen.get(kind, (0.0, 0.0))
        self._seen[kind] = (
            0.97 * right + sum(one[0] for one in outcomes),
            0.97 * tried + sum(one[1] for one in outcomes),
        )


class _Work:
    """Requests on their way through a model, step by step."""

    def __init__(self, model: NativeModel, requests: Sequence[Request]) -> None:
        self._model = model
        self._requests = requests
        self._waiting = list(range(len(requests)))[::-1]
        self._shared = _shared([request.prompt.ids for request in requests])
        self._runs: list[_Run] = []
        self._reserved: dict[int, int] = {}

    @property
    def going(self) -> bool:
        return bool(self._waiting or self._runs)

    def step(self) -> Iterator[tuple[int, Completion]]:
        """Take in what there is room for, compute one batch, and give what is ready."""
        tokens: list[_Token] = []
        stems: dict[tuple[Any, int], _Token] = {}
        branches: list[tuple[_Run, list[_Branch]]] = []
        kept: list[tuple[tuple[int, ...], int]] = []
        fresh: dict[int, int] = {}
        self._admit(tokens, stems, kept, fresh)
        for run in self._runs:
            branches.append((run, self._lay(run, tokens, stems)))
            if run.sequence in fresh:
                fresh.update((way.sequence, way.start) for way in branches[-1][1])
        self._model._read(tokens, fresh)
        self._model._kept.update(kept)
        for run, ways in branches:
            known = len(run.answer.guesses)
            run.answer.settle()
            self._model._pace.learn(run.answer.request.kind, run.answer.guesses[known:])
            self._trim(run, ways)
        yield from self._ready()

    def clear(self) -> None:
        """Give back all sequences, also those of a step that was cut off, but of the reports that are remembered."""
        model = self._model
        while len(model._kept) > model._remembered:
            model._forget()
        for sequence in set(range(_SEQUENCES)) - {model._pin, *model._free, *model._kept.values()}:
            model._give(sequence)

    def _admit(
        self,
        tokens: list[_Token],
        stems: dict[tuple[Any, int], _Token],
        kept: list[tuple[tuple[int, ...], int]],
        fresh: dict[int, int],
    ) -> None:
        """Begin requests, until a batch of new tokens is reached or room is short.

        `fresh` takes in the sequences that hold nothing but the beginning of all prompts, and how much of it.
        """
        model, new = self._model, 0
        coming: list[tuple[int, ...]] = []
        while self._waiting and len(self._runs) < _RUNNING and new < _BATCH:
            number = self._waiting[-1]
            request = self._requests[number]
            ids = request.prompt.ids
            also = max((_common(ids, other) for other in coming), default=0)
            need = len(ids) - max(model._best(ids)[0], also) + request.max_tokens + _SPARE
            if not self._room(need) and self._runs:
                return
            self._waiting.pop()
            answer, begun = Answer(request, model.renderer), time.perf_counter()
            if answer.stop_reason:  # wholly forced
                self._runs.append(_Run(number, answer, -1, begun, 0, 0))
                continue
            begin = ids[: self._shared[number]]
            alone = len(begin) < len(model._pinned) + _WORTH
            keep = ids if alone else begin
            have, source = model._best(ids)
            have = min(have, len(ids) - 1)
            sequence = model._free.pop()
            model._cache.copy(source, sequence, have)
            if source == model._pin:
                fresh[sequence] = have
            if not (alone and not model._remembered) and keep not in model._kept and keep not in coming:
                coming.append(keep)
                kept.append((keep, model._free.pop()))
                model._cache.copy(source, kept[-1][1], have)
                if source == model._pin:
                    fresh[kept[-1][1]] = have
                _stem(keep, have, len(keep), kept[-1][1], tokens, stems)
            self._reserved[number] = need
            new += len(ids) - max(have, also)
            self._runs.append(_Run(number, answer, sequence, begun, have, max(have, also)))

    def _room(self, need: int) -> bool:
        """Whether `need` cells and some sequences are free, after letting go of what is kept as far as that helps."""
        model = self._model
        while True:
            used = sum(self._reserved.values()) + sum(len(kept) - len(model._pinned) for kept in model._kept)
            if used + need + len(model._pinned) <= model._cache.cells and len(model._free) > 1:
                return True
            if not model._kept:
                return False
            model._forget()

    def _lay(self, run: _Run, tokens: list[_Token], stems: dict[tuple[Any, int], _Token]) -> list[_Branch]:
        """Put into the batch what the run asks for."""
        asked = run.answer.asks(self._model._pace.trust(run.answer.request.kind))
        branches: list[_Branch] = []
        placed: dict[Beginning, _Token] = {}
        for beginning in sorted(asked, key=len, reverse=True):
            if beginning in placed and not placed[beginning].rows:
                placed[beginning].rows.append((run.answer, beginning))  # a longer one leads there
                continue
            branch = self._branch(run, beginning, taken=any(one.sequence == run.sequence for one in branches))
            if branch is None:
                continue  # No sequence is free: it is asked for again in the next step.
            branches.append(branch)
            last = _stem(run.prompt, branch.start, len(run.prompt), branch.sequence, tokens, stems)
            if last:
                placed[()] = last
            for at in range(max(branch.start - len(run.prompt), 0), len(beginning)):
                here = beginning[: at + 1]
                if here in placed:
                    placed[here].sequences.append(branch.sequence)
                else:
                    placed[here] = _Token(here[-1], len(run.prompt) + at, [branch.sequence])
                    tokens.append(placed[here])
            placed[beginning].rows.append((run.answer, beginning))
        return branches

    def _branch(self, run: _Run, beginning: Beginning, taken: bool) -> _Branch | None:
        model, held = self._model, len(run.prompt) + len(beginning)
        start = run.read if run.read < len(run.prompt) else len(run.prompt) + _common(beginning, run.path)
        start, source = min(start, held - 1), run.sequence
        for way in run.ways:
            if (also := min(len(run.prompt) + _common(beginning, way.beginning), held - 1)) > start:
                start, source = also, way.sequence
        if not taken and start == run.read and source == run.sequence:
            return _Branch(beginning, start, run.sequence)
        if not model._free:
            return None
        sequence = model._free.pop()
        model._cache.copy(source, sequence, start)
        return _Branch(beginning, start, sequence)

    def _trim(self, run: _Run, branches: Sequence[_Branch]) -> None:
        """Let the run's sequence hold the answer's ids and nothing else, as far as they were computed."""
        cache, size, answer = self._model._cache, len(run.prompt), tuple(run.answer.ids)
        for branch in branches:
            if branch.sequence == run.sequence:
                run.read, run.path = size + len(branch.beginning), branch.beginning
        best = max(branches, key=lambda one: _common(one.beginning, answer), default=None)
        if best and best.sequence != run.sequence and _common(best.beginning, answer) > _common(run.path, answer):
            cache.cut(run.sequence, 0)
            cache.copy(best.sequence, run.sequence, size + len(best.beginning))
            run.read, run.path = size + len(best.beginning), best.beginning
        if run.read >= size and (right := _common(run.path, answer)) < len(run.path):
            run.read, run.path = size + right, run.path[:right]
            cache.cut(run.sequence, run.read)
        for branch in branches:
            if branch.sequence != run.sequence:
                if run.answer.weighing and len(self._model._free) > _SEQUENCES // 2:
                    run.ways.append(branch)
                else:
                    self._model._give(branch.sequence)

    def _ready(self) -> Iterator[tuple[int, Completion]]:
        now = time.perf_counter()
        for run in self._runs:
            if not run.answer.stop_reason and now - run.begun > run.answer.request.seconds:
                run.answer.stop("time")
        done = [run for run in self._runs if run.answer.stop_reason]
        self._runs = [run for run in self._runs if not run.answer.stop_reason]
        for run in done:
            self._reserved.pop(run.number, None)
            for sequence in (run.sequence, *(way.sequence for way in run.ways)):
                if sequence >= 0:
                    self._model._give(sequence)
        for run in done:
            yield run.number, _completion(run, now - run.begun)


def _completion(run: _Run, seconds: float) -> Completion:
    answer = run.answer
    assert answer.stop_reason
    return Completion(
        text=answer.text,
        stop_reason=answer.stop_reason,
        prompt_tokens=len(run.prompt),
        cached_tokens=run.cached,
        generated_tokens=len(answer.ids),
        seconds=seconds,
        probability=answer.probability,
        alternatives=answer.alternatives,
    )


def _stem(
    ids: Sequence[int],
    start: int,
    end: int,
    sequence: int,
    tokens: list[_Token],
    stems: dict[tuple[Any, int], _Token],
) -> _Token | None:
    """Put `ids[start:end]` of a prompt into the batch for a sequence, together with others that begin alike.

    Returns the last of them, None if there is none.
    """
    parent: Any = tuple(ids[:start])
    token = None
    for at in range(start, end):
        token = stems.get((parent, ids[at]))
        if token is None:
            token = stems[parent, ids[at]] = _Token(ids[at], at, [])
            tokens.append(token)
        token.sequences.append(sequence)
        parent = id(token)
    return token


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids both begin with."""
    most = min(len(one), len(other))
    if tuple(one[:most]) == tuple(other[:most]):
        return most
    return next(at for at in range(most) if one[at] != other[at])


def _shared(prompts: Sequence[tuple[int, ...]]) -> list[int]:
    """How many ids each prompt has in common with one of the others, at most."""
    order = sorted(range(len(prompts)), key=prompts.__getitem__)
    most = [0] * len(prompts)
    for one, other in itertools.pairwise(order):
        count = _common(prompts[one], prompts[other])
        most[one], most[other] = max(most[one], count), max(most[other], count)
    return most
