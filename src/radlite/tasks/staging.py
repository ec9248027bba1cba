"""N and M stage of a report's primary tumor, in the plain forms of the paper: `Positive. N staging: N2` and `M1`."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from radlite.tasks.answers import choice, one_label, quote
from radlite.tasks.grammar import Grammar
from radlite.tasks.prompts import cue, instruction
from radlite.tasks.task import Counts, Grounded, Task
from radlite.tasks.tumors import main, primary, stated

N_STAGES: Final = ("N0", "N1", "N2", "N3", "NX")
M_STAGES: Final = ("M0", "M1")
"""Main categories; a tumor's own subdivisions (N2a, M1c) come to these. There is no MX: M is M0 unless shown."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A category of one axis. The site comes from the report, not from the model's text."""

    category: str
    """With its subdivision, if one is given: `N2a`."""
    main: str
    positive: bool | None
    """Whether nodes, or distant metastases, are there; None if that cannot be told."""
    site: str = field(default="", compare=False)
    """The primary tumor that the report is about, where it is surely one; it says which categories there are."""


def stage(category: str) -> Stage:
    """The stage of a category such as `N2a`."""
    group = main(category)
    return Stage(category, group, None if group == "NX" else not group.endswith("0"))


def _render_n(answer: Stage) -> str:
    word = {None: "Unknown", True: "Positive", False: "Negative"}[answer.positive]
    return f"{word}. N staging: {answer.category}"


_N = re.compile(
    r"(?:(positive|negative|unknown)\.\s*)?(?:n staging:\s*)?n([0-3x][a-c]?|[0-3]x?)\.?", re.IGNORECASE
)  # fmt: skip
_M = re.compile(r"(?:m staging:\s*)?m([01][a-d]?[12]?)\.?", re.IGNORECASE)


def _read_n(text: str) -> Stage | None:
    """The stage; None also when the word before it says another."""
    found = _N.fullmatch(text.strip())
    answer = _stage("N", found[2], N_STAGES) if found else None
    if found and answer and found[1] and not _render_n(answer).lower().startswith(found[1].lower()):
        return None
    return answer


def _read_m(text: str) -> Stage | None:
    found = _M.fullmatch(text.strip())
    return _stage("M", found[1], M_STAGES) if found else None


def _stage(axis: str, digits: str, allowed: tuple[str, ...]) -> Stage | None:
    category = axis + digits.lower().replace("x", "X")
    answer = stage(category)
    known = answer.main in allowed and (category == answer.main or not answer.main.endswith(("0", "X")))
    return answer if known else None


def _grammar(axis: Literal["N", "M"], render: Callable[[Stage], str]) -> Callable[[Mapping[str, str]], Grammar]:
    """The categories of the report's tumor; where it is not surely one of the known ones, the main categories."""
    plain = choice(render(stage(category)) for category in (N_STAGES if axis == "N" else M_STAGES))

    def grammar(inputs: Mapping[str, str]) -> Grammar:
        tumor = primary(inputs["report"])
        if not tumor:
            return plain(inputs)
        return choice(render(stage(category)) for category in (tumor.n if axis == "N" else tumor.m))(inputs)

    return grammar


def _ground(axis: Literal["N", "M"]) -> Callable[[Stage, Mapping[str, str]], Grounded]:
    """The stage that the report itself states is evidence, or a warning where it is another; earlier ones are not."""

    def ground(answer: Stage, inputs: Mapping[str, str]) -> Grounded:
        report = inputs["report"]
        tumor = primary(report)
        written = [one for one in stated(report, axis) if not one.prior]
        agreeing = [one for one in written if main(one.category) == answer.main]
        others = ", ".join(dict.fromkeys(one.category for one in written))
        warnings = (f"the report states {others}",) if written and not agreeing else ()
        return Grounded(
            replace(answer, site=tumor.site if tumor else ""),
            tuple(quote(report, one.start, one.end) for one in agreeing),
            warnings,
        )

    return ground


def _judge(answer: Stage | None, truth: Stage) -> dict[str, float]:
    """Right main category; right in its subdivision too; right about there being any."""
    return {
        "accuracy": float(answer is not None and answer.main == truth.main),
        "exact_match": float(answer == truth),
        "positive_accuracy": float(answer is not None and answer.positive == truth.positive),
    }


def _count(answer: Stage | None, truth: Stage) -> Counts:
    return one_label(answer.main if answer else None, truth.main)


def _main(answer: Stage) -> str:
    return answer.main


def _rank(category: str) -> tuple[str, int] | None:
    return (category[0], int(category[1])) if category[1:].isdigit() else None


def _probabilities(
    read: Callable[[str], Stage | None],
) -> Callable[[tuple[Mapping[str, float], ...]], dict[str, Any]]:
    """Of the main categories: each has what its subdivisions have together."""

    def probabilities(alternatives: tuple[Mapping[str, float], ...]) -> dict[str, Any]:
        summed: dict[str, float] = {}
        for text, value in (alternatives[0] if alternatives else {}).items():
            if found := read(text):
                summed[found.main] = summed.get(found.main, 0.0) + value
        return summed

    return probabilities


N_STAGING = Task(
    name="n_staging",
    inputs=("report",),
    cue=cue("n_staging"),
    instruction=instruction("n_staging"),
    form=Stage,
    read=_read_n,
    render=_render_n,
    judge=_judge,
    metric="accuracy",
    max_tokens=16,
    grammar=_grammar("N", _render_n),
    ground=_ground("N"),
    labels=N_STAGES,
    label=_main,
    probabilities=_probabilities(_read_n),
    count=_count,
    rank=_rank,
)


def _render_m(answer: Stage) -> str:
    return answer.category


M_STAGING = Task(
    name="m_staging",
    inputs=("report",),
    cue=cue("m_staging"),
    instruction=instruction("m_staging"),
    form=Stage,
    read=_read_m,
    render=_render_m,
    judge=_judge,
    metric="accuracy",
    max_tokens=8,
    grammar=_grammar("M", _render_m),
    ground=_ground("M"),
    labels=M_STAGES,
    label=_main,
    probabilities=_probabilities(_read_m),
    count=_count,
)
