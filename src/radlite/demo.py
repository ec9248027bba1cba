"""The whole path once, on the tiny bases and sample data: what the paper claims, at a size for a laptop."""

import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from radlite import manifest
from radlite.data import corpus, sample, sources
from radlite.data.build import build
from radlite.errors import UserError
from radlite.evaluation import baselines, card, choosing, ensembles, metrics, page, report, selection
from radlite.evaluation.run import Run, evaluate, progress
from radlite.files import atomic, exclusive, read_json, sha256, write_json
from radlite.reader import Reader
from radlite.routing.router import SPLIT
from radlite.runtime.model import Model
from radlite.tasks import TASKS, Example
from radlite.tasks.task import Style

BASES = ("tiny-qwen2.5", "tiny-qwen3")
SHOTS = 3
_SECONDS = "seconds.json"
_WEIGHTS = {
    **dict.fromkeys(TASKS, 1.0),
    "rads_assignment": 2.0,
    "n_staging": 2.0,
    "radiology_nli": 1.5,
    "radiology_ner": 1.5,
    "temporal_comparison": 1.5,
}
"""How often an epoch shows a row: more often where the validation loss showed that a task is learned late."""

_TITLES: Final[dict[metrics.Stage, str]] = {"base": "base", "tuned": "tuned", "quantized": "tuned Q4_K_M"}


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything: rows of each task in the corpus, steps of training, items of each task in `verify`."""

    train: int
    validation: int
    test: int
    steps: int
    verified: int


FULL = Scale(train=1000, validation=40, test=50, steps=400, verified=8)
FAST = Scale(train=60, validation=4, test=6, steps=10, verified=2)


def base_folder(name: str) -> Path:
    """The folder of a tiny base that ships with the package."""
    folder = Path(str(resources.files("radlite") / "models" / name))
    if not (folder / "model.safetensors").is_file():
        raise UserError(f"This installation lacks the tiny base {name}; install radlite from a whole checkout.")
    return folder


def run(out: Path, fast: bool = False, console: Console | None = None) -> bool:
    """Run the steps that `out` does not hold yet, write `summary.json` there, print its table.

    An interrupted run goes on where it stood. Returns whether every exported file passed its verification. Raises
    `UserError` if `out` holds anything but a demo with the same settings.
    """
    with exclusive(out):
        return _Demo(out, FAST if fast else FULL, console or Console()).run()


class _Demo:
    """One demonstration in a folder: its steps in order, their seconds, the result rows."""

    def __init__(self, out: Path, scale: Scale, console: Console) -> None:
        self.out, self.scale, self.console = out, scale, console
        self.seconds: dict[str, float] = {}  # of all calls on this folder
        self.rows: list[metrics.Row] = []
        self.runs: dict[str, list[Run]] = {SPLIT: [], "test": []}
        self.files: dict[str, dict[str, Any]] = {}

    def run(self) -> bool:
        self._claim()
        if (self.out / _SECONDS).is_file():
            self.seconds = read_json(self.out / _SECONDS, "demo's timings")
        with self._step("corpus", "Sample corpus: reports for nine tasks, answers by rule"):
            self._corpus()
        self.train, self.valid, self.test = (
            corpus.read(self.out / "corpus", split=split) for split in ("train", SPLIT, "test")
        )
        with self._step("baselines", "Baselines: most frequent answer; TF-IDF with logistic regression"):
            beside = baselines.answers_of_all(self.train, self.test)
            self.rows += metrics.rows_of_all(beside, "baseline")
        for name in BASES:
            self._base(name)
        router = choosing.learn(choosing.candidates(self.runs[SPLIT]))
        router.save(self.out / "router.json")
        together = ensembles.answers_of_all(self.runs["test"], router)
        self.rows += metrics.rows_of_all(together, "ensemble")
        facts = page.facts(Corpus="synthetic reports of radlite, answers by rule")
        with self._step("page", "All results on one page"):
            others = {**beside, **together}
            page.write(self.out / "report.html", self.rows, self.runs["test"], facts, router=router, others=others)
        self._write()
        for name in BASES:
            model, about = (self.out / "models" / f"{name}-Q4_K_M.{kind}" for kind in ("gguf", "md"))
            card.write(about, model, self._results(name, "quantized"))
        self._show()
        return all(file["verified"] for file in self.files.values())

    def _claim(self) -> None:
        """Refuse to mix two scales or bases in one folder."""
        mark = self.out / "demo.json"
        wanted = {"scale": asdict(self.scale), "bases": {n: manifest.weights_hash(base_folder(n)) for n in BASES}}
        if mark.is_file():
            if read_json(mark, "demo's settings") != wanted:
                raise UserError(f"{self.out} holds a demo with other settings; choose another --out or delete it.")
        elif self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
            raise UserError(f"{self.out} is there already and holds no demo; choose another --out.")
        else:
            write_json(mark, wanted)

    def _corpus(self) -> None:
        if (self.out / "corpus" / corpus.NAME).is_file():
            return
        counts = {"train": self.scale.train, SPLIT: self.scale.validation, "test": self.scale.test}
        build({"sample": None}, self.out / "corpus", known={"sample": sources.sample.source(counts)})

    def _base(self, name: str) -> None:
        from radlite.runtime import engine, hf

        base, adapter = base_folder(name), self.out / "adapters" / name
        title = f"{name}: the base as it is, without and with {SHOTS} solved examples"
        with self._step(f"{name} base", title), closing(hf.open_model(base)) as model:
            identity = manifest.weights_hash(base)
            self._evaluate(model, name, "base", identity, self.test, "instruction")
            self._evaluate(model, name, "base", identity, self.test, "instruction", SHOTS)
        with self._step(f"{name} training", f"{name}: LoRA fine-tuning on all nine tasks"):
            self._train(base, adapter)
        title = f"{name}: tuned, without and with {SHOTS} solved examples"
        with self._step(f"{name} tuned", title), closing(hf.open_model(base, adapter)) as model:
            identity = manifest.weights_hash(adapter)
            self._evaluate(model, name, "tuned", identity, self.test)
            self._evaluate(model, name, "tuned", identity, self.test, shots=SHOTS)
        with self._step(f"{name} export", f"{name}: merge, GGUF in F16 and Q4_K_M, verification of both"):
            small = self._export(name, base, adapter)
        title = f"{name}: Q4_K_M on the CPU engine"
        with self._step(f"{name} quantized", title), closing(engine.open_model(small, remembered=0)) as model:
            for items in (self.test, self.valid):
                self._evaluate(model, name, "quantized", sha256(small), items, size=small.stat().st_size)

    def _train(self, base: Path, adapter: Path) -> None:
        from radlite.training.config import TrainConfig
        from radlite.training.trainer import train

        every = max(100, self.scale.steps // 4)
        config = TrainConfig(
            base=str(base),
            corpus=self.out / "corpus",
            out=adapter,
            learning_rate=2e-3,
            warmup=0.05,
            max_steps=self.scale.steps,
            max_tokens=1024,
            rows_per_step=1,
            tasks=_WEIGHTS,
            evaluate_every=every,
            save_every=every,
        )
        train(config, resume=True)

    def _export(self, name: str, base: Path, adapter: Path) -> Path:
        """Write both GGUF files and verify them; returns the Q4_K_M one."""
        from radlite.export import gguf, verify
        from radlite.export.merge import merge

        merged = self.out / "merged" / name
        if not (merged / manifest.NAME).is_file():
            merge(adapter, merged, base)
        examples = selection.sample(self.valid, self.scale.verified)
        for kind in ("F16", "Q4_K_M"):
            path = self.out / "models" / f"{name}-{kind}.gguf"
            if not path.is_file():
                gguf.write(merged, path, kind)
            found = verify.verify(path, merged, examples)
            self.files[path.name] = {
                "bytes": path.stat().st_size,
                "verified": found.passed,
                "checks": [asdict(check) for check in found.checks],
            }
            if found.passed:
                self.console.print(f"  {path.name}: verified, {len(found.checks)} checks passed")
            else:
                self.console.print(verify.table(found))
        return path

    def _evaluate(
        self,
        model: Model,
        name: str,
        stage: metrics.Stage,
        identity: str,
        items: Sequence[Example],
        style: Style = "cue",
        shots: int = 0,
        size: int = 0,
    ) -> None:
        solved = selection.Shots(shots).pool(self.train)
        split = items[0].split
        folder = self._results(name, stage, shots, split)
        with progress(self.console) as bar:
            reader = Reader(model, style, solved, probabilities=stage == "quantized")
            kind = "Q4_K_M" if stage == "quantized" else ""
            setup = metrics.Setup(name, stage, shots, size=size, base=name, kind=kind)
            answered = evaluate(reader, items, folder, identity, bar, setup)
        self.runs[split].append(Run(folder, setup, tuple(answered), {}, identity, reader.prompts.hash))
        if split != SPLIT:
            self.rows += metrics.rows_of(answered, setup)

    def _results(self, name: str, stage: metrics.Stage, shots: int = 0, split: str = "test") -> Path:
        """The folder of a model's answers."""
        return self.out / "results" / f"{name}-{stage}-{shots}-{split}"

    @contextmanager
    def _step(self, key: str, title: str) -> Iterator[None]:
        self.console.print(title)
        begin = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - begin
            self.seconds[key] = self.seconds.get(key, 0) + spent
            write_json(self.out / _SECONDS, self.seconds)
        self.console.print(f"  done in {spent:.0f} s", style="dim")

    def _unseen(self) -> int:
        return sum("unseen_wording" in row.tags for row in self.test)

    def _write(self) -> None:
        facts = {
            "scale": asdict(self.scale),
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
            "files": self.files,
            "wordings": sample.census(),
            "test_items": len(self.test),
            "test_items_with_unseen_wording": self._unseen(),
        }
        report.write_summary(self.out, self.rows, facts, titles=_TITLES)

    def _show(self) -> None:
        shown = next(row for row in self.test if row.task == "rads_assignment")
        with atomic(self.out / "report.txt") as part:
            part.write_text(shown.inputs["report"] + "\n", "utf-8")
        words = sample.census()
        report.show(self.console, self.rows, _TITLES)
        self.console.print(
            f"{len(TASKS)} tasks, {len(self.test)} test items, {self._unseen()} of them with wordings that training "
            f"never had ({words['unseen']} of {words['variants']} wordings are kept for the test).\n"
            f"Everything took {sum(self.seconds.values()) / 60:.1f} minutes. Open {self.out}/report.html in a browser: "
            f"all results on one page, with pictures. Numbers and timings: {self.out}/summary.json.\n"
            "Synthetic reports and tiny models: this shows that the path works, not that a model is fit for use. The "
            "reports were written by the very tables and words that the baseline 'rules' reads them with: it is near "
            "its ceiling here.\n"
        )
        model = self.out / "models" / f"{BASES[-1]}-Q4_K_M.gguf"
        base = _shown(base_folder(BASES[-1]))
        self.console.print("Try next:")
        for command in (
            f"read {self.out}/report.txt --task rads_assignment --model {model}",
            f"data show {self.out}/corpus --task temporal_comparison --base {base}",
            "train recipes/qwen3-4b.yaml    # with a GPU and your own corpus; see docs/training.md",
        ):
            self.console.print(f"  {_program()} {command}", highlight=False, soft_wrap=True)


def _program() -> str:
    """How this installation's `radlite` is called from here: by name if the shell finds it, else by its place."""
    beside = Path(sys.executable).with_name("radlite")
    return _shown(beside) if beside.exists() and shutil.which("radlite") != str(beside) else "radlite"


def _shown(path: Path) -> str:
    """The path as short as a user here would write it."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
