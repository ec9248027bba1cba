"""Claims about every task: its plain text reads back, nothing else is read, and it says what it is."""

import json
from typing import Any

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radlite.data import sample
from radlite.errors import UserError
from radlite.rads import NO_RADS, labels
from radlite.tasks import TASKS, Task, named
from radlite.tasks.abnormality import CLASSES, STATES, Abnormalities
from radlite.tasks.impression import Conclusion, Impression
from radlite.tasks.ner import LABELS, Entities, Entity, Relation
from radlite.tasks.nli import LABELS as RELATIONS
from radlite.tasks.nli import Relation as Inference
from radlite.tasks.prompts import SYSTEM
from radlite.tasks.qa import Reply
from radlite.tasks.rads import assignment
from radlite.tasks.staging import stage
from radlite.tasks.temporal import WORDING, Change, Changes

WORD = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9.'/-]{0,8}[A-Za-z0-9]", fullmatch=True)
WORDS = st.lists(WORD, min_size=1, max_size=5).map(" ".join)
SENTENCE = WORDS.map(lambda words: f"{words}.").filter(lambda text: not text[0].isdigit())
ENTITY = st.builds(Entity, WORDS, st.sampled_from(LABELS))

ANSWERS: dict[str, st.SearchStrategy[Any]] = {
    "rads_assignment": st.sampled_from(labels()).map(assignment),
    "impression_generation": st.lists(SENTENCE.map(Conclusion), min_size=1, max_size=5).map(
        lambda lines: Impression(tuple(lines))
    ),
    "temporal_comparison": st.lists(st.builds(Change, WORDS, st.sampled_from(list(WORDING)), WORDS), max_size=5).map(
        lambda changes: Changes(tuple(changes))
    ),
    "radiology_ner": st.builds(
        lambda entities, relations: Entities(
            tuple(sorted(entities, key=lambda one: LABELS.index(one.label))), tuple(relations) if entities else ()
        ),
        st.lists(ENTITY, max_size=8),
        st.lists(st.builds(Relation, WORDS, st.sampled_from(["located_at", "modify", "suggestive_of"]), WORDS)),
    ),
    "n_staging": st.sampled_from(["N0", "N1", "N2", "N2a", "N2b", "N2c", "N3", "N3b", "NX"]).map(stage),
    "m_staging": st.sampled_from(["M0", "M1", "M1a", "M1b", "M1c1", "M1c2"]).map(stage),
    "radiology_nli": st.sampled_from(RELATIONS).map(Inference),
    "abnormality_detection": st.tuples(*[st.sampled_from(STATES)] * len(CLASSES)).map(
        lambda states: Abnormalities(dict(zip(CLASSES, states, strict=True)))
    ),
    "radiology_qa": SENTENCE.map(Reply),
}

every_task = pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)


@every_task
def test_what_is_rendered_reads_back_as_the_same_answer(task: Task) -> None:
    @given(answer=ANSWERS[task.name])
    @settings(deadline=None)
    def check(answer: Any) -> None:
        assert task.read(task.render(answer)) == answer

    check()


@every_task
def test_reading_any_text_gives_an_answer_or_none_and_never_an_error(task: Task) -> None:
    @given(text=st.text() | st.text("abcdeM01NX:;->()[] \n.").map(str))
    @settings(deadline=None)
    def check(text: str) -> None:
        answer = task.read(text)
        if answer is not None:
            assert isinstance(answer, task.form)
            assert task.read(task.render(answer)) == answer

    check()


@every_task
def test_holding_an_answer_against_any_report_changes_nothing_of_what_was_said(task: Task) -> None:
    @given(answer=ANSWERS[task.name], text=st.text(min_size=1) | SENTENCE)
    @settings(deadline=None)
    def check(answer: Any, text: str) -> None:
        held = task.ground(answer, dict.fromkeys(task.inputs, text))
        assert held.answer == answer
        for one in held.evidence:
            assert one.quote and text[one.start : one.end] == one.quote

    check()


