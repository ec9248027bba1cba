"""The model card of a GGUF file, in the Hugging Face form: what the file tells of itself, and what its answers show.

The form of the metadata: https://github.com/huggingface/hub-docs/blob/main/modelcard.md.
"""

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from radlite import manifest
from radlite.errors import UserError, shown
from radlite.evaluation import report
from radlite.evaluation.metrics import FEW, Answered, Row, counted, rows_of
from radlite.evaluation.run import Run, runs
from radlite.files import atomic, front_matter, read_json, read_text
from radlite.manifest import file_identity
from radlite.rads.severity import MEANING, SEVERITIES
from radlite.runtime import adapter as adapters
from radlite.runtime import gguf
from radlite.tasks import known, named
from radlite.tasks.prompting import OURS
from radlite.tasks.rads import RADS

TAG: Final = "radlite"
"""The tag in the metadata by which a card is known to be one of ours."""

_MADE: Final = (
    "By `radlite card`, from the file's own manifest and from its answers. Nothing in it was written by hand."
)
_SPLIT: Final = "test"
_LONGEST: Final = 300
"""Characters of a text of others that a card repeats."""
_WORST: Final = 3
"""Labels of a task that are named for their low F1."""
_UNKNOWN: Final = "not recorded in the file"


@dataclass(frozen=True, slots=True)
class _Model:
    """What the card is of: a GGUF file or an adapter over one, and what its header tells."""

    path: Path
    adapter: Path | None
    identity: str
    context_tokens: int
    made: Mapping[str, Any]
    """The manifest, which for an adapter is the adapter's; empty if radlite did not make the file."""

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path, self.adapter) if self.adapter else (self.path,)

    @property
    def name(self) -> str:
        return _line(self.files[-1].stem)

    @property
    def base(self) -> str | None:
        """Name of the base that was tuned; None if this is no tuned model."""
        return manifest.tuned_base(self.made)

    @property
    def training(self) -> Mapping[str, Any]:
        return manifest.training(self.made) if self.base else {}

    @property
    def tasks(self) -> list[str]:
        """The tasks it was tuned for, as far as the manifest tells."""
        recipe = _mapping(_mapping(self.training.get("recipe")).get("tasks"))
        wording = _mapping(self.training.get("wording"))
        return sorted(map(str, _mapping(self.training.get("mixture")) or recipe.keys() & wording.keys()))


@dataclass(frozen=True, slots=True)
class _Results:
    """Its answers to the test split, and what stands beside them."""

    run: Run
    others: tuple[Run, ...]
    """Answers of the same file to other splits, with solved examples, or in other prompts."""
    rows: tuple[Row, ...]
    beside: tuple[Row, ...]
    """Of baselines, and of the base as it is, on the same items."""
    summary: Mapping[str, Any]
    """The manifest of the summary that `beside` is from; empty if there is none of these answers."""

    @property
    def tasks(self) -> list[str]:
        return list(dict.fromkeys(row["task"] for row in self.rows))

    def items(self, task: str) -> list[Answered]:
        """The answers that `all` of a task is about."""
        return counted([one for one in self.run.answered if one.task == task])

    def primary(self, task: str) -> Row:
        """The row of the task's primary metric over all items."""
        return next(row for row in self.whole(task) if row["metric"] == named(task).metric)

    def whole(self, task: str) -> list[Row]:
        """The rows of a task over all items."""
        return [row for row in self.rows if row["task"] == task and row["slice"] == "all"]


def write(out: Path, model: Path, results: Path, adapter: Path | None = None) -> None:
    """Write the card of the GGUF file `model`, or of `adapter` over it, to `out`, atomically.

    `results` is an `--out` of `radlite evaluate` or the folder of one run. The numbers are of this very file, by its
    digest: answers to the test split in the usual prompts without solved examples. No text of reports or of the model
    is in the card, and the same inputs make the same card. Raises `UserError` if `out` is a file that is no card of
    ours, if a file cannot be read, or if there are no such answers, or several runs of them.
    """
    if out.is_file() and not _is_ours(out):
        raise UserError(f"{out} was not written by radlite card; choose another place with --out, or move it away.")
    text = _card(model, results, adapter)
    with atomic(out) as part:
        part.write_text(text, "utf-8")


def _is_ours(path: Path) -> bool:
    tags = front_matter(path).get("tags")
    return isinstance(tags, list) and TAG in tags and _MADE in read_text(path, "model card")


