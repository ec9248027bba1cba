"""RADS reports: what every written item keeps to."""

import itertools
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from types import ModuleType

import pytest

from radlite.data.sample import (
    rads,
    rads_breast,
    rads_case,
    rads_gallbladder,
    rads_liver,
    rads_neck,
    rads_none,
    rads_ovary,
    rads_pelvis,
    rads_thorax,
)
from radlite.data.sample.item import Item
from radlite.data.sample.wording import Wordings, Writer
from radlite.rads import NO_RADS, labels, system_of
from radlite.rads.rules import decide
from radlite.tasks import TASKS

TASK = TASKS["rads_assignment"]
COUNT = 2000
MODULES = (
    rads_breast,
    rads_case,
    rads_gallbladder,
    rads_liver,
    rads_neck,
    rads_none,
    rads_ovary,
    rads_pelvis,
    rads_thorax,
)
CATEGORIES = [(system, category) for system, (categories, _) in rads.SYSTEMS.items() for category in categories]


def items(count: int, held_out: bool = False) -> list[Item]:
    return [rads.rads_assignment(Writer(random.Random(f"rads/{n}"), held_out)) for n in range(count)]


@pytest.fixture(scope="module")
def made() -> list[Item]:
    return items(COUNT)


def findings(report: str) -> str:
    return re.split(r"(?:FINDINGS|Findings|REPORT):", report)[-1]


@pytest.mark.parametrize(("system", "category"), CATEGORIES)
@pytest.mark.parametrize("held_out", [False, True])
def test_every_category_can_be_written_and_is_named_nowhere_in_its_findings(
    system: str, category: str, held_out: bool
) -> None:
    draw = rads.SYSTEMS[system][1]
    for number in range(6):
        writer = Writer(random.Random(f"{category}/{number}"), held_out)
        case = draw(writer, category)
        text = rads_case.written(writer, case)
        assert case.category == category
        assert system_of(category) == system
        assert not re.search(rf"{re.escape(category)}(?!\w)", text)
        assert not re.search(r"RADS|LR-|\bUS-\d|viable|equivocal|nonprogressing", findings(text), re.IGNORECASE)
        assert not re.search(r"[{}]|  | [.,]|\.\.|,\.|\b[Aa] (?:[aeio]|8|11 |18 )", text), text


def test_answers_read_back(made: list[Item]) -> None:
    for item in made:
        assert item.answer.category in labels()
        assert TASK.read(TASK.render(item.answer)) == item.answer
        assert item.tags == (f"system:{system_of(item.answer.category)}",)
        assert not re.search(rf"{re.escape(item.answer.category)}(?!\w)", item.inputs["report"])


def test_systems_are_alike_likely_and_a_tenth_has_none(made: list[Item]) -> None:
    counts = Counter(system_of(item.answer.category) for item in made)
    assert len(counts) == 11
    assert all(0.06 < count / COUNT < 0.14 for count in counts.values())
    assert len({item.answer.category for item in made}) == len(CATEGORIES) + 1


@pytest.mark.parametrize("system", rads.SYSTEMS)
def test_no_category_prevails_within_a_system(made: list[Item], system: str) -> None:
    counts = Counter(item.answer.category for item in made if system_of(item.answer.category) == system)
    assert max(counts.values()) <= 0.4 * counts.total()


def test_reports_have_sixty_to_four_hundred_words_and_most_are_short(made: list[Item]) -> None:
    lengths = sorted(len(item.inputs["report"].split()) for item in made)
    assert lengths[0] >= 60
    assert lengths[-1] <= 400
    assert sum(70 <= length <= 150 for length in lengths) > 0.7 * COUNT


def test_the_same_seed_writes_the_same_items_and_different_ones_differ(made: list[Item]) -> None:
    assert items(50) == made[:50]
    assert len({item.inputs["report"] for item in made}) == COUNT


def test_earlier_categories_and_other_systems_stand_in_the_history_of_some(made: list[Item]) -> None:
    named = [item for item in made if re.search(r"RADS|LR-\d|\bUS-\d", item.inputs["report"])]
    assert 0.3 * COUNT < len(named) < 0.7 * COUNT
    outside = [item for item in made if item.answer.category == NO_RADS]
    assert any("RADS" in item.inputs["report"] for item in outside)


ARTERIES = {"left_main": "left main", "lad": "lad", "circumflex": "circumflex", "right": "right coronary artery"}


