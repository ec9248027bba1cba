"""What a recipe's settings do to short labels and to long texts, on the tiny bases: same rows, same items, paired.

    python benchmarks/recipes.py runs/recipes
    python benchmarks/recipes.py runs/recipes --base tiny-qwen3 --rows 60 --items 12 --arms token sqrt three
    python benchmarks/recipes.py runs/recipes --seconds 3000    # as often as it takes; the tables come each time
    python benchmarks/recipes.py runs/recipes --seconds 0       # the tables of what is there

Each arm is the same recipe but for what its name says: how the loss is normalised; a temperature; rsLoRA, LoRA+, DoRA,
dropout; one adapter for all tasks, one for each of three groups of tasks, or one for each of the nine; and means of
adapters. All see the same rows as often, in packs of as many tokens. Rows are those of the synthesiser, in three tasks
a quarter as many as in the others, so that a temperature has something to even out.

Told are, for each group of tasks, the mean of the tasks' primary metrics with its 95 % interval, the paired difference
from the reference arm, and p of a randomisation test, by Holm's method for all of a base's tests. A test is of these
adapters on these items: what another seed does, the arm `other seed` shows. Items are of the validation split, as a
default may be chosen by them. All is kept in the folder, and a run that was stopped at any instant goes on.
"""

import argparse
import json
import random
import statistics
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from radlite import manifest
from radlite.data import corpus, sources
from radlite.data.build import build
from radlite.demo import BASES, base_folder
from radlite.errors import UserError
from radlite.evaluation.comparison import Comparison, compare, macro, told_p
from radlite.evaluation.estimate import holm
from radlite.evaluation.metrics import Answered
from radlite.evaluation.run import evaluate_models, progress, runs
from radlite.evaluation.selection import sample
from radlite.export.average import average
from radlite.files import exclusive
from radlite.tasks import TASKS, Example
from radlite.training.config import TrainConfig
from radlite.training.trainer import LOG, train

LABELS = ("rads_assignment", "n_staging", "m_staging", "radiology_nli")
EXTRACTION = ("radiology_ner", "abnormality_detection", "temporal_comparison")
GENERATION = ("impression_generation", "radiology_qa")
GROUPS = {"short labels": LABELS, "long texts": EXTRACTION + GENERATION, "all": LABELS + EXTRACTION + GENERATION}

SCARCE = ("rads_assignment", "radiology_nli", "impression_generation")
"""Tasks with a quarter of the rows: of those that the paper shows more often, as it has fewer of them."""

SPLIT = "validation"
RATE = 2e-3
REFERENCE = "token"


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to train."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, Sequence[str]] = field(default_factory=lambda: {"one": tuple(TASKS)})
    """Name of each adapter, and its tasks."""
    mean_of: Sequence[str] = ()
    """Arms whose adapters are averaged, in place of training."""
    seed: int = 0
    """Added to the seed of the experiment."""


ARMS: dict[str, Arm] = {
    REFERENCE: Arm(),
    "sample": Arm({"loss_norm": "sample"}),
    "sqrt": Arm({"loss_norm": "sqrt"}),
    "task": Arm({"loss_norm": "task"}),
    "other seed": Arm(seed=1),
    "three": Arm(parts={"labels": LABELS, "extraction": EXTRACTION, "generation": GENERATION}),
    "nine": Arm(parts={task: (task,) for task in TASKS}),
    "temperature 2": Arm({"temperature": 2}),
    "rslora": Arm({"rslora": True}),
    # Of A a quarter of the others' rate, of B four times: the product of both stays.
    "lora+": Arm({"lora_plus_ratio": 16, "learning_rate": RATE / 4}),
    "dora": Arm({"dora": True}),
    "dropout": Arm({"dropout": 0.05}),
    "mean of two seeds": Arm(mean_of=(REFERENCE, "other seed")),
    "mean of three": Arm(mean_of=("three",)),
}


