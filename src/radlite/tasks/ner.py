"""Named entities in RadGraph's schema. The answer maps a label to its entities in the order of the text."""

from radlite.tasks.answers import overlap, squeeze
from radlite.tasks.task import Task

LABELS = ("Anatomy", "Observation (Present)", "Observation (Absent)", "Observation (Uncertain)")
NO_ENTITIES = "No entities."

_LABEL = {label.casefold(): label for label in LABELS}


def render(entities: dict[str, list[str]]) -> str:
    """One line a label that has entities: `Anatomy: left lower lobe; heart`; `No entities.` for none."""
    lines = [f"{label}: {'; '.join(entities[label])}" for label in LABELS if entities.get(label)]
    return "\n".join(lines) or NO_ENTITIES


def read(text: str) -> dict[str, list[str]] | None:
    """The entities by label; None if a line has no known label, a label repeats, or a line is empty after it."""
    if text.strip().casefold() == NO_ENTITIES.casefold():
        return {}
    found: dict[str, list[str]] = {}
    for line in filter(str.strip, text.splitlines()):
        head, colon, tail = line.partition(":")
        label = _LABEL.get(squeeze(head).casefold())
        entities = [squeeze(entity) for entity in tail.split(";") if entity.strip()]
        if not colon or not label or label in found or not entities:
            return None
        found[label] = entities
    return {label: found[label] for label in LABELS if label in found} or None


def judge(answer: dict[str, list[str]] | None, truth: dict[str, list[str]]) -> dict[str, float]:
    """F1, precision and recall over (label, entity) pairs, repeats counted."""
    if answer is None:
        return {"entity_f1": 0.0, "entity_precision": 0.0, "entity_recall": 0.0}
    pairs = [
        [(label, entity.casefold()) for label, listed in entities.items() for entity in listed]
        for entities in (answer, truth)
    ]
    precision, recall, f1 = overlap(*pairs)
    return {"entity_f1": f1, "entity_precision": precision, "entity_recall": recall}


NER = Task(
    name="radiology_ner",
    inputs=("report",),
    cue="Entities of the report.",
    instruction=(
        "List the entities of the report, one line for each label that occurs, in the order of the text, separated by "
        f"semicolons: {', '.join(LABELS)}. Form: 'Anatomy: left lower lobe; heart'."
    ),
    read=read,
    render=render,
    judge=judge,
    metric="entity_f1",
    max_tokens=256,
)
