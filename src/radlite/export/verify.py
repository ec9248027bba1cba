"""Does a GGUF file answer as the model it was made from? Every check has a bound and can fail."""

import contextlib
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import rich.markup
import rich.table
from gguf import GGMLQuantizationType
from numpy.typing import NDArray

from radlite.chat import Prompt, Renderer, Turn
from radlite.errors import UserError
from radlite.evaluation.estimate import Estimate, paired
from radlite.evaluation.metrics import grade
from radlite.export import adapter as adapters
from radlite.export import gguf, merge
from radlite.reader import Reader, turns
from radlite.runtime import gguf as header
from radlite.runtime import layout
from radlite.runtime.layout import KINDS, size
from radlite.runtime.model import Model
from radlite.runtime.quantize import LOSS, decode, excess
from radlite.runtime.weights import Tensor
from radlite.tasks import Example, Reading, named

PROMPTS: Final = 20
"""Prompts whose next tokens and free answers are compared, spread over the tasks."""

LOG_PROBABILITY_BOUND: Final = {"F32": 0.02, "F16": 0.02, "BF16": 0.1}
"""Largest difference in nats. Same weights, other arithmetic: measured up to 0.007 with F16, and 0.017 with BF16, for
which llama.cpp rounds activations to 8 bits too."""

DIVERGENCE_BOUND: Final = 0.2
"""Mean Kullback-Leibler divergence in nats for quantised files: a loose net, as Llama-3-8B loses 0.03 at Q4_K_M
(llama.cpp's perplexity README) and the tiny bases 0.01; what counts is the change in score."""

MARGIN: Final = -0.10
"""A task fails when its change in score lies below this with 95 % confidence."""

LIKELY: Final = 1e-4
"""Only tokens at least this likely on either side are compared: in the tail, nats differ without meaning. No more than
10,000 tokens can be so likely, which is how many are asked for."""

# Marks that only a wrong vocabulary, merge list or pre-tokenizer takes apart in another way.
_PROBE = "Mass 3.5x2.1 cm, don't re-biopsy; BI-RADS 4A.\n\n  SUV 12,7 µm → naïve «Größe» 肺 <|im_end|>\t\r\n"


class Engine(Model, Protocol):
    """A model that also tells what it would say next."""

    def next_log_probabilities(self, prompt: Prompt, top: int) -> dict[int, float]:
        """Natural logarithms of the probability of the `top` likeliest ids after `prompt`."""
        ...


@dataclass(frozen=True, slots=True)
class Check:
    """One question about the file: what was measured, and what was demanded."""

    name: str
    passed: bool
    measured: str
    bound: str


@dataclass(frozen=True, slots=True)
class Verification:
    """All checks of a file; `changes` holds each task's score in the file minus that of the folder, if quantised."""

    kind: str
    checks: tuple[Check, ...]
    changes: dict[str, Estimate]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)


@dataclass(frozen=True, slots=True)
class _Behaviour:
    """What an engine did: next tokens after each probe, free answers to them, a score for each example."""

    following: list[dict[int, float]]
    answers: list[Reading]
    scores: dict[str, list[float]]


