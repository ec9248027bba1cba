"""Staging reports: the rules at their boundaries, and what every written item keeps to."""

import random
import re
from collections import Counter

import pytest

from radlite.data.sample import rads_case, staging
from radlite.data.sample.item import Item
from radlite.data.sample.staging import HARMLESS, METASTATIC, Distant, Node, m_stage, n_stage
from radlite.data.sample.wording import Wordings, Writer
from radlite.tasks import TASKS

COUNT = 1200


def items(task: str, count: int = COUNT, held_out: bool = False) -> list[Item]:
    return [staging.MAKERS[task](Writer(random.Random(f"{task}/{n}"), held_out)) for n in range(count)]


@pytest.fixture(scope="module")
def made() -> dict[str, list[Item]]:
    return {task: items(task) for task in staging.MAKERS}


@pytest.mark.parametrize(
    ("node", "stage"),
    [
        (Node("hilar", "right", 9), "N0"),
        (Node("hilar", "right", 10), "N1"),
        (Node("interlobar", "right", 12), "N1"),
        (Node("peribronchial", "right", 12), "N1"),
        (Node("lower paratracheal", "right", 12), "N2"),
        (Node("subcarinal", "", 12), "N2"),
        (Node("hilar", "left", 12), "N3"),
        (Node("upper paratracheal", "left", 12), "N3"),
        (Node("supraclavicular", "right", 12), "N3"),
        (Node("scalene", "left", 12), "N3"),
        (Node("scalene", "left", 9), "N0"),
        (Node("lower paratracheal", "right", 15, "calcified"), "N0"),
        (Node("lower paratracheal", "right", 6, before=18), "N0"),
        (Node("axillary", "right", 18), "N0"),
    ],
)
def test_station_side_and_10_mm_make_the_n_stage_of_a_right_sided_tumor(node: Node, stage: str) -> None:
    assert n_stage("right", [node]) == stage


def test_the_worst_node_decides() -> None:
    nodes = [Node("hilar", "left", 20), Node("subcarinal", "", 11), Node("scalene", "right", 5)]
    assert n_stage("left", nodes) == n_stage("left", nodes[::-1]) == "N2"
    assert n_stage("right", nodes) == "N3"
    assert n_stage("left", []) == "N0"


@pytest.mark.parametrize("kind", METASTATIC)
def test_a_metastasis_among_harmless_findings_makes_m1(kind: str) -> None:
    assert m_stage([*(Distant(one) for one in HARMLESS), Distant(kind)]) == "M1"


def test_harmless_findings_are_no_metastases() -> None:
    assert m_stage([Distant(kind) for kind in HARMLESS]) == m_stage([]) == "M0"


def test_an_adrenal_nodule_is_an_adenoma_up_to_10_hounsfield_units() -> None:
    assert m_stage([Distant("adrenal nodule", 10)]) == "M0"
    assert m_stage([Distant("adrenal nodule", 11)]) == "M1"


@pytest.mark.parametrize("task", staging.MAKERS)
@pytest.mark.parametrize("held_out", [False, True])
def test_every_answer_reads_back_and_no_stage_is_named(task: str, held_out: bool) -> None:
    for item in items(task, 400, held_out):
        assert TASKS[task].read(TASKS[task].render(item.answer)) == item.answer
        text = item.inputs["report"]
        assert not re.search(r"\b[cp]?[NM][0-3X]", text)
        assert not re.search(r"[{}]|  | [.,]|\.\.|\b[Aa] (?:[aeio]|8|11 |18 )", text), text


@pytest.mark.parametrize("task", staging.MAKERS)
def test_stages_are_balanced_and_independent(made: dict[str, list[Item]], task: str) -> None:
    counts = Counter((item.answer.category, item.tags) for item in made[task])
    assert len(counts) == 8
    assert all(0.08 < count / COUNT < 0.18 for count in counts.values())