@dataclass(frozen=True, slots=True)
class Done:
    """What an arm came to on a base."""

    answered: list[Answered]
    shares: Mapping[str, float]
    """Of each task in the gradient, where there is one adapter that was trained."""
    speed: float | None
    """Median of useful tokens a second between two lines of the training log."""


class Room:
    """The folder of an experiment: its corpus, and of each base and arm the adapters and answers."""

    def __init__(self, out: Path, rows: int, items: int, epochs: int, seed: int) -> None:
        self.out, self.epochs, self.seed = out, epochs, seed
        self.corpus = out / f"corpus-{rows}-{items}"
        if not (self.corpus / corpus.NAME).is_file():
            self._make(rows, items)
        self.items = sample(corpus.read(self.corpus, split=SPLIT), items)

    def _make(self, rows: int, items: int) -> None:
        counts = {"train": rows, SPLIT: items, "test": 1}
        with TemporaryDirectory(dir=self.out) as whole:
            made = build({"sample": None}, Path(whole) / "c", known={"sample": sources.sample.source(counts)})
            found = list(corpus.scan(Path(whole) / "c"))
        kept = [row for task in TASKS for row in _thinned([row for row in found if row.task == task])]
        corpus.write(self.corpus, kept, {"sources": made.get("sources", {})})

    def _place(self, base: str, arm: str) -> Path:
        return self.out / base / f"seed-{self.seed}" / arm.replace(" ", "-")

    def _adapters(self, base: str, arm: str) -> dict[str, Path]:
        return {name: self._place(base, arm) / name for name in ARMS[arm].parts}

    def run(self, base: str, arm: str) -> None:
        """Train what is not trained yet, and ask what is not answered yet."""
        for name, adapter in self._adapters(base, arm).items():
            tasks = ARMS[arm].parts[name]
            if not ARMS[arm].mean_of:
                train(self._recipe(base, arm, tasks, adapter), resume=True)
            elif not adapter.exists():
                average([one for other in ARMS[arm].mean_of for one in self._adapters(base, other).values()], adapter)
            items = [item for item in self.items if item.task in tasks]
            with progress(Console(stderr=True)) as bar:
                evaluate_models([str(adapter)], items, self._place(base, arm) / "answers", progress=bar)

    def _recipe(self, base: str, arm: str, tasks: Sequence[str], adapter: Path) -> TrainConfig:
        usual: dict[str, Any] = {
            "rank": 64, "alpha": 128, "learning_rate": RATE, "warmup": 0.05, "max_tokens": 1024, "pack_tokens": 2048,
            "rows_per_step": 1, "epochs": self.epochs, "evaluate_every": 10_000, "save_every": 50,
            "loss_norm": "token",
        }  # fmt: skip
        return TrainConfig(
            base=str(base_folder(base)), corpus=self.corpus, out=adapter, tasks=dict.fromkeys(tasks, 1.0),
            seed=self.seed + ARMS[arm].seed, **{**usual, **ARMS[arm].settings},
        )  # fmt: skip

    def done(self, base: str, arm: str) -> Done | None:
        """What the arm came to, if all of it is there."""
        try:
            found = [one for run in runs(self._place(base, arm) / "answers") for one in run.answered]
        except UserError:  # there is none, or one was not finished
            return None
        if {(one.task, one.id) for one in found} != {(item.task, item.id) for item in self.items}:
            return None
        adapters = list(self._adapters(base, arm).values())
        trained = [adapter for adapter in adapters if (adapter / LOG).is_file()]
        logs = [json.loads(line) for one in trained for line in (one / LOG).read_text("utf-8").splitlines()]
        speeds = [line["tokens_per_second"] for line in logs if "tokens_per_second" in line]
        mixture = manifest.read(trained[0])["mixture"] if len(adapters) == len(trained) == 1 else {}
        shares = {task: one["gradient_share"] for task, one in mixture.items()}
        return Done(found, shares, statistics.median(speeds) if speeds else None)