def verify(
    path: Path,
    folder: Path,
    examples: Sequence[Example] | None,
    margin: float = MARGIN,
    threads: int | None = None,
    adapter: Path | None = None,
    base: Path | None = None,
) -> Verification:
    """Hold the GGUF at `path` against the model folder it was made from, on `examples` with true answers.

    With `adapter`, a GGUF over it, `folder` is the adapter folder and `base` the model folder, where the manifest says
    unless given: each file is held against its own, and what they do together against the adapter on its base.

    The file alone: settings, chat template and vocabulary equal to the folder's, every tensor within its type's error.
    Its behaviour, against `transformers` in float32: the same prompt ids; next-token log-probabilities; for F32, F16
    and BF16 the same greedy answers; it stops by itself; for quantised kinds the change in score per task, with its
    interval. The folder's model is freed before the file's is opened. Without `examples`, None, only the file alone is
    held against the folder, which needs no engine, no torch, and little memory. Raises `UserError` if `path` is no
    whole GGUF, the folder is no model, or no example fits the context.
    """
    found = header.read(path)
    change = merge.change(folder, base) if adapter else None
    tuned, folder = (folder, change.base) if change else (None, folder)
    kinds = {int(file_type): kind for kind, (file_type, _) in KINDS.items()}
    kind = kinds.get(found.keys.get("general.file_type", -1), "unknown")
    config = layout.settings(folder)
    checks = [_settings(found, gguf.keys(folder, config)), _template(found, folder), _tensors(path, folder, config)]
    if adapter and change:
        checks.append(_adapter(adapter, change))
    if examples is None:
        return Verification(kind, tuple(checks), {})
    probes, reference = _reference(folder, tuned, examples, kind)
    checks.append(_prompts(found, folder, probes))
    try:
        with contextlib.closing(_open(path, threads, adapter)) as model:
            measured = _behave(model, folder, probes, [] if kind in LOG_PROBABILITY_BOUND else examples)
            checks += [_log_probabilities(reference, measured, kind), _stops(reference, measured, kind)]
            if kind in LOG_PROBABILITY_BOUND:
                checks.append(_answers(reference, measured, model, folder, probes))
    except (UserError, RuntimeError, ArithmeticError) as error:  # a damaged file may not load, or load and not answer
        return Verification(kind, (*checks, Check("runs in llama.cpp", False, str(error), "yes")), {})
    changes = {task: paired(measured.scores[task], reference.scores[task]) for task in measured.scores}
    checks += [
        Check(f"score of {task}", change.high >= margin, f"{change}", f"not surely below {margin:+.2f}")
        for task, change in changes.items()
    ]
    return Verification(kind, tuple(checks), changes)


def table(verification: Verification) -> rich.table.Table:
    """The checks for a terminal."""
    result = rich.table.Table("check", "", "measured", "demanded", title=f"{verification.kind} against its source")
    for check in verification.checks:
        mark = "[green]pass[/green]" if check.passed else "[red]FAIL[/red]"
        result.add_row(check.name, mark, rich.markup.escape(check.measured), check.bound)
    return result


def _settings(found: header.Header, expected: dict[str, Any]) -> Check:
    """Every key that decides behaviour; a float is held in 32 bits."""
    wrong = [
        name
        for name, value in expected.items()
        if found.keys.get(name) != (float(np.float32(value)) if isinstance(value, float) else value)
        and name != "tokenizer.chat_template"
    ]
    return Check(
        "settings and vocabulary",
        not wrong,
        f"{len(wrong)} differ: {', '.join(wrong[:3])}" if wrong else f"all {len(expected) - 1} equal",
        "equal to the folder's",
    )


def _template(found: header.Header, folder: Path) -> Check:
    equal = found.keys.get("tokenizer.chat_template") == Renderer.from_folder(folder).template
    return Check("chat template", equal, "equal" if equal else "another text", "equal to the folder's")


def _tensors(path: Path, folder: Path, config: dict[str, Any]) -> Check:
    """Every tensor, decoded by the `gguf` package, against the folder's; a block at a time."""
    sources = gguf.tensors(folder, config)
    worst = dict.fromkeys(sources, math.inf)  # until it is found
    try:
        for name, type, data in gguf.read(path):
            if type not in LOSS:
                raise UserError(
                    f"{path} holds {name} as {type.name}, which verify cannot judge; export it with radlite."
                )
            worst[name] = _error(sources[name], type, data) if name in sources else math.inf
    except (ValueError, LookupError, TypeError) as error:  # what the gguf package makes of a damaged table of tensors
        return Check("tensors", False, f"cannot be read ({error.__class__.__name__})", "the folder's, each within 1.00")
    wrong = [name for name, error in worst.items() if not error <= 1]
    measured = f"{len(worst)} tensors, largest error {max(worst.values()):.2f} of what its type may lose"
    if wrong:
        measured = f"{len(wrong)} of {len(worst)} are missing or others: {', '.join(wrong[:3])}"
    return Check("tensors", not wrong, measured, "the folder's, each within 1.00")


