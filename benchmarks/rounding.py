"""Training that knows the rounding against training that does not: which answers better as a file for the CPU?

    python benchmarks/rounding.py --room runs/rounding
    python benchmarks/rounding.py --room runs/rounding --rows 60 --steps 20 --limit 5 --bases tiny-qwen3   # a trial

On each tiny base two adapters are trained from the same recipe, seeds and rows: one on the base as it is, one on the
base rounded to Q4_K_M (`--kind`; NF4 needs radlite[qlora]). Files are made of them in every way there is:

    plain                 merged, then rounded
    plain over            the base rounded, the adapter over it
    aware                 merged onto the rounded base, then rounded again
    aware unrounded       merged onto the base as it is, then rounded
    aware over            the rounded base, the adapter over it: as trained

For NF4, which no GGUF has, what is rounded is rounded to Q4_K_M. All answer the same test items. Told are, of each
file: nats a token that the true answer costs (its first tokens) and how much more than `plain`'s, item by item; how far
the next token's probabilities are from the same adapter's in F16; and the score of each task with the paired difference
from `plain`, Holm's method over the tasks. All that was done is kept in the room and not done again.

With `--ladder` instead: how far files of each kind are from what was trained, if the adapter that knew the rounding is
merged onto the rounded base, and if onto the base as it is.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from quantization import PLACES, Vector, divergences, likelihoods
from radlite.data import corpus
from radlite.data.build import build
from radlite.data.sources import sample as source
from radlite.demo import BASES, base_folder
from radlite.evaluation import comparison
from radlite.evaluation.estimate import Estimate, mcnemar, statistic
from radlite.evaluation.run import evaluate_models, progress
from radlite.evaluation.selection import sample
from radlite.export import adapter as adapters
from radlite.export import gguf
from radlite.export.merge import merge
from radlite.runtime.rounding import KINDS, NF4
from radlite.tasks import Example
from radlite.training.config import TrainConfig, load
from radlite.training.trainer import train

RECIPE = Path(__file__).parents[1] / "recipes" / "tiny.yaml"
LADDER = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_K_S", "IQ4_XS")
ARMS = ("plain", "plain over", "aware", "aware unrounded", "aware over")


def trained(given: argparse.Namespace, base: str, seed: int, kind: str | None, room: Path) -> Path:
    """The adapter of one arm; what an earlier call began goes on."""
    recipe = load(RECIPE).model_dump(exclude_unset=True)
    settings: dict[str, Any] = {
        "base": str(base_folder(base)), "corpus": given.room / "corpus", "out": room / f"adapter-{kind or 'plain'}",
        "seed": seed, "base_quantized": kind, "max_steps": given.steps,
    }  # fmt: skip
    return train(TrainConfig(**{**recipe, **settings}), resume=True)


def files(base: Path, plain: Path, aware: Path, kind: str, room: Path) -> dict[str, str]:
    """The files of all arms, and in F16 the adapters as they were trained; those that are there are taken."""
    small = "Q4_K_M" if kind == NF4 else kind
    merged = {
        "plain": lambda: merge(plain, room / "merged" / "plain"),
        "aware": lambda: merge(aware, room / "merged" / "aware", rounded=True),
        "aware unrounded": lambda: merge(aware, room / "merged" / "aware-unrounded", rounded=False),
    }
    found = {}
    for arm, make in merged.items():
        for to in (small, "F16"):
            path = room / f"{arm.replace(' ', '-')}-{to}.gguf"
            if not path.is_file():
                gguf.write(make(), path, to)
            found[arm if to == small else f"{arm} F16"] = str(path)
    below = room / f"base-{small}.gguf"
    if not below.is_file():
        gguf.write(base, below, small)
    for arm, adapter in (("plain", plain), ("aware", aware)):
        path = room / f"{arm}.gguf"
        if not path.is_file():
            adapters.write(adapter, path)
        found[f"{arm} over"] = f"{below}+{path}"
    return found


def told_by(place: str, items: Sequence[Example]) -> list[list[Vector]]:
    """As `likelihoods`, of a file or of a base and an adapter."""
    base, plus, adapter = place.rpartition("+")
    return likelihoods(Path(base), items, Path(adapter)) if plus else likelihoods(Path(place), items)


def nats(told: Sequence[Sequence[Vector]], ends: Sequence[Sequence[int]]) -> list[float]:
    """What a token of each true answer costs on average, in nats, over its first tokens."""
    return [
        float(np.mean([-logs[token] for logs, token in zip(places, answer, strict=False)]))
        for places, answer in zip(told, ends, strict=True)
    ]


def answers(path: str, items: Sequence[Example]) -> list[list[int]]:
    """The first ids of each true answer."""
    from radlite.runtime import gguf as header

    renderer = header.read(Path(path)).renderer()
    return [[*renderer.tokenizer.encode(item.answer), renderer.end_id][:PLACES] for item in items]


def measure(given: argparse.Namespace, base: str, seed: int, kind: str) -> list[dict[str, Any]] | None:
    """All arms of one base, seed and kind: printed, and as JSON. None if time ran out."""
    room = given.room / f"{base}-{seed}-{kind}"
    done = room / f"measured-{given.limit}-{given.probes}.json"
    if not done.is_file():
        adapter = {}
        for name in (None, kind):
            if time.monotonic() > given.end:
                return None
            adapter[name] = trained(given, base, seed, name, given.room / f"{base}-{seed}")
        made = files(base_folder(base), adapter[None], adapter[kind], kind, room)
        if time.monotonic() > given.end:
            return None
        items = sample(corpus.read(given.room / "corpus", split="test"), given.limit)
        with progress(Console(stderr=True)) as bar:
            runs = evaluate_models([made[arm] for arm in ARMS], items, room / "results", progress=bar)
        probes = sample(items, given.probes)
        true = answers(made["plain"], probes)
        told = {arm: told_by(path, probes) for arm, path in made.items()}
        costs = {arm: nats(found, true) for arm, found in told.items()}
        # Over the 16-bit base an adapter that knew the rounding is another model than was trained.
        exact = {arm: told["plain F16" if arm.startswith("plain") else "aware F16"] for arm in ARMS}
        found = [
            {
                "arm": arm, "nats": costs[arm], "divergence": divergences(exact[arm], told[arm]),
                "tasks": comparison.as_json(comparison.compare(run.answered, runs[0].answered)),
            }
            for arm, run in zip(ARMS, runs, strict=True)
        ]  # fmt: skip
        found += [{"arm": arm, "nats": costs[arm]} for arm in made if arm.endswith("F16")]
        done.write_text(json.dumps(found))
    return list(json.loads(done.read_text()))


def ladder(given: argparse.Namespace, base: str, seed: int, kind: str) -> None:
    """Print the mean divergence from what was trained, in nats, of every kind of file by both ways of merging."""
    adapter = trained(given, base, seed, kind, given.room / f"{base}-{seed}")
    probes = sample(corpus.read(given.room / "corpus", split="test"), given.probes)
    with tempfile.TemporaryDirectory(dir=given.room) as temporary:
        room = Path(temporary)
        merged = {rounded: merge(adapter, room / f"merged-{rounded}", rounded=rounded) for rounded in (True, False)}
        exact = likelihoods(gguf.write(merged[True], room / "exact.gguf", "F16"), probes)
        print(f"\n{base}, seed {seed}, trained on {kind}, {given.steps} steps, n={len(probes)}, {PLACES} places each")
        for to in LADDER:
            for rounded, folder in merged.items():
                found = divergences(exact, likelihoods(gguf.write(folder, room / "model.gguf", to), probes))
                middle, way = mean(found), "rounded" if rounded else "as it is"
                print(f"{to}, base {way}: {middle.value:.4f} [{middle.low:.4f}, {middle.high:.4f}]", flush=True)


def mean(values: Sequence[float]) -> Estimate:
    """With a bootstrap interval."""
    return gained(values, np.zeros(len(values)).tolist())


def gained(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """Mean of `first - second` over the same items, with a paired bootstrap interval."""
    gaps = np.array(first) - np.array(second)
    widest = float(np.abs(gaps).max())
    return statistic(lambda weights: weights @ gaps / len(gaps), len(gaps), floor=-widest, ceiling=widest)


def show(title: str, found: Sequence[dict[str, Any]]) -> None:
    """Print what the arms come to, each against `plain`."""
    plain = found[0]
    print(f"\n{title}; {len(plain['nats'])} items for nats and divergence, {PLACES} places each")
    for arm in found:
        more = gained(arm["nats"], plain["nats"])
        better = sum(one < other for one, other in zip(arm["nats"], plain["nats"], strict=True))
        worse = sum(one > other for one, other in zip(arm["nats"], plain["nats"], strict=True))
        apart = f", divergence from as trained {np.mean(arm['divergence']):.4f}" if "divergence" in arm else ""
        against = (
            f"; less plain {more.value:+.4f} [{more.low:+.4f}, {more.high:+.4f}], better on {better}, "
            f"worse on {worse}, sign test p {mcnemar(better, worse):.2g}"
        )
        print(f"{arm['arm']}: {np.mean(arm['nats']):.4f} nats a token{apart}{'' if arm is plain else against}")
    for arm in found[: len(ARMS)]:
        print(f"\n{arm['arm']}")
        for task in arm["tasks"]:
            gap, first = task["difference"], task["first"]
            words = f"; less plain {gap['value']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}], {task['words']}"
            print(
                f"  {task['task']} {task['metric']} {first['value']:.3f} [{first['low']:.3f}, {first['high']:.3f}], "
                f"n={task['n']}{'' if arm is plain else words}"
            )


def show_all(runs: Sequence[list[dict[str, Any]]]) -> None:
    """Print what the arms come to over several runs with the same items: each item counts by its mean over the runs."""
    print(f"\nAll {len(runs)} runs; intervals over items, not over seeds")
    plain = np.mean([found[0]["nats"] for found in runs], axis=0)
    for arms in zip(*runs, strict=True):
        costs = np.mean([arm["nats"] for arm in arms], axis=0)
        more = gained(costs.tolist(), plain.tolist())
        told = f"{arms[0]['arm']}: {costs.mean():.4f} nats a token, less plain {more.value:+.4f} "
        told += f"[{more.low:+.4f}, {more.high:+.4f}], by run "
        told += ", ".join(
            f"{np.mean(arm['nats']) - np.mean(found[0]['nats']):+.3f}" for arm, found in zip(arms, runs, strict=True)
        )
        if "divergence" in arms[0]:
            apart = mean(np.mean([arm["divergence"] for arm in arms], axis=0).tolist())
            score = np.mean([task["first"]["value"] for arm in arms for task in arm["tasks"]])
            told += f"; divergence from as trained {apart.value:.4f} [{apart.low:.4f}, {apart.high:.4f}]"
            told += f"; mean score of the tasks {score:.3f}"
        print(told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--room", type=Path, required=True, help="folder for all that is made; a later call goes on")
    parser.add_argument("--bases", default=",".join(BASES))
    parser.add_argument("--kind", choices=KINDS, default="Q4_K_M")
    parser.add_argument("--rows", type=int, default=300, help="rows of each task to learn from")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--limit", type=int, default=40, help="test items of each task")
    parser.add_argument("--probes", type=int, default=20, help="items of each task for nats and divergence")
    parser.add_argument("--ladder", action="store_true", help="how each kind of file bears each way of merging")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin nothing new after this time")
    given = parser.parse_args()
    given.end = time.monotonic() + given.seconds
    if not (given.room / "corpus" / corpus.NAME).is_file():
        counts = {"train": given.rows, "validation": 8, "test": given.limit}
        build({"sample": None}, given.room / "corpus", known={"sample": source.source(counts)})
    runs = []
    for seed in range(given.seeds):
        for base in given.bases.split(","):
            if given.ladder:
                ladder(given, base, seed, given.kind)
                continue
            found = measure(given, base, seed, given.kind)
            if found is None:
                print("Time is up; the same command goes on.")
                return
            show(f"{base}, seed {seed}, {given.kind}, {given.steps} steps, {given.limit} test items a task", found)
            runs.append(found)
    if len(runs) > 1:
        show_all(runs)


if __name__ == "__main__":
    main()
