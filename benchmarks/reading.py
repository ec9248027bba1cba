"""How long answers take on a CPU: the paper's notebook, llama.cpp's server used plainly, and both engines of RadLite.

    radlite bench --shape qwen2.5-3b --keep 3b.gguf
    python benchmarks/reading.py 3b.gguf

All read the same GGUF on all cores (native as its tuning says) or with --threads, taking turns, so that what else the
machine does falls on all alike; what is printed are ratios within a turn. Each has a process of its own, as it has in
use: threads of two libraries in one process make each other's steps slower. Three kinds of work: a panel of seven tasks
on one report, one label task, and a batch of reports with three tasks each. Weights may be random: free answers
(impression, changes, entities) are as long as the synthesiser's true ones and never end before; labels and states
follow the tasks' grammars. Guesses from the report do not come true on random weights, so what they save is not counted
here. Before each turn a system reads the beginning of another report, untimed: virtual machines may take memory from
processes that wait, as all but one do here.

* notebook: llama-cpp-python's `Llama`, 2,048 tokens of context, the task before the report, one task after another,
  temperature 0.1, stopping at the end of turn, as many tokens as the true answer has (arXiv 2605.00421, its demo).
* server: llama.cpp's server with the report before the task and its own prompt cache, nothing else.
* wheel, native: the engines.
"""

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from radlite.chat import Renderer
from radlite.files import sha256, write_json
from radlite.reader import Reader, turns
from radlite.runtime import gguf, machine, native, tuning, wheel
from radlite.runtime.model import Model
from radlite.runtime.tuning import Settings
from radlite.serving import bench
from radlite.serving.bench import BATCH, PANEL, Item, items
from radlite.tasks import named
from radlite.tasks.prompting import Prompts

CONTEXT = 2048


class Notebook:
    """The paper's path."""

    def __init__(self, path: Path, threads: int, renderer: Renderer) -> None:
        import llama_cpp

        self._llama = llama_cpp.Llama(
            str(path), n_ctx=CONTEXT, n_threads=threads, n_threads_batch=threads, verbose=False, seed=0
        )
        self._ends = {renderer.end_id, renderer.tokenizer.control.get("<|endoftext|>", renderer.end_id)}
        self._renderer = renderer

    def run(self, asked: Sequence[Item]) -> None:
        for name, report, tokens in asked:
            put = turns(named(name), {"report": report}, "instruction", prompts=Prompts("task-first"))
            prompt = self._renderer.prompt(put)
            answer = self._llama.create_completion(
                list(prompt.ids), max_tokens=tokens, temperature=0.1, stop=[self._renderer.end],
                logit_bias=dict.fromkeys(self._ends, -100.0),
            )  # fmt: skip
            assert answer["usage"]["completion_tokens"] >= tokens - 1, answer["usage"]


class Server:
    """llama.cpp's server, plainly."""

    def __init__(self, path: Path, threads: int, renderer: Renderer) -> None:
        self._model = wheel.open_model(path, CONTEXT, threads)
        self._renderer = renderer

    def run(self, asked: Sequence[Item]) -> None:
        for name, report, tokens in asked:
            prompt = self._renderer.prompt(turns(named(name), {"report": report}))
            self._model._ask(prompt.ids, tokens, ignore_eos=True)


class Engine:
    """One of RadLite's engines, asked as `radlite.reader` asks it."""

    def __init__(self, model: Model) -> None:
        self._reader = Reader(model)

    def run(self, asked: Sequence[Item]) -> None:
        for _ in self._reader.model.complete([bench.asked(self._reader, item) for item in asked]):
            pass


def opened(name: str, path: Path, threads: int, chosen: Settings) -> Notebook | Server | Engine:
    """One of the four."""
    renderer = gguf.read(path).renderer()
    if name == "notebook":
        return Notebook(path, threads, renderer)
    if name == "server":
        return Server(path, threads, renderer)
    if name == "wheel":
        return Engine(wheel.open_model(path, CONTEXT, threads))
    return Engine(native.open_model(path, CONTEXT, guesses=False, cells=4 * CONTEXT, chosen=chosen))


def begin(*given: Any) -> None:
    """In the process of a system: open it."""
    global system
    system = opened(*given)


def seconds(work: Sequence[Item], before: Item) -> float:
    """In the process of a system: let it do a piece of work, after another one that counts for nothing."""
    system.run([before])
    begun = time.perf_counter()
    system.run(work)
    return time.perf_counter() - begun


def rounds(
    systems: dict[str, Callable[..., float]],
    works: Sequence[Sequence[Item]],
    what: str,
    kept: Callable[[], None],
    spent: dict[str, list[float]],
) -> None:
    """Let all systems do each piece of work that is not in `spent`, in an order that turns; print the ratios."""
    order = list(systems)
    for number in range(len(spent.setdefault(order[0], [])), len(works)):
        taken = {}
        for name in order[number % len(order) :] + order[: number % len(order)]:
            task, report, tokens = works[number - 1][0]
            taken[name] = systems[name](works[number], (task, f"{number}. {report[:400]}", tokens))
        for name in order:
            spent.setdefault(name, []).append(taken[name])
        kept()
        print(f"  {what} {number + 1}/{len(works)}: " + ", ".join(f"{n} {s[-1]:.2f} s" for n, s in spent.items()))
    for name in order:
        ratios = [first / own for first, own in zip(spent[order[0]], spent[name], strict=True)]
        print(
            f"{what}, {name}: {statistics.median(spent[name]):.2f} s, {statistics.median(ratios):.2f} times as fast as "
            f"{order[0]} ({min(ratios):.2f}-{max(ratios):.2f}, n={len(ratios)})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--panels", type=int, default=20)
    parser.add_argument("--labels", type=int, default=20)
    parser.add_argument("--batches", type=int, default=2, help="of 16 reports with three tasks")
    parser.add_argument("--threads", type=int, help="all cores unless given, and native as its tuning says")
    parser.add_argument("--systems", default="notebook,server,wheel,native")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="seconds of each piece; a run that was interrupted goes on from it")
    given = parser.parse_args()
    header = gguf.read(given.model)
    renderer, threads = header.renderer(), given.threads or machine.cores()
    chosen = Settings(threads) if given.threads else tuning.settings(header, print)
    print(f"{threads} threads; native: {chosen}")
    systems: dict[str, Callable[..., float]] = {}
    for name in given.systems.split(","):
        at = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), begin, (name, given.model, threads, chosen))
        systems[name] = lambda *work, at=at: at.submit(seconds, *work).result()
    panels = items(renderer, PANEL, given.panels, given.seed)
    labels = items(renderer, ("m_staging",), given.labels, given.seed + 2)
    batches = [
        [item for report in items(renderer, BATCH, 16, given.seed + 3 + number) for item in report]
        for number in range(given.batches)
    ]
    depends = {"model": sha256(given.model), "threads": threads, "native": str(chosen), "seed": given.seed}
    found: dict[str, Any] = {**depends, "systems": given.systems, "seconds": {}}
    if given.json and given.json.is_file():
        before = json.loads(given.json.read_text())
        if {**before, "seconds": {}} != found:
            raise SystemExit(f"{given.json} is of another model, machine or choice; give another --json.")
        found = before

    def kept() -> None:
        if given.json:
            write_json(given.json, found)

    for what, works in (("panel", panels), ("label", labels), ("batch", batches)):
        if works:
            rounds(systems, works, what, kept, found["seconds"].setdefault(what, {}))


if __name__ == "__main__":
    main()