def _card(path: Path, results: Path, adapter: Path | None) -> str:
    header = gguf.read(path)
    told = adapters.read(adapter, header) if adapter else header
    model = _Model(path, adapter, file_identity(path, adapter), header.context_tokens, told.manifest or {})
    found = _results(model, results)
    parts = (_use, _asking, _data, _training, _numbers, _failures, _origin)
    return _head(model, found) + _lead(model) + "".join(part(model, found) for part in parts)


def _results(model: _Model, folder: Path) -> _Results:
    place = "+".join(map(str, model.files))
    again = f"run radlite evaluate {place} --corpus CORPUS --out {folder}"
    own = runs(folder, model.identity)
    if not own:
        raise UserError(f"{folder} holds no answers of {place}, only of other models; {again} first.")
    usual = [run for run in own if _is_usual(run)]
    if not usual:
        raise UserError(
            f"{folder} holds answers of {place}, but none to the {_SPLIT} split in the usual prompts and without "
            f"solved examples; {again} first."
        )
    if len(usual) > 1:
        names = ", ".join(run.folder.name for run in usual)
        raise UserError(f"{folder} holds several runs of {place} ({names}); give the folder of one with --results.")
    rows = rows_of(usual[0].answered, usual[0].setup)
    beside, summary = _beside(usual[0], rows)
    return _Results(usual[0], tuple(run for run in own if run is not usual[0]), tuple(rows), tuple(beside), summary)


def _is_usual(run: Run) -> bool:
    return run.split == _SPLIT and run.setup.usual and run.prompts == OURS.hash


def _beside(run: Run, rows: Sequence[Row]) -> tuple[list[Row], Mapping[str, Any]]:
    """Rows of baselines and of the base on the items of `run`, and the manifest of the summary that has them.

    The summary stands beside the folder of the run (in a demo one further up), and may by now be of other items: a task
    counts if the summary has every row of it as the answers give it.
    """
    places = [folder / "summary.json" for folder in run.folder.parents[:2]]
    path = next((place for place in places if place.is_file()), None)
    if not path:
        return [], {}
    summary = report.read_rows(path)
    told = {_key(row) for row in summary}
    unlike = {row["task"] for row in rows if _key(row) not in told}
    tasks = {row["task"] for row in rows} - unlike
    base = () if run.setup.stage == "base" else (("base", run.setup.name, 0, ""),)
    kept = [
        row for row in summary
        if row["task"] in tasks and row["split"] == _SPLIT and row["slice"] == "all"
        and (row["stage"] == "baseline" or (row["stage"], row["model"], row["shots"], row["asked"]) in base)
    ]  # fmt: skip
    return kept, read_json(path, "results file") if tasks else {}


def _key(row: Row) -> tuple[object, ...]:
    """What makes two rows one result: ends of intervals and last digits may differ with the versions of libraries."""
    same = ("model", "stage", "shots", "asked", "split", "task", "slice", "metric", "n")
    return (*(row[name] for name in same), round(row["value"], 9))  # type: ignore[literal-required]


# Text of others


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _line(value: object) -> str:
    """A text of others on one line of what can be shown."""
    return " ".join(shown(str(value)).split())[:_LONGEST]


def _plain(value: object) -> str:
    """The same, without meaning to Markdown, HTML or mathematics."""
    return report.plain(_line(value))