def _adapter(path: Path, change: merge.Change) -> Check:
    """The scale, and every tensor of an adapter's GGUF against the folder's."""
    bound = "the folder's scale; its tensors, each within 1.00"
    alpha = header.read(path, "adapter").keys.get("adapter.lora.alpha")
    try:
        worst = dict(adapters.errors(path, change))
    except (ValueError, LookupError, TypeError) as error:
        return Check("adapter", False, f"cannot be read ({error.__class__.__name__})", bound)
    wrong = [name for name, error in worst.items() if not error <= 1]
    measured = f"{len(worst)} tensors, largest error {max(worst.values(), default=0):.2f} of what its type may lose"
    if wrong:
        measured = f"{len(wrong)} of {len(worst)} are missing or others: {', '.join(wrong[:3])}"
    equal = alpha == float(np.float32(adapters.alpha(change)))
    return Check("adapter", equal and not wrong, measured if equal else f"alpha {alpha}; {measured}", bound)


def _error(source: Tensor, type: GGMLQuantizationType, data: NDArray[np.uint8]) -> float:
    """The largest error of a tensor as a multiple of what its type may lose."""
    if data.shape != (source.rows, size(1, source.shape[-1], type)):
        return math.inf
    return max(excess(source.read(*block), decode(data[slice(*block)], type), type) for block in source.blocks())


def _reference(
    folder: Path, adapter: Path | None, examples: Sequence[Example], kind: str
) -> tuple[list[Example], _Behaviour]:
    """The examples to probe with, and what the folder's model does with them, with the adapter folder if given."""
    from radlite.runtime import hf

    # On a GPU it would compute in bfloat16, whose rounding is larger than the differences looked for.
    model = hf.open_model(folder, adapter, device="cpu")
    try:
        probes = _spread([example for example in examples if _fits(model, example)])[:PROMPTS]
        if not probes:
            raise UserError("No example fits the model's context; give examples to verify with, such as a test split.")
        return probes, _behave(model, folder, probes, [] if kind in LOG_PROBABILITY_BOUND else examples)
    finally:
        model.close()


def _open(path: Path, threads: int | None, adapter: Path | None) -> Engine:
    from radlite.runtime.engine import open_model

    model: Engine = open_model(path, threads=threads, remembered=0, adapter=adapter)
    return model


def _spread(examples: Sequence[Example]) -> list[Example]:
    """The examples, one of each task in turn."""
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(example.task, []).append(example)
    return [example for row in itertools.zip_longest(*groups.values()) for example in row if example]


def _fits(model: Model, example: Example) -> bool:
    task = named(example.task)
    return len(Reader(model).prompt(task, example.inputs).ids) + task.max_tokens <= model.context_tokens


def _behave(model: Engine, folder: Path, probes: Sequence[Example], scored: Sequence[Example]) -> _Behaviour:
    """Next tokens are asked after the folder's own prompts, so that they tell of the weights alone; answers are free
    of a grammar, which would hide damage; scores are those of use."""
    renderer = Renderer.from_folder(folder)
    following = [model.next_log_probabilities(_prompt(renderer, probe), round(1 / LIKELY)) for probe in probes]
    answers = list(Reader(model, constrain=False).read_many((probe.task, probe.inputs) for probe in probes))
    scores: dict[str, list[float]] = {}
    readings = Reader(model).read_many((example.task, example.inputs) for example in scored)
    for example, reading in zip(scored, readings, strict=True):
        scores.setdefault(example.task, []).append(grade(example, reading).values[named(example.task).metric])
    return _Behaviour(following, answers, scores)


def _prompt(renderer: Renderer, example: Example) -> Prompt:
    return renderer.prompt(turns(named(example.task), example.inputs))


