"""The engine of the default install: llama.cpp's server in this process, from the wheel `xllamacpp`."""

import math
import os
import secrets
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from radlite.chat import Prompt, Renderer
from radlite.errors import UserError, shown
from radlite.runtime import adapter as adapters
from radlite.runtime import gguf, memory
from radlite.runtime.grammar import Walk, weigh
from radlite.runtime.model import DEFAULT_CONTEXT, Completion, Request, end_ids, never

try:
    import xllamacpp
except ImportError as error:  # a bare system, such as a slim container, lacks what compilers bring along
    raise UserError(
        f"llama.cpp cannot be loaded: {shown(str(error))}; if libgomp is missing, install it (Debian: libgomp1)."
    ) from error

_LIFT = 100.0
"""Added to the logits of the ids that may follow: above all others, and within the precision of 32 bits."""


def open_model(
    path: Path, context_tokens: int | None = None, threads: int | None = None, adapter: Path | None = None
) -> "WheelModel":
    """Load a GGUF file: its weights, tokenizer and chat template, and an adapter over it if given.

    `context_tokens` is the model's own up to `DEFAULT_CONTEXT` unless given. A model that radlite did not make has
    `manifest` None.

    Raises `UserError` if the file cannot be used, has less context than asked for, or needs more memory than there is.
    """
    header = gguf.read(path)
    context = context_tokens or min(header.context_tokens, DEFAULT_CONTEXT)
    if context > header.context_tokens:
        raise UserError(f"{path} was trained for {header.context_tokens:,} tokens of context; ask for no more.")
    renderer = header.renderer()
    over = adapters.read(adapter, header) if adapter else None
    memory.demand(header, context, adapter=over)
    free = memory.available()
    copied = free is None or memory.needed(header, context, private=True, adapter=over) < free / 2
    # A listener comes with the server and cannot be left out. It gets a Unix socket in a folder of our own that is
    # gone before the first report is sent, so that nothing can connect to it.
    with tempfile.TemporaryDirectory(prefix="radlite-", ignore_cleanup_errors=True) as folder:
        try:
            server = xllamacpp.Server(parameters(path, context, threads, _address(folder), copied, adapter))
        except RuntimeError as error:
            raise UserError(
                f"llama.cpp cannot load {adapters.shown(path, adapter)}: it is damaged or needs more memory; get it "
                "again or use a smaller one."
            ) from error
    model = WheelModel(adapters.name(path, adapter), server, renderer, context, (over or header).manifest)
    try:
        # The server must have answered before it can be told to end: an end told sooner is lost, and closing hangs.
        model.next_log_probabilities(Prompt((renderer.end_id,), ""), 1)
    except (ArithmeticError, RuntimeError) as error:
        model.close()
        raise adapters.damaged(path, adapter) from error
    return model


def _address(folder: str) -> str:
    """A socket in `folder`; where that cannot be (Windows, a long path), loopback, with the key alone to guard it."""
    socket = os.path.join(folder, "llama.sock")
    return socket if os.name == "posix" and len(os.fsencode(socket)) < 100 else "127.0.0.1"


def parameters(
    path: Path, context: int, threads: int | None, address: str, copied: bool = True, adapter: Path | None = None
) -> Any:
    """Settings of a server that answers this process alone, one request at a time, and says nothing.

    Weights that are `copied` into another order are a little faster, and take twice the memory.
    """
    settings = xllamacpp.CommonParams()
    settings.model.path = str(path)
    if adapter:
        settings.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
    settings.n_ctx = context
    settings.n_parallel = 1
    settings.fit_params = False
    settings.warmup = False
    settings.no_extra_bufts = not copied
    settings.special = True  # control tokens that the model writes are spelled out, as our tokenizer does
    settings.cache_ram_mib = 0  # the state of past reports is not kept
    if threads:
        settings.cpuparams.n_threads = threads
        settings.cpuparams_batch.n_threads = threads
    settings.verbosity = -1
    settings.hostnames = [address]
    settings.port = 0
    settings.n_threads_http = 1
    settings.api_keys = [secrets.token_urlsafe(32)]
    settings.ui = False
    settings.endpoint_slots = settings.endpoint_props = settings.endpoint_metrics = False
    return settings


