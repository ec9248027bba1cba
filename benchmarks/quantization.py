"""What each step of quantisation costs in answers and saves: F16, Q8_0, Q5_K_M, Q4_K_M, and the last with importance.

    make demo && python benchmarks/quantization.py demo
    python benchmarks/quantization.py runs/mine --corpus corpus --limit 100

Given is an adapter, a merged folder, or the folder of a demo, whose merged models are taken one after the other. Each
kind answers the items of the test split through `evaluate_models`. Told are, per task, the value with its interval and
the paired difference from F16; size; the median of the seconds of an answer. With few items no score tells one kind
from the next, so how far the next token's probabilities are from F16's is told too: the Kullback-Leibler divergence
after the prompt and after the first ids of the true answer, on average over the items.
"""

import argparse
import contextlib
import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from radlite import manifest
from radlite.chat import Prompt
from radlite.data import corpus
from radlite.evaluation import comparison
from radlite.evaluation.estimate import mcnemar
from radlite.evaluation.run import Run, evaluate_models, progress
from radlite.evaluation.selection import sample
from radlite.export import gguf
from radlite.export.importance import ROWS, Importance, load, lost, measure, save
from radlite.export.merge import merge
from radlite.reader import turns
from radlite.runtime import engine, layout
from radlite.tasks import Example, named

KINDS = ("F16", "Q8_0", "Q5_K_M", "Q4_K_M", "Q4_K_M importance")
PLACES = 4
"""In an answer where probabilities are compared: after the prompt and after each of its first ids."""

_FLOOR = -40.0
"""Nats: an engine that tells no smaller probability is not held to it."""

Vector = NDArray[np.float32]


def written(folder: Path, room: Path, rows: Sequence[Example]) -> dict[str, Path]:
    """A file of each kind; those of an earlier run in the same room are taken as they are."""
    found: dict[str, Path] = {}
    for kind in KINDS:
        path = room / f"{folder.name}-{kind.replace(' ', '-')}.gguf"
        if not path.is_file():
            gguf.write(folder, path, kind.split()[0], importance=counted(folder, room, rows) if " " in kind else None)
        found[kind] = path
    return found


def counted(folder: Path, room: Path, rows: Sequence[Example]) -> Importance:
    """Importance in the model `folder`, measured once in a room."""
    path, config = room / f"{folder.name}-importance.gguf", layout.settings(folder)
    if not path.is_file():
        with progress(Console(stderr=True)) as bar:
            save(measure(folder, rows, bar), path, config)
    return load(path, folder, config)


def likelihoods(path: Path, items: Sequence[Example], adapter: Path | None = None) -> list[list[Vector]]:
    """Of each item and place the logarithms of the probability of all ids, in their order."""
    found = []
    with contextlib.closing(engine.open_model(path, remembered=0, adapter=adapter)) as model:
        for item in items:
            prompt = model.renderer.prompt(turns(named(item.task), item.inputs))
            answer = [*model.renderer.tokenizer.encode(item.answer), model.renderer.end_id][: PLACES - 1]
            told = []
            for count in range(len(answer) + 1):
                following = model.next_log_probabilities(
                    Prompt((*prompt.ids, *answer[:count]), prompt.text), model.renderer.tokenizer.size
                )
                logs = np.full(model.renderer.tokenizer.size, _FLOOR, np.float32)
                for token, log in following.items():
                    if token < len(logs):
                        logs[token] = max(log, _FLOOR)
                told.append(logs)
            found.append(told)
    return found


def divergences(exact: Sequence[Sequence[Vector]], other: Sequence[Sequence[Vector]]) -> list[float]:
    """Mean Kullback-Leibler divergence of each item's places, in nats."""
    return [
        float(np.mean([np.exp(true, dtype=np.float64) @ (true - found) for true, found in zip(*pair, strict=True)]))
        for pair in zip(exact, other, strict=True)
    ]


def told(kind: str, run: Run, exact: Run, apart: Sequence[float]) -> dict[str, Any]:
    """Print what one kind comes to."""
    seconds = statistics.median(answer.seconds for answer in run.answered)
    compared = comparison.compare(run.answered, exact.answered)
    print(
        f"\n{kind}: {run.setup.size / 1e6:,.2f} MB, {seconds * 1000:,.1f} ms an answer, divergence from F16 "
        f"{np.mean(apart):.5f} nats (worst item {max(apart):.4f}, n={len(apart)})"
    )
    for one in compared:
        gap = one.difference
        against = f"; less F16 {gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}], {one.words}" if run != exact else ""
        print(f"  {one.task} {one.metric} {one.first}{against}")
    return {
        "kind": kind,
        "bytes": run.setup.size,
        "median_seconds": seconds,
        "divergence": float(np.mean(apart)),
        "tasks": comparison.as_json(compared),
    }


def ladder(folder: Path, given: argparse.Namespace, room: Path) -> list[dict[str, Any]]:
    """All kinds of one merged model."""
    rows = corpus.read(given.corpus, split="train")
    items = sample(corpus.read(given.corpus, split="test"), given.limit)
    files = written(folder, room, sample(rows, ROWS))
    with progress(Console(stderr=True)) as bar:
        runs = evaluate_models([str(path) for path in files.values()], items, room / "results", progress=bar)
    probes = sample(items, given.probes)
    exact = likelihoods(files["F16"], probes)
    apart = {kind: divergences(exact, likelihoods(path, probes)) for kind, path in files.items()}
    print(
        f"\n{folder.name}: {len(items)} items of {len({item.task for item in items})} tasks; divergence at {PLACES} "
        f"places of each of {len(probes)}"
    )
    found = [told(kind, run, runs[0], apart[kind]) for kind, run in zip(files, runs, strict=True)]
    config, counts = layout.settings(folder), counted(folder, room, sample(rows, ROWS))
    errors = [lost(files[kind], folder, config, counts) for kind in ("Q4_K_M", "Q4_K_M importance")]
    plain, heeding = apart["Q4_K_M"], apart["Q4_K_M importance"]
    nearer = sum(one < other for one, other in zip(heeding, plain, strict=True))
    farther = sum(one > other for one, other in zip(heeding, plain, strict=True))
    print(
        f"\n{folder.name}: Q4_K_M with importance is nearer to F16 than without on {nearer} of {len(plain)} items "
        f"(sign test p {mcnemar(nearer, farther):.2g}); ratio of divergences {np.mean(heeding) / np.mean(plain):.2f}; "
        f"weighted error {errors[1]:.6f} with and {errors[0]:.6f} without"
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="adapter, merged folder, or folder of a demo")
    parser.add_argument("--corpus", type=Path, help="the demo's if not given")
    parser.add_argument("--limit", type=int, default=50, help="items of each task")
    parser.add_argument("--probes", type=int, default=20, help="items of each task for the divergence")
    parser.add_argument("--keep", type=Path, help="folder for files and answers, which a later run takes up")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    merged = [path.parent for path in sorted((given.model / "merged").glob(f"*/{manifest.NAME}"))]
    given.corpus = given.corpus or given.model / "corpus"
    with tempfile.TemporaryDirectory() as temporary:
        room = given.keep or Path(temporary)
        if not merged and manifest.read(given.model).get("kind") == "adapter":
            merged = [merge(given.model, room / "merged" / given.model.resolve().name)]
        found = {path.name: ladder(path, given, room / path.name) for path in merged or [given.model]}
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