def _prompts(found: header.Header, folder: Path, probes: Sequence[Example]) -> Check:
    """Ids from the file's own tokenizer.json, and from the vocabulary that other programs read."""
    name, bound = "prompt ids", "all equal"
    try:
        template = str(found.keys.get("tokenizer.chat_template"))
        bare = {key: value for key, value in found.keys.items() if key != "tokenizer.huggingface.json"}
        ours = Renderer.from_folder(folder)
        theirs = [found.renderer(), Renderer(replace(found, keys=bare).tokenizer(), template)]
        equal = sum(all(_prompt(other, probe) == _prompt(ours, probe) for other in theirs) for probe in probes)
        marks = ours.prompt([Turn("user", _PROBE)])
        odd = all(other.prompt([Turn("user", _PROBE)]) == marks for other in theirs)
    except UserError as error:
        return Check(name, False, str(error), bound)
    measured = f"{equal} of {len(probes)}; odd characters {'equal' if odd else 'differ'}"
    return Check(name, odd and equal == len(probes), measured, bound)


def _log_probabilities(reference: _Behaviour, measured: _Behaviour, kind: str) -> Check:
    differences, divergences = [], []
    for true, found in zip(reference.following, measured.following, strict=True):
        pairs = list(_pairs(true, found))
        differences += [abs(first - second) for first, second in pairs]
        divergences.append(sum(math.exp(first) * (first - second) for first, second in pairs))
    mean, most = float(np.mean(differences)), float(np.max(differences))  # NumPy's, to see NaN
    text = f"mean {mean:.4f}, max {most:.4f} nats over {len(divergences)} prompts"
    if kind in LOG_PROBABILITY_BOUND:
        bound = LOG_PROBABILITY_BOUND[kind]
        return Check("log-probabilities", most <= bound, text, f"max {bound} nats")
    divergence = float(np.mean(divergences))
    return Check(
        "log-probabilities",
        divergence <= DIVERGENCE_BOUND,
        f"divergence {max(divergence, 0.0):.4f} nats; {text}",
        f"mean divergence {DIVERGENCE_BOUND} nats",
    )


def _pairs(first: dict[int, float], second: dict[int, float]) -> Iterator[tuple[float, float]]:
    """Log-probabilities of each likely token; one that a side does not list is no likelier than its last."""
    floors = [min(side.values()) for side in (first, second)]
    least = min(math.log(LIKELY), max(first.values()))
    for token in first.keys() | second.keys():
        pair = first.get(token, floors[0]), second.get(token, floors[1])
        if not max(pair) < least:
            yield pair


def _answers(
    reference: _Behaviour, measured: _Behaviour, model: Engine, folder: Path, probes: Sequence[Example]
) -> Check:
    """Greedy answers. They may part only where two tokens are as likely as the arithmetic can tell."""
    renderer = Renderer.from_folder(folder)
    equal = ties = 0
    for probe, true, found in zip(probes, reference.answers, measured.answers, strict=True):
        if (true.text, true.stop_reason) == (found.text, found.stop_reason):
            equal += 1
        elif _is_tie(model, renderer, _prompt(renderer, probe), true, found):
            ties += 1
    text = f"{equal} of {len(probes)} equal" + (f", {ties} part at a tie" if ties else "")
    return Check("greedy answers", equal + ties == len(probes), text, "all equal, ties apart")


def _is_tie(model: Engine, renderer: Renderer, prompt: Prompt, true: Reading, found: Reading) -> bool:
    answers = [
        (*renderer.tokenizer.encode(reading.text), *([renderer.end_id] if reading.stop_reason == "end" else []))
        for reading in (true, found)
    ]
    shared = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(*answers, strict=False)))
    if shared >= min(map(len, answers)):
        return False
    following = model.next_log_probabilities(Prompt((*prompt.ids, *answers[0][:shared]), prompt.text), 10)
    first, second = (following.get(answer[shared], -math.inf) for answer in answers)
    return abs(first - second) <= 2 * LOG_PROBABILITY_BOUND["F16"]


def _stops(reference: _Behaviour, measured: _Behaviour, kind: str) -> Check:
    true, found = (sum(answer.stop_reason == "end" for answer in side.answers) for side in (reference, measured))
    least = true if kind in LOG_PROBABILITY_BOUND else math.floor(0.9 * true)
    return Check("stops by itself", found >= least, f"{found} of {len(measured.answers)}", f"{least} or more")