@pytest.mark.parametrize("task", staging.MAKERS)
def test_reports_have_sixty_to_four_hundred_words_and_most_are_short(made: dict[str, list[Item]], task: str) -> None:
    lengths = sorted(len(item.inputs["report"].split()) for item in made[task])
    assert lengths[0] >= 60
    assert lengths[-1] <= 400
    assert sum(70 <= length <= 150 for length in lengths) > 0.7 * COUNT


@pytest.mark.parametrize("task", staging.MAKERS)
def test_the_same_seed_writes_the_same_items(made: dict[str, list[Item]], task: str) -> None:
    assert items(task, 30) == made[task][:30]
    assert len({item.inputs["report"] for item in made[task]}) == COUNT


def _read_n(report: str) -> str:
    """The N stage again, from the sentences of a report."""
    # The primary's sentence is the one that names a lobe; `same lobe` is the satellite nodule's.
    text = re.split(r"(?:FINDINGS|Findings|REPORT):", report)[-1].replace("\n", " ")
    side = re.search(r"(right|left) (?:upper|middle|lower) lobe", text, re.IGNORECASE)
    assert side
    nodes = []
    for sentence in re.split(r"(?<=[.:)]) (?=[A-Z])", text):
        place = re.search(
            r"(?:(right|left) )?(hilar|interlobar|peribronchial|upper paratracheal|lower paratracheal|paraesophageal|"
            r"subcarinal|supraclavicular|scalene|axillary)",
            sentence,
            re.IGNORECASE,
        )
        # Of two sizes the earlier one is marked as such.
        now = re.sub(r"(?:previously|earlier|formerly|measured) \d+ mm|\d+ mm before", "", sentence)
        axis = re.search(r"(\d+) mm", now)
        if place and axis:
            benign = "benign" if re.search("calcifi|fatty hilum", sentence, re.IGNORECASE) else ""
            nodes.append(Node(place[2].lower(), (place[1] or "").lower(), int(axis[1]), benign))
    return n_stage(side[1].lower(), nodes)


@pytest.mark.parametrize("held_out", [False, True])
def test_the_text_gives_back_its_n_stage(held_out: bool) -> None:
    for item in items("n_staging", 600, held_out):
        assert _read_n(item.inputs["report"]) == item.answer.category, item.inputs["report"]


def test_m0_reports_have_harmless_findings_in_the_same_organs(made: dict[str, list[Item]]) -> None:
    for word in ("adrenal", "liver|hepatic", "bone|rib|spine", "nodule"):
        counts = Counter(
            item.answer.category for item in made["m_staging"] if re.search(word, item.inputs["report"], re.IGNORECASE)
        )
        assert 0.25 < counts["M0"] / counts.total() < 0.75


def test_training_text_has_no_unseen_wording() -> None:
    entries = [value for value in vars(staging).values() if isinstance(value, Wordings)]
    entries += staging.DISTANT.values()
    unseen = [_literal(variant) for entry in entries for variant in entry[entry.seen :]]
    shared = [value for value in vars(rads_case).values() if isinstance(value, Wordings)]
    seen = " ".join(_literal(variant) for entry in (*entries, *shared) for variant in entry[: entry.seen])
    telling = [text for text in unseen if len(text) >= 12 and text not in seen]
    assert len(telling) > 12
    for number in range(400):
        writer = Writer(random.Random(number), held_out=False)
        text = staging.report(writer).lower()
        assert writer.unseen == 0
        assert not [part for part in telling if part in text]


def test_test_text_uses_unseen_wordings() -> None:
    writers = [Writer(random.Random(number), held_out=True) for number in range(100)]
    for writer in writers:
        staging.report(writer)
    assert sum(writer.unseen > 0 for writer in writers) > 90


def _literal(variant: str) -> str:
    """The longest part of a wording that has no fact in it."""
    return max(re.split(r"\{\w+\}", variant.lower().strip(".")), key=len).strip()