@every_task
def test_answers_are_json_in_the_printed_schema(task: Task) -> None:
    adapter = pydantic.TypeAdapter(task.form)
    json.dumps(task.schema())

    @given(answer=ANSWERS[task.name])
    @settings(deadline=None, max_examples=20)
    def check(answer: Any) -> None:
        assert adapter.validate_json(adapter.dump_json(answer)) == answer

    check()


@every_task
def test_the_right_answer_scores_one_and_none_scores_zero(task: Task) -> None:
    for example in sample.examples(task.name, "validation", 20):
        truth = task.ground(task.read(example.answer), example.inputs).answer
        right, missed = task.judge(truth, truth), task.judge(None, truth)
        assert right[task.metric] == 1 and missed[task.metric] == 0
        assert all(0 <= value <= 1 for value in (*right.values(), *missed.values()))
        assert right.keys() == missed.keys()
        for hits, given_, true in task.count(truth, truth).values():
            assert hits == given_ == true
        assert all(hits == given_ == 0 for hits, given_, _ in task.count(None, truth).values())


@every_task
def test_the_wording_of_a_task_is_in_the_pack_and_names_its_labels(task: Task) -> None:
    assert task.cue and task.instruction and "\n" not in task.instruction
    named_in = {
        "radiology_nli": RELATIONS, "radiology_ner": LABELS, "abnormality_detection": CLASSES,
        "temporal_comparison": WORDING.values(), "m_staging": ("M0", "M1"), "rads_assignment": (NO_RADS,),
    }.get(task.name, ())  # fmt: skip
    assert all(label in task.instruction for label in named_in)
    assert SYSTEM and len(task.wording) == 16


def test_every_label_of_a_closed_set_is_the_label_of_its_own_answer() -> None:
    for task in TASKS.values():
        for label in task.labels:
            assert task.label(task.read(label)) == label


@pytest.mark.parametrize(
    ("task", "text"),
    [
        ("rads_assignment", "BI-RADS 7"), ("rads_assignment", "BI-RADS 3 or 4"),
        ("rads_assignment", "likely BI-RADS 3"), ("rads_assignment", ""), ("impression_generation", "<think>"),
        ("impression_generation", " \n "),
        ("temporal_comparison", "- [Bigger] increased (related to: effusion)"),
        ("temporal_comparison", "- [Worsened] (related to: effusion)"),
        ("radiology_ner", "Anatomy: "), ("radiology_ner", "Anatomy: heart\nAnatomy: lung"),
        ("radiology_ner", "Organ: a"),
        ("n_staging", "Positive. N staging: N0"), ("n_staging", "Negative. N staging: N1"), ("n_staging", "N4"),
        ("m_staging", "MX"), ("m_staging", "M2"), ("m_staging", "M1 or M0"),
        ("radiology_nli", "entailment or neutral"), ("abnormality_detection", "- Edema: positive"),
        ("radiology_qa", "<|im_end|>"),
    ],
)  # fmt: skip
def test_what_is_not_in_the_form_of_the_task_is_unreadable(task: str, text: str) -> None:
    assert named(task).read(text) is None


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("LI-RADS 5", "LR-5"), ("birads 4b", "BI-RADS 4B"), ("BI-RADS 4B.", "BI-RADS 4B"), ("TR4", None),
        ("ACR TI-RADS: TR 4", "TI-RADS 4"), ("no applicable rads", NO_RADS),
        ("NI-RADS 2b // 1", "NI-RADS primary 2b, neck 1"),
    ],
)  # fmt: skip
def test_other_spellings_of_a_category_are_read(text: str, category: str | None) -> None:
    answer = named("rads_assignment").read(text)
    assert (answer and answer.category) == category


def test_an_unknown_task_is_an_error_that_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean radiology_ner"):
        named("radiology_nre")