def _thinned(rows: Sequence[Example]) -> list[Example]:
    """The rows of a task, of a scarce one a quarter of those to train on."""
    learned = [row for row in rows if row.split == "train"]
    if rows and rows[0].task in SCARCE:
        learned = random.Random(0).sample(learned, -(-len(learned) // 4))
    return [*learned, *(row for row in rows if row.split != "train")]


def told(base: str, found: Mapping[str, Done]) -> list[dict[str, Any]]:
    """Print the table of a base, in Markdown, and return it with every task's own comparison."""
    reference = found[REFERENCE]
    tests: dict[tuple[str, str], Comparison] = {}
    for arm, one in found.items():
        for group, tasks in GROUPS.items():
            mine, theirs = ([item for item in done.answered if item.task in tasks] for done in (one, reference))
            tests[arm, group] = macro(mine, theirs)
    tested = [key for key in tests if key[0] != REFERENCE]
    adjusted = dict(zip(tested, holm([tests[key].probability for key in tested]), strict=True))
    counts = ", ".join(f"{group} n={tests[REFERENCE, group].n}" for group in GROUPS)
    print(f"\n{base}: mean of the tasks' primary metrics; {counts}; less {REFERENCE}; p by Holm for {len(tested)}\n")
    print(
        f"| arm | gradient of labels | {' | '.join(f'{group} | less {REFERENCE}, p' for group in GROUPS)} | tokens/s |"
    )
    print("|---" * (3 + 2 * len(GROUPS)) + "|")
    for arm, one in found.items():
        share = f"{sum(one.shares[task] for task in LABELS):.0%}" if one.shares else ""
        cells = [cell for group in GROUPS for cell in _cells(tests[arm, group], adjusted.get((arm, group)))]
        print(f"| {arm} | {share} | {' | '.join(cells)} | {f'{one.speed:,.0f}' if one.speed else ''} |")
    return [
        {
            "base": base,
            "arm": arm,
            "gradient": dict(one.shares),
            "tokens_per_second": one.speed,
            "groups": {group: {**asdict(tests[arm, group]), "holm": adjusted.get((arm, group))} for group in GROUPS},
            "tasks": [asdict(task) for task in compare(one.answered, reference.answered)],
        }
        for arm, one in found.items()
    ]


def _cells(test: Comparison, adjusted: float | None) -> tuple[str, str]:
    value, gap = test.first, test.difference
    against = f"{gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}] {told_p(adjusted)}" if adjusted is not None else ""
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]", against


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder in which all is kept")
    parser.add_argument("--base", nargs="+", choices=BASES, default=list(BASES))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--rows", type=int, default=300, help="rows of each task; a quarter in the scarce ones")
    parser.add_argument("--items", type=int, default=40, help="items of each task that are asked")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, help="begin no other arm after so long")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    warnings.filterwarnings("ignore", module=r"transformers\b")
    begun = time.monotonic()
    given.out.mkdir(parents=True, exist_ok=True)
    needed = {REFERENCE, *given.arms, *(other for arm in given.arms for other in ARMS[arm].mean_of)}
    arms = [arm for arm in ARMS if arm in needed]
    with exclusive(given.out):
        room = Room(given.out, given.rows, given.items, given.epochs, given.seed)
        for arm in arms:
            for base in given.base:
                if given.seconds is not None and time.monotonic() - begun > given.seconds:
                    continue
                if not room.done(base, arm):
                    room.run(base, arm)
        lines = []
        for base in given.base:
            found = {arm: done for arm in arms if (done := room.done(base, arm))}
            if REFERENCE in found:
                lines += told(base, found)
            missing = [arm for arm in arms if arm not in found]
            if missing:
                print(f"\n{base}: not done yet: {', '.join(missing)}")
    if given.json:
        given.json.write_text(json.dumps(lines, indent=1), "utf-8")


if __name__ == "__main__":
    main()