def _fact(value: object) -> str:
    """A setting of a manifest, whatever may stand there."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return "yes" if value is True else "no" if value is False else _UNKNOWN
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.4g}"
    return _plain(value) if isinstance(value, str) else f"{int(value):,}"


# Parts of the card


def _head(model: _Model, found: _Results) -> str:
    """The metadata between two lines of dashes."""
    licence = _mapping(model.training.get("base_licence"))
    base = model.training.get("base_model") or model.base
    relation = "adapter" if model.adapter else "finetune"
    about = {
        "language": "en",
        **{key: _line(licence[key]) for key in ("license", "license_name", "license_link") if licence.get(key)},
        **({"base_model": _line(base), "base_model_relation": relation} if base else {}),
        "library_name": "gguf",
        "pipeline_tag": "text-generation",
        "tags": [TAG, "radiology", "gguf"],
        "model-index": [{"name": model.name, "results": [_result(found, task) for task in found.tasks]}],
    }
    return f"---\n{yaml.safe_dump(about, sort_keys=False, allow_unicode=True, width=120)}---\n"


def _result(found: _Results, task: str) -> dict[str, Any]:
    row = found.primary(task)
    metric = row["metric"]
    kind = "f1" if metric.endswith("f1") else metric.removesuffix("_l")
    sources = ", ".join(sorted({source for source, _ in _origins(found.items(task))}))
    return {
        "task": {"type": "text-generation", "name": task},
        "dataset": {
            "type": f"radlite-{task}",
            "name": _line(f"{task} of {sources}"),
            "split": row["split"],
            "revision": found.run.data[task],
        },
        "metrics": [
            {
                "type": kind,
                "name": f"{metric}, n={row['n']}, 95 % interval {row['low']:.2f} to {row['high']:.2f}",
                "value": round(float(row["value"]), 4),
            }
        ],
    }


def _origins(items: Iterable[Answered]) -> Counter[tuple[str, str]]:
    """(source, tier) to the number of items."""
    return Counter((_slice(one, "source "), _slice(one, "tier ")) for one in items)


def _slice(item: Answered, kind: str) -> str:
    return next((name.removeprefix(kind) for name in item.slices if name.startswith(kind)), "unknown")


def _lead(model: _Model) -> str:
    size = model.files[-1].stat().st_size / 1e6
    kind = model.made.get("quantization")
    told = f"{_plain(kind)}, {size:,.1f} MB" if isinstance(kind, str) else f"{size:,.1f} MB"
    if model.adapter and model.base:
        what = f"A LoRA adapter over {_plain(model.base)}, for tasks on radiology reports, in one GGUF file ({told})."
    elif model.base:
        what = f"{_plain(model.base)}, tuned for tasks on radiology reports, in one GGUF file for a CPU ({told})."
    else:
        what = f"A language model in one GGUF file ({told}), which radlite did not tune, asked about radiology reports."
    return (
        f"# {_plain(model.files[-1].stem)}\n\n{what}\n\n"
        "> **Research software, not a medical device.** The numbers below are of the items named here, and say\n"
        "> nothing of other hospitals, scanners or ways of dictating. Whether a model is fit for use, those have to\n"
        "> judge who answer for it.\n\n"
    )


def _use(model: _Model, found: _Results) -> str:
    lines = [f"* {task}, of {' and '.join(named(task).inputs)}" for task in found.tasks]
    return _section(
        "Intended use",
        "Research, and measuring on data of one's own, with texts of radiology reports in English. An answer is a "
        "draft that someone qualified holds against the report. Evaluated for:",
        "\n".join(lines),
        "Out of scope: decisions on a patient without that check; triage or screening in which nobody reads the "
        "report; images, as the model reads text alone; and tasks, languages and kinds of reports that are not in the "
        "results below.",
    )


def _asking(model: _Model, found: _Results) -> str:
    told = "its short cue, as in training" if model.base else "a full instruction, as it was not tuned for it"
    over = f" --adapter {shlex.quote(_line(model.adapter.name))}" if model.adapter else ""
    place = shlex.quote(_line(model.path.name)) + over
    return _section(
        "How it is asked",
        f"The report comes first, as it is and as a turn of its own; the task comes last, by {told} (`radlite tasks` "
        "prints the wording). Where a task has a closed set of answers, the answer is held to it. Report, task and "
        f"answer have {model.context_tokens:,} tokens together; a report that leaves no room is refused, never cut.",
        f"```bash\nradlite read report.txt --task {found.tasks[0]} --model {place}\n```",
    )


def _data(model: _Model, found: _Results) -> str:
    parts = [_learned(model)]
    if model.base:
        licence = _mapping(model.training.get("base_licence"))
        terms = next((_plain(licence[key]) for key in ("license_name", "license") if licence.get(key)), _UNKNOWN)
        parts.append(
            f"Licence of the base {_plain(model.base)}: {terms}. What the base itself had learned from, its own card "
            "tells. Whether weights that learned from these data may be passed on, the terms of the base and of each "
            "source decide."
        )
    answered = [one for task in found.tasks for one in found.items(task)]
    lines = [(_plain(source), _plain(tier), count) for (source, tier), count in sorted(_origins(answered).items())]
    parts += [f"Evaluated on the {_SPLIT} split of a corpus:", _table(("source", "tier", "items"), lines)]
    if {tier for _, tier, _ in lines} == {"synthetic"}:
        parts.append("**All of these items are synthetic: how the model reads real reports is not known.**")
    parts.append(
        "Tiers: `gold` answered by experts, `silver` by programs, `synthetic` by the rule that wrote the report, "
        "`proxy` by something that stands for the answer."
    )
    return _section("Data and licences", *parts)


def _learned(model: _Model) -> str:
    if not model.base:
        return f"What the model learned from: {_UNKNOWN}."
    sources = model.training.get("sources")
    heads = ("source", "what", "access", "tier", "licence", "rows")
    lines = [
        (_plain(one.get("source")), _plain(one.get("title") or _UNKNOWN), _plain(one.get("access") or _UNKNOWN),
         _plain(one.get("tier")), _plain(one.get("licence") or _UNKNOWN), _fact(one.get("rows")))
        for one in map(_mapping, sources if isinstance(sources, list) else ())
    ]  # fmt: skip
    digest = _fact(model.training.get("corpus"))
    if not lines:
        return f"Sources that it was tuned on, and their licences: {_UNKNOWN}. Digest of the corpus: {digest}."
    return f"Tuned on (digest of the corpus: {digest}):\n\n{_table(heads, lines)}"


_SETTINGS: Final = (
    "rank", "alpha", "rslora", "dora", "dropout", "base_quantized", "learning_rate", "lora_plus_ratio", "schedule",
    "warmup", "epochs", "max_steps", "max_tokens", "pack_tokens", "rows_per_step", "gradient_accumulation", "loss_norm",
    "length_balance", "precision", "seed",
)  # fmt: skip


def _training(model: _Model, found: _Results) -> str:
    if not model.base:
        return _section("Training", f"radlite did not tune this model; how it was trained: {_UNKNOWN}.")
    recipe, losses = _mapping(model.training.get("recipe")), _mapping(model.training.get("losses"))
    lines = [("steps made", _fact(model.training.get("steps"))), ("last training loss", _fact(losses.get("training")))]
    over = {"epochs"} if recipe.get("max_steps") else set()  # the steps are then what ends the run
    lines += [
        (f"`{name}`", _fact(recipe[name])) for name in _SETTINGS if recipe.get(name) is not None and name not in over
    ]
    shares = _mapping(model.training.get("mixture"))
    last = _mapping(losses.get("validation"))
    tasks = [
        (_plain(task), _fact(_mapping(shares.get(task)).get("samples")), _fact(last.get(task))) for task in model.tasks
    ]
    parts = ["A LoRA adapter, with the loss on answers alone; settings as docs/training.md of RadLite has them:",
             _table(("setting", "value"), lines)]  # fmt: skip
    if tasks:
        parts.append(_table(("task", "samples shown", "last validation loss"), tasks))
    return _section("Training", *parts)


def _numbers(model: _Model, found: _Results) -> str:
    rows = [row for row in found.rows if row["slice"] == "all"]
    parts = [
        f"All items of the {_SPLIT} split that were asked, in the usual prompts and without solved examples.",
        report.markdown([*found.beside, *rows]).strip(),
    ]
    without = sorted({row["task"] for row in rows} - {row["task"] for row in found.beside})
    if without:
        parts.append(f"No baselines on the same items were at hand for {', '.join(without)}.")
    if found.others:
        told = "; ".join(sorted({_way(run) for run in found.others}))
        parts.append(f"Also asked, and not shown here: {told}.")
    more = [
        (row["task"], row["metric"], row["n"], _said(row))
        for row in rows
        if row["metric"] not in (named(row["task"]).metric, "unreadable", "too_long")
        and not row["metric"].startswith(("f1 ", "severity "))
    ]
    parts += ["Other measures of the same answers; those of a threshold are over the items that they are about:",
              _table(("task", "metric", "n", "value (95 % interval)"), more)]  # fmt: skip
    return _section("Results", *parts)


def _way(run: Run) -> str:
    shots = f"{run.setup.shots} solved examples" if run.setup.shots else "no solved examples"
    prompts = ", other prompts" if run.prompts != OURS.hash else ""
    return f"{_plain(run.split)} split, {shots}{' ' + _plain(run.setup.asked) if run.setup.asked else ''}{prompts}"


def _failures(model: _Model, found: _Results) -> str:
    parts = [*_weak_slices(found), *_severities(found), *_weak_labels(found), *_unanswered(found)]
    tuned = [task for task in model.tasks if task not in found.tasks]
    if tuned:
        parts.append(f"**Tuned for, but not evaluated:** {', '.join(map(_plain, tuned))}.")
    rest = [task for task in known() if task not in found.tasks and task not in tuned]
    if rest:
        parts.append(f"**Not evaluated:** {', '.join(rest)}.")
    return _section("Known failures", *parts)


def _weak_slices(found: _Results) -> list[str]:
    lines, few = [], []
    for task in found.tasks:
        whole = found.primary(task)
        for row in found.rows:
            if (row["task"], row["metric"]) == (task, whole["metric"]) and row["slice"] != "all":
                if row["high"] < whole["value"]:
                    lines.append((task, _plain(row["slice"]), row["n"], _said(row), f"{whole['value']:.2f}"))
                if row["n"] < FEW:
                    few.append(f"{task}: {_plain(row['slice'])} ({row['n']})")
    if lines:
        heads = ("task", "slice", "n", "value (95 % interval)", "all items")
        parts = ["Slices with surely lower results: their interval lies below the value of all items.",
                 _table(heads, lines)]  # fmt: skip
    else:
        parts = ["No slice has an interval that lies below the value of all items."]
    if few:
        parts.append(f"Slices of fewer than {FEW} items, of which little is known: {'; '.join(few)}.")
    return parts


def _severities(found: _Results) -> list[str]:
    if RADS.name not in found.tasks:
        return []
    shares = {row["metric"].removeprefix("severity "): row for row in found.whole(RADS.name)}
    lines = [
        (name, MEANING[name], round(row["value"] * row["n"]), _said(row))
        for name in SEVERITIES
        if name != "exact" and (row := shares.get(name)) and row["value"]
    ]
    if not lines:
        return [f"Every answer in {RADS.name} was exact."]
    heads = ("class", "what the answer was", "items", "share of all (95 % interval)")
    return [f"Wrong answers in {RADS.name}, by what they would lead to, the worst last:", _table(heads, lines)]


def _weak_labels(found: _Results) -> list[str]:
    lines: list[tuple[object, ...]] = []
    for task in found.tasks:
        true: Counter[str] = Counter()
        for one in found.items(task):
            true.update({label: int(count[2]) for label, count in one.counts.items()})
        scored = [(row["metric"].removeprefix("f1 "), row) for row in found.whole(task) if row["metric"][:3] == "f1 "]
        weak = sorted((row["value"], label, row) for label, row in scored if true[label] and row["value"] < 1)
        lines += [(task, _plain(label), true[label], _said(row, true[label])) for _, label, row in weak[:_WORST]]
    if not lines:
        return []
    return [
        f"Labels that are read worst, up to {_WORST} of a task, of those that occur (none are told where a task has "
        "very many):",
        _table(("task", "label", "true ones", "F1 (95 % interval)"), lines),
    ]


def _unanswered(found: _Results) -> list[str]:
    words = {"unreadable": "could not be read", "too_long": "not asked, the report being too long",
             "abstained": "withheld", "failed": "not given, the engine having failed"}  # fmt: skip
    lines = [
        (task, words.get(status, status), count, len(found.items(task)))
        for task in found.tasks
        for status, count in sorted(Counter(one.status for one in found.items(task)).items())
        if status != "ok"
    ]
    if not lines:
        return ["Every item got an answer that could be read."]
    return ["Answers that are none, which score 0:", _table(("task", "answer", "items", "of"), lines)]


def _origin(model: _Model, found: _Results) -> str:
    lines: list[tuple[object, ...]] = [
        ("file", _plain(model.files[-1].name)),
        ("its digest" if not model.adapter else "digest of base and adapter", model.identity),
        ("exported", f"{_fact(model.made.get('created'))}, by radlite {_fact(model.made.get('radlite'))}"),
        ("tuned", f"{_fact(model.training.get('created'))}, by radlite {_fact(model.training.get('radlite'))}"),
        ("versions", _versions(model.made)),
        ("evaluated", f"{_fact(found.summary.get('created'))}, by radlite {_fact(found.summary.get('radlite'))}"),
    ]
    if not model.base:
        lines = [line for line in lines if line[0] != "tuned"]
    if not found.summary:
        lines = lines[:-1]
    return _section(
        "How this card was made",
        _MADE,
        _table(("", ""), lines),
    )


def _versions(made: Mapping[str, Any]) -> str:
    found = {"python": made.get("python"), **_mapping(made.get("versions"))}
    return ", ".join(f"{_plain(name)} {_plain(value)}" for name, value in found.items() if value) or _UNKNOWN


def _said(row: Row, n: int | None = None) -> str:
    few = " (few)" if (row["n"] if n is None else n) < FEW else ""
    return f"{row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f}){few}"


def _section(heading: str, *parts: str) -> str:
    return "\n\n".join((f"## {heading}", *parts)) + "\n\n"


def _table(heads: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    """A Markdown table; the cells are without meaning to Markdown already."""
    body = [f"| {' | '.join(map(str, line))} |" for line in lines]
    return "\n".join([f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *body])
