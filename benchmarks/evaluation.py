"""What evaluation costs beside the model: prompting, reading, judging, writing; then the intervals of all tasks.

A scripted model takes 50 ms an answer. Our own share of the time is what is left; the budget is 2 %. The intervals of
nine tasks with 500 items each, 2,000 resamples for every metric and slice, have a budget of 10 s.

    python benchmarks/evaluation.py
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from radlite.chat import Renderer
from radlite.data.sample import MAKERS, examples
from radlite.demo import BASES, base_folder
from radlite.evaluation.metrics import rows
from radlite.evaluation.run import evaluate
from radlite.reader import Reader
from radlite.runtime.model import Completion, Request, never
from radlite.runtime.scripted import ScriptedModel
from radlite.tasks import Example


class Slow(ScriptedModel):
    """A scripted model that takes its time, and knows how long that was."""

    def __init__(self, answers: Sequence[str], seconds: float) -> None:
        super().__init__(answers, Renderer.from_folder(base_folder(BASES[-1])))
        self.seconds = seconds
        self.spent = 0.0

    def complete(
        self, requests: Sequence[Request], stop: Callable[[], bool] = never
    ) -> Iterator[tuple[int, Completion]]:
        for found in super().complete(requests, stop):
            begun = time.perf_counter()
            time.sleep(self.seconds)
            self.spent += time.perf_counter() - begun
            yield found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=500, help="of each task, for the intervals")
    parser.add_argument("--asked", type=int, default=60, help="of each task, for the overhead")
    parser.add_argument("--seconds", type=float, default=0.05, help="that the model takes for an answer")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = {"overhead": overhead(given.asked, given.seconds), "intervals": intervals(given.items)}
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


def made(count: int) -> list[Example]:
    """So many items of each task."""
    return [example for task in MAKERS for example in examples(task, "test", count)]


def overhead(count: int, seconds: float) -> dict[str, float]:
    """Share of the time that is not the model's, without and with the rows."""
    items = made(count)
    first = items[:: max(1, len(items) // 20)]
    model = Slow([item.answer for item in [*first, *items]], seconds)
    with tempfile.TemporaryDirectory() as folder:
        evaluate(Reader(model), first, Path(folder))  # what is loaded and compiled once is not counted
    model.spent = 0.0
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        answered = evaluate(Reader(model), items, Path(folder))
        asked = time.perf_counter() - begun
        rows(answered, "scripted", "base")
        whole = time.perf_counter() - begun
    shares = {"asking": 1 - model.spent / asked, "with rows": 1 - model.spent / whole}
    print(
        f"{len(items)} answers of {seconds * 1000:.0f} ms: {asked:.1f} s, of which {shares['asking']:.2%} ours; with "
        f"the rows of {len(MAKERS)} tasks {whole:.1f} s and {shares['with rows']:.2%}"
    )
    return {"answers": len(items), **shares}


def intervals(count: int) -> dict[str, float]:
    """Seconds for the rows of all tasks, every third answer being that to another item."""
    items = made(count)
    texts = [items[at - 1].answer if at % 3 == 0 else item.answer for at, item in enumerate(items)]
    with tempfile.TemporaryDirectory() as folder:
        answered = evaluate(Reader(ScriptedModel(texts)), items, Path(folder))
    begun = time.perf_counter()
    found = rows(answered, "scripted", "base")
    spent = time.perf_counter() - begun
    print(f"{len(found):,} intervals of {len(MAKERS)} tasks with {count} items: {spent:.1f} s")
    return {"rows": len(found), "seconds": spent}


if __name__ == "__main__":
    main()
