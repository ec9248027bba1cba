"""The whole path once, on the tiny bases and sample data: what the paper claims, at a size for a laptop."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from radlite import manifest
from radlite.data import corpus, sample
from radlite.errors import UserError
from radlite.evaluation import baselines, metrics, report, selection
from radlite.evaluation.run import evaluate
from radlite.files import read_json, write_json
from radlite.reader import Reader
from radlite.routing.router import SPLIT, learn
from radlite.runtime.model import Model
from radlite.tasks import TASKS, Example

BASES = ("tiny-qwen2.5", "tiny-qwen3")
SHOTS = 3


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything: rows of the corpus for each task, steps of training, items asked of each model."""

    train: int
    validation: int
    test: int
    steps: int
    verified: int


FULL = Scale(train=800, validation=40, test=60, steps=400, verified=10)
FAST = Scale(train=60, validation=6, test=8, steps=12, verified=2)


def base_folder(name: str) -> Path:
    """The folder of a tiny base that ships with the package."""
    folder = Path(str(resources.files("radlite") / "models" / name))
    if not (folder / "model.safetensors").is_file():
        raise UserError(f"This installation lacks the tiny base {name}; install radlite again from a whole checkout.")
    return folder


def run(out: Path, fast: bool = False, console: Console | None = None) -> dict[str, Any]:
    """Run every step that `out` does not hold yet, write `summary.json` there and print its table.

    What a run was interrupted in goes on where it stood. Raises `UserError` if `out` holds a demo of another scale.
    """
    return _Demo(out, FAST if fast else FULL, console or Console()).run()


class _Demo:
    """One demonstration in a folder: steps in order, their seconds, the result rows."""

    def __init__(self, out: Path, scale: Scale, console: Console) -> None:
        self.out, self.scale, self.console = out, scale, console
        self.seconds: dict[str, float] = {}
        self.rows: list[metrics.Row] = []
        self.validation: list[metrics.Row] = []
        self.files: dict[str, int] = {}

    def run(self) -> dict[str, Any]:
        self._claim()
        with self._step("corpus", "Sample corpus: reports of nine tasks, answers by rule"):
            self._corpus()
        self.train, self.test, self.valid = (
            corpus.read(self.out / "corpus", split=split) for split in ("train", "test", "validation")
        )
        with self._step("baselines", "Baselines: most frequent answer, TF-IDF with logistic regression"):
            self.rows += metrics.rows(baselines.majority(self.train, self.test), "majority", "baseline")
            self.rows += metrics.rows(baselines.tfidf(self.train, self.test), "tfidf", "baseline")
        for name in BASES:
            self._base(name)
        router = learn(self.validation)
        router.save(self.out / "router.json")
        quantized = [row for row in self.rows if row["stage"] == "quantized"]
        self.rows += metrics.routed(quantized, router.model_for)
        summary = {
            "scale": asdict(self.scale),
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
            "bytes": self.files,
            "wordings": sample.census(),
            "unseen_wording_items": sum("unseen_wording" in row.tags for row in self.test),
            "test_items": len(self.test),
        }
        report.write_summary(self.out / "summary.json", self.rows, summary)
        self._show(summary)
        return summary

    def _claim(self) -> None:
        """Refuse to mix two scales in one folder; a rerun of the same one goes on."""
        mark = self.out / "demo.json"
        wanted = {"scale": asdict(self.scale), "bases": {n: manifest.weights_hash(base_folder(n)) for n in BASES}}
        if mark.is_file():
            if read_json(mark, "demo's settings") != wanted:
                raise UserError(f"{self.out} holds a demo with other settings; choose another --out or delete it.")
        elif self.out.exists() and any(self.out.iterdir()):
            raise UserError(f"{self.out} is not empty and holds no demo; choose another --out.")
        else:
            write_json(mark, wanted)

    def _corpus(self) -> None:
        folder = self.out / "corpus"
        if (folder / corpus.NAME).is_file():
            return
        rows = [
            row
            for task in TASKS
            for split, count in (
                ("train", self.scale.train), ("validation", self.scale.validation), ("test", self.scale.test)
            )
            for row in sample.examples(task, split, count)
        ]  # fmt: skip
        corpus.write(folder, rows, {"seed": sample.SEED, "wordings": sample.census()})

    def _base(self, name: str) -> None:
        from radlite.export import gguf, merge, verify
        from radlite.runtime import hf, wheel
        from radlite.training.config import load
        from radlite.training.trainer import train

        base, adapter, merged = base_folder(name), self.out / "adapters" / name, self.out / "merged" / name
        exact, small = (self.out / "models" / f"{name}-{kind}.gguf" for kind in ("F16", "Q4_K_M"))
        with self._step(f"{name} base", f"{name}: the base as it is, without and with {SHOTS} solved examples"):
            model = hf.open_model(base)
            self._evaluate(model, name, "base", self.test, style="instruction")
            self._evaluate(model, name, "base", self.test, style="instruction", shots=SHOTS)
        with self._step(f"{name} training", f"{name}: LoRA fine-tuning"):
            recipe = Path(str(resources.files("radlite") / "recipes" / "tiny.yaml"))
            settings = (
                f"base={base}",
                f"corpus={self.out / 'corpus'}",
                f"out={adapter}",
                f"max_steps={self.scale.steps}",
            )
            if not (adapter / manifest.NAME).is_file():
                train(load(recipe, settings), resume=adapter.exists())
        with self._step(f"{name} tuned", f"{name}: tuned, without and with {SHOTS} solved examples"):
            model = hf.open_model(base, adapter)
            self._evaluate(model, name, "tuned", self.test)
            self._evaluate(model, name, "tuned", self.test, shots=SHOTS)
        with self._step(f"{name} export", f"{name}: merge, GGUF, Q4_K_M, verify"):
            merge.merge(adapter, merged, base)
            gguf.write(merged, exact, "F16")
            gguf.write(merged, small, "Q4_K_M")
            self.files |= {path.name: path.stat().st_size for path in (exact, small)}
            verification = verify.verify(exact, merged, selection.sample(self.test, self.scale.verified))
            self.console.print(verify.table(verification))
        with self._step(f"{name} quantized", f"{name}: Q4_K_M on the CPU engine"):
            engine = wheel.open_model(small)
            self._evaluate(engine, name, "quantized", self.test)
            self._evaluate(engine, name, "quantized", self.valid)
            engine.close()

    def _evaluate(
        self,
        model: Model,
        name: str,
        stage: metrics.Stage,
        items: Sequence[Example],
        style: Any = "cue",
        shots: int = 0,
    ) -> None:
        solved = selection.shots(self.train, shots) if shots else {}
        split = items[0].split
        folder = self.out / "results" / f"{name}-{stage}-{shots}-{split}"
        with _progress(self.console) as progress:
            answered = evaluate(Reader(model, style, solved), items, folder, progress=progress)
        rows = metrics.rows(answered, name, stage, shots)
        (self.validation if split == SPLIT else self.rows).extend(rows)

    @contextmanager
    def _step(self, key: str, title: str) -> Iterator[None]:
        self.console.print(f"[bold]{title}[/bold]")
        begin = time.perf_counter()
        yield
        self.seconds[key] = self.seconds.get(key, 0.0) + time.perf_counter() - begin
        self.console.print(f"[dim]  {self.seconds[key]:.0f} s[/dim]")

    def _show(self, summary: dict[str, Any]) -> None: ...


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=console, transient=True,
    )  # fmt: skip