def test_the_text_of_a_coronary_ct_gives_back_its_category() -> None:
    for category, number in itertools.product(rads_thorax.CAD_CATEGORIES, range(30)):
        case = rads_thorax.cad_rads(Writer(random.Random(number), held_out=number % 2 > 0), category)
        stenoses = {}
        for artery, name in ARTERIES.items():
            sentence = next(one for one in case.findings if name in one.lower())
            found = re.search(r"(\d+) %", sentence)
            stenoses[artery] = int(found[1]) if found else 0
        unreadable = any("motion" in sentence.lower() for sentence in case.findings)
        assert decide("CAD-RADS", stenoses | {"nondiagnostic": unreadable}).category == category


def test_the_text_of_a_thyroid_ultrasound_gives_back_its_points() -> None:
    lexicon = {
        "composition": ("mixed cystic and solid", "spongiform", "cystic", "solid"),
        "echogenicity": ("very hypoechoic", "hypoechoic", "isoechoic", "hyperechoic", "anechoic"),
        "shape": ("wider than tall", "taller than wide"),
        "margin": ("extrathyroidal extension", "ill-defined", "lobulated", "irregular", "smooth"),
    }
    foci = ("large comet-tail artifacts", "macrocalcifications", "rim calcifications", "punctate echogenic foci")
    for category, number in itertools.product(rads_neck.TI_CATEGORIES, range(60)):
        case = rads_neck.ti_rads(Writer(random.Random(number), held_out=number % 2 > 0), category)
        text = next(one for one in case.findings if "than" in one).lower()
        # `solid` is also a part of `mixed cystic and solid`, `hypoechoic` of `very hypoechoic`: longer names first.
        read = {field: next(word for word in words if word in text) for field, words in lexicon.items()}
        nodule = {**read, "foci": [word for word in foci if word in text]}
        assert decide("TI-RADS", nodule).category == category


def test_the_text_of_a_gallbladder_ultrasound_gives_back_its_category() -> None:
    for category, number in itertools.product(rads_gallbladder.CATEGORIES[2:], range(60)):
        case = rads_gallbladder.gb_rads(Writer(random.Random(number), held_out=number % 2 > 0), category)
        text = case.findings[0].lower()
        wall = {
            "wall": float(re.search(r"([\d.]+) mm", text)[1]),
            "extent": "focal" if "focal" in text else "symmetric circumferential",
            "layered": "preserved layering" in text,
            "intramural": "no intramural cysts" not in text,
            "interface": "invaded" if "invasion" in text else "indistinct" if "indistinct" in text else "preserved",
        }
        assert decide("GB-RADS", wall).category == category


def test_breast_findings_are_in_the_words_of_the_lexicon() -> None:
    for study, table in rads_breast.tables().items():
        for category, kinds in table.items():
            for seen in itertools.chain(*kinds):
                assert decide("BI-RADS", asdict(seen.features)).category == category, study


def test_training_text_has_no_unseen_wording() -> None:
    entries = [entry for module in MODULES for entry in _entries(module)]
    assert len(entries) > 100
    assert all(len(entry) >= 4 for entry in entries)
    unseen = [_literal(variant) for entry in entries for variant in entry[entry.seen :]]
    seen = " ".join(_literal(variant) for entry in entries for variant in entry[: entry.seen])
    telling = [text for text in unseen if len(text) >= 14 and text not in seen]
    assert len(telling) > 60
    for number in range(600):
        writer = Writer(random.Random(number), held_out=False)
        text = rads.report(writer).lower()
        assert writer.unseen == 0
        assert not [part for part in telling if part in text]


def test_test_text_uses_unseen_wordings() -> None:
    writers = [Writer(random.Random(number), held_out=True) for number in range(100)]
    for writer in writers:
        rads.report(writer)
    assert sum(writer.unseen > 0 for writer in writers) > 90


def _entries(module: ModuleType) -> Iterator[Wordings]:
    """The wordings that a module makes, however its tables nest them."""
    waiting: list[object] = list(vars(module).values())
    while waiting:
        value = waiting.pop()
        if isinstance(value, Wordings):
            yield value
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, tuple):
            waiting += value
        elif isinstance(value, rads_none.Outside):
            waiting += (value.exam, value.technique, value.finding)


def _literal(variant: str) -> str:
    """The longest part of a wording that has no fact in it."""
    return max(re.split(r"\{\w+\}", variant.lower().strip(".")), key=len).strip()
