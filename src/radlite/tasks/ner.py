"""Named entities in RadGraph's schema, with measurements and changes, and where they stand in the report."""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, get_args

from radlite.tasks.answers import overlap, place, quote, squeeze, tally
from radlite.tasks.grammar import Edge, Grammar, spans
from radlite.tasks.prompts import cue, instruction
from radlite.tasks.task import Counts, Grounded, Task

Label = Literal[
    "Anatomy", "Observation (Present)", "Observation (Absent)", "Observation (Uncertain)", "Measurement", "Change"
]
LABELS: Final[tuple[Label, ...]] = get_args(Label)
"""RadGraph's (Jain et al., 2021), with the measurements of RadGraph-XL and the change words of RadGraph2."""
RelationType = Literal["located_at", "modify", "suggestive_of"]
NO_ENTITIES: Final = "No entities."

_LABEL = {label.casefold(): label for label in LABELS}
_RELATIONS = "Relations"
_RELATION = re.compile(r"(.+?) > (located_at|modify|suggestive_of) > (.+)")
_LONGEST = 8
_NOWHERE = 1 << 40  # beyond the end of any report


@dataclass(frozen=True, slots=True)
class Entity:
    """Words of the report and what they are. The place comes from the report, not from the model's text."""

    text: str
    label: Label
    start: int | None = field(default=None, compare=False)
    """`report[start:end]` are the words; None if they do not stand in the report."""
    end: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Relation:
    """Two entities, by their words, and how the first stands to the second."""

    head: str
    type: RelationType
    tail: str


@dataclass(frozen=True, slots=True)
class Entities:
    """The entities, label by label, within one in the order of the report. Relations are optional and not asked for."""

    entities: tuple[Entity, ...]
    relations: tuple[Relation, ...] = ()


def render(answer: Entities) -> str:
    """One line a label that has entities: `Anatomy: left lower lobe; heart`; `No entities.` for none."""
    lines = []
    for label in LABELS:
        listed = [one.text for one in answer.entities if one.label == label]
        lines += [f"{label}: {'; '.join(listed)}"] if listed else []
    if answer.relations:
        lines.append(f"{_RELATIONS}: {'; '.join(f'{one.head} > {one.type} > {one.tail}' for one in answer.relations)}")
    return "\n".join(lines) or NO_ENTITIES


def read(text: str) -> Entities | None:
    """The entities by label; None if a line has no known label, a label repeats, or a line is empty after it."""
    if text.strip().casefold() == NO_ENTITIES.casefold():
        return Entities(())
    found: dict[str, list[str]] = {}
    for line in filter(str.strip, text.splitlines()):
        head, colon, tail = line.partition(":")
        name = squeeze(head).casefold()
        label = _RELATIONS if name == _RELATIONS.casefold() else _LABEL.get(name)
        listed = [squeeze(entity) for entity in tail.split(";") if entity.strip()]
        if not colon or not label or label in found or not listed:
            return None
        found[label] = listed
    relations = [_RELATION.fullmatch(one) for one in found.pop(_RELATIONS, ())]
    if not found or not all(relations):
        return None
    return Entities(
        tuple(Entity(text, label) for label in LABELS for text in found.get(label, ())),
        tuple(Relation(one[1], one[2], one[3]) for one in relations if one),  # type: ignore[arg-type]
    )


def grammar(inputs: Mapping[str, str]) -> Grammar:
    """Labels in their order, each with words of the report."""
    listed = spans(inputs["report"], _LONGEST)
    if not listed:
        return ((Edge((NO_ENTITIES,), 1),),)
    # State 0 begins; 1 + 2i: words of label i follow; 2 + 2i: another entity, a later label, or the end.
    over = 1 + 2 * len(LABELS)
    states = [(Edge((NO_ENTITIES,), over), *(Edge((f"{label}:",), 1 + 2 * i) for i, label in enumerate(LABELS)))]
    for i in range(len(LABELS)):
        later = (Edge((f"\n{label}:",), 1 + 2 * j) for j, label in enumerate(LABELS) if j > i)
        states += [(Edge(listed, 2 + 2 * i),), (Edge((";",), 1 + 2 * i), *later, Edge(("",), over))]
    return tuple(states)


def ground(answer: Entities, inputs: Mapping[str, str]) -> Grounded:
    """The place of each entity: within a label the next one, else the first, where its words stand."""
    report = inputs["report"]
    entities, begin, missing = [], dict.fromkeys(LABELS, 0), 0
    for entity in answer.entities:
        found = place(entity.text, report, begin[entity.label]) or place(entity.text, report)
        if found:
            begin[entity.label] = found[1]
            entities.append(replace(entity, start=found[0], end=found[1]))
        else:
            missing += 1
            entities.append(entity)
    warnings = (f"{missing} of {len(entities)} entities are not in the report",) if missing else ()
    evidence = tuple(quote(report, one.start, one.end) for one in entities if one.start is not None and one.end)
    return Grounded(Entities(tuple(entities), answer.relations), evidence, warnings)


def judge(answer: Entities | None, truth: Entities) -> dict[str, float]:
    """F1 over entities by place: exact and with the right label; the right label and some overlap; half for an overlap.

    As nervaluate has them (`strict`, `ent_type`, `partial`). What does not stand in the report is one too many.
    `text_f1` looks at label and words only.
    """
    if answer is None:
        return {"strict_f1": 0.0, "type_f1": 0.0, "partial_f1": 0.0, "text_f1": 0.0}
    texts = [[(one.label, one.text.casefold()) for one in entities.entities] for entities in (answer, truth)]
    if not answer.entities and not truth.entities:
        return {"strict_f1": 1.0, "type_f1": 1.0, "partial_f1": 1.0, "text_f1": 1.0}
    scores = _scores(answer, truth)
    return {
        "strict_f1": float(scores["strict"].f1),
        "type_f1": float(scores["ent_type"].f1),
        "partial_f1": float(scores["partial"].f1),
        "text_f1": overlap(*texts)[2],
    }


def count(answer: Entities | None, truth: Entities) -> Counts:
    """Entities exactly right, given and true, by label."""
    return tally(_placed(answer) if answer else (), _placed(truth))


def _placed(answer: Entities) -> list[tuple[str, object]]:
    """Label and place of each entity; one that does not stand in the report is like no other."""
    return [(one.label, (one.start, one.end) if one.end else object()) for one in answer.entities]


def _scores(answer: Entities, truth: Entities) -> dict[str, Any]:
    """nervaluate's result for each of its strategies."""
    from nervaluate.evaluator import Evaluator

    nowhere = itertools.count(_NOWHERE, 2)
    found, true = (
        [{"label": one.label, "start": one.start if one.end else next(nowhere), "end": one.end or next(nowhere)}
         for one in entities.entities]
        for entities in (answer, truth)
    )  # fmt: skip
    result: dict[str, Any] = Evaluator([true], [found], tags=list(LABELS), loader="dict").evaluate()["overall"]
    return result


NER = Task(
    name="radiology_ner",
    inputs=("report",),
    cue=cue("radiology_ner"),
    instruction=instruction("radiology_ner"),
    form=Entities,
    read=read,
    render=render,
    judge=judge,
    metric="strict_f1",
    max_tokens=256,
    grammar=grammar,
    ground=ground,
    count=count,
)