class WheelModel:
    """A GGUF model in llama.cpp's server. Safe to use from several threads, which wait for each other.

    The state of the last prompt is kept: the beginning that the next one shares with it is not computed again.
    """

    def __init__(
        self, name: str, server: Any, renderer: Renderer, context_tokens: int, manifest: dict[str, Any] | None
    ) -> None:
        self.name = name
        self.renderer = renderer
        self.context_tokens = context_tokens
        self.manifest = manifest
        self._lock = threading.Lock()
        self._ends = {number: renderer.tokenizer.decode([number]) for number in end_ids(renderer)}
        self._servers = [server]
        # Dropping the server ends its threads; also when the process exits without `close`.
        self._drop = weakref.finalize(self, self._servers.clear)

    def complete(
        self, requests: Sequence[Request], stop: Callable[[], bool] = never
    ) -> Iterator[tuple[int, Completion]]:
        """Complete the requests, greedily, in their order."""
        for number, request in enumerate(requests):
            with self._lock:
                completion = (self._constrained if request.grammar else self._free)(request, stop)
            if stop():
                return
            yield number, completion

    def next_log_probabilities(self, prompt: Prompt, top: int) -> dict[int, float]:
        """Natural logarithms of the probability of the `top` likeliest ids after `prompt`, likeliest first.

        Without grammar or temperature. A probability that underflows is the lowest 32-bit float.
        """
        with self._lock:
            return self._likely(prompt.ids, top)[0]

    def close(self) -> None:
        """Free the model; a second call does nothing."""
        with self._lock:
            self._drop()

    def _free(self, request: Request, stop: Callable[[], bool]) -> Completion:
        begin = time.perf_counter()
        pieces: list[str] = []
        last: dict[str, Any] = {}

        def take(answer: dict[str, Any]) -> bool:
            """Whether llama.cpp shall end the answer after this piece of it."""
            pieces.append(answer["choices"][0]["text"])
            last.update(answer)
            return stop() or time.perf_counter() - begin > request.seconds

        self._ask(request.prompt.ids, request.max_tokens, take)
        reason, text = last["choices"][0]["finish_reason"], "".join(pieces)
        if reason == "stop":
            text = text.removesuffix(next(filter(text.endswith, self._ends.values()), ""))
        return Completion(
            text=text,
            stop_reason="end" if reason == "stop" else "length" if reason else "time",
            prompt_tokens=len(request.prompt.ids),
            cached_tokens=_reused(last) if reason else 0,
            generated_tokens=last["usage"]["completion_tokens"] if reason else len(pieces),
            seconds=time.perf_counter() - begin,
        )

    def _constrained(self, request: Request, stop: Callable[[], bool]) -> Completion:
        """Ask for one token at each choice; what is forced in between is read as one batch with the next question."""
        begin = time.perf_counter()
        prompt, tokenizer, end = request.prompt.ids, self.renderer.tokenizer, self.renderer.end_id
        cached: list[int] = []

        def ask(beginning: Sequence[int], allowed: Sequence[int]) -> Mapping[int, float]:
            likely, reused = self._choose((*prompt, *beginning), allowed)
            cached.append(reused)
            return likely

        walk, late = Walk(request.grammar, tokenizer, end, request.max_tokens), False
        while walk.options and not late:
            walk.take(ask(walk.ids, walk.options))
            late = stop() or (bool(walk.options) and time.perf_counter() - begin > request.seconds)
        ids, probability = walk.ids, walk.probability
        found: tuple[Mapping[str, float], ...] = ()
        if not late:
            least = request.least if request.alternatives else None
            ids, probability, found = weigh(request.grammar, tokenizer, end, walk, ask, least)
        ended = ids[-1:] == [end]
        return Completion(
            text=tokenizer.decode(ids[:-1] if ended else ids),
            stop_reason="end" if ended else "time" if late else "length",
            prompt_tokens=len(prompt),
            cached_tokens=min(cached[0] if cached else 0, len(prompt)),
            generated_tokens=len(ids),
            probability=probability,
            alternatives=found,
            seconds=time.perf_counter() - begin,
        )

    def _choose(self, ids: Sequence[int], allowed: Sequence[int]) -> tuple[dict[int, float], int]:
        """The probability of each of `allowed` after `ids`, among these, and how many of `ids` were not computed again.

        All lifted alike, they are the likeliest, and llama.cpp tells of them as if there were no others.
        """
        if not any("\ufffd" in self.renderer.tokenizer.decode([token]) for token in allowed):
            lifted: dict[str, Any] = {"logit_bias": [[token, _LIFT] for token in allowed], "top_k": len(allowed)}
            reply = self._ask(ids, 1, **lifted, temperature=1.0, n_probs=len(allowed), post_sampling_probs=True)
            found = {entry["id"]: entry["prob"] for entry in reply["choices"][0]["logprobs"]["content"][0]["top_probs"]}
            if found.keys() == set(allowed):
                return found, _reused(reply)
        # llama.cpp tells nothing of tokens that are pieces of a character, unless it is asked for all there are.
        likely, reused = self._likely(ids, self.renderer.tokenizer.size)
        highest = max(likely[token] for token in allowed)
        weights = {token: math.exp(likely[token] - highest) for token in allowed}
        return {token: weight / sum(weights.values()) for token, weight in weights.items()}, reused

    def _likely(self, ids: Sequence[int], top: int) -> tuple[dict[int, float], int]:
        # llama.cpp tells probabilities only with a whole character. The grammar makes it write one, and comes after.
        whole = f"root ::= <[{self.renderer.tokenizer.encode('.')[0]}]>"
        reply = self._ask(ids, 1, n_probs=top, grammar=whole)
        [position] = reply["choices"][0]["logprobs"]["content"]
        found = {entry["id"]: entry["logprob"] for entry in position["top_logprobs"]}
        if None in found.values():
            raise ArithmeticError("the model's weights compute what is no number")
        return found, _reused(reply)

    def _ask(
        self,
        ids: Sequence[int],
        max_tokens: int,
        take: Callable[[dict[str, Any]], bool] | None = None,
        **settings: Any,
    ) -> dict[str, Any]:
        """llama.cpp's answer; with `take`, which gets it piece by piece, an empty one."""
        if not self._servers:
            raise RuntimeError("the model is closed")
        question = {
            "prompt": list(ids),
            "max_tokens": max_tokens,
            "temperature": 0.0,
            "samplers": ["top_k"],
            "top_k": 1,
            "cache_prompt": True,
            **settings,
        }
        if take is None:
            return _sound(self._servers[0].handle_completions(question))
        streamed = {**question, "stream": True, "stream_options": {"include_usage": True}}
        failed: list[BaseException] = []

        def checked(answer: dict[str, Any]) -> bool:
            try:
                return take(_sound(answer))
            except BaseException as error:  # Through llama.cpp it would be lost.
                failed.append(error)
                return True

        self._servers[0].handle_completions(streamed, checked)
        if failed:
            raise failed[0]
        return {}


def _sound(answer: dict[str, Any]) -> dict[str, Any]:
    if "choices" not in answer:
        raise RuntimeError(f"llama.cpp refused a request: {answer.get('error', {}).get('type')}")
    return answer


def _reused(reply: dict[str, Any]) -> int:
    """How many of the prompt's tokens were not computed again."""
    return int(reply["usage"]["prompt_tokens_details"]["cached_tokens"])
