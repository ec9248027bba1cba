"""RADS reports: the rules at their boundaries, and what every written item keeps to."""

import itertools
import random
import re
from collections import Counter
from collections.abc import Iterator
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
from radlite.data.sample.rads_breast import Lesion
from radlite.data.sample.rads_liver import Observation
from radlite.data.sample.rads_ovary import Mass, Signal
from radlite.data.sample.rads_pelvis import Tumor
from radlite.data.sample.rads_thorax import Coronaries, Nodule
from radlite.data.sample.wording import Wordings, Writer
from radlite.rads import NO_RADS, labels, system_of
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


# Rules.

MAMMOGRAMS = [
    (Lesion("none"), "1"),
    (Lesion("benign", "an oil cyst"), "2"),
    (Lesion("mass", "oval", "circumscribed", "equal density", "stable"), "2"),
    (Lesion("mass", "oval", "circumscribed", "equal density", "first"), "3"),
    (Lesion("mass", "oval", "circumscribed", "equal density", "growing"), "4A"),
    (Lesion("mass", "irregular", "obscured", "high density"), "4A"),
    (Lesion("mass", "oval", "indistinct", "high density"), "4B"),
    (Lesion("mass", "irregular", "indistinct", "high density"), "4C"),
    (Lesion("mass", "irregular", "spiculated", "equal density"), "4C"),
    (Lesion("mass", "irregular", "spiculated", "high density"), "5"),
    (Lesion("calcifications", "punctate", "", "grouped"), "3"),
    (Lesion("calcifications", "amorphous", "", "grouped"), "4B"),
    (Lesion("calcifications", "fine pleomorphic", "", "grouped"), "4B"),
    (Lesion("calcifications", "fine pleomorphic", "", "segmental"), "4C"),
    (Lesion("calcifications", "fine linear branching", "", "grouped"), "4C"),
    (Lesion("calcifications", "fine linear branching", "", "linear"), "5"),
    (Lesion("asymmetry", course="stable"), "2"),
    (Lesion("asymmetry", course="first"), "3"),
    (Lesion("asymmetry", course="growing"), "4B"),
]


@pytest.mark.parametrize(("lesion", "category"), MAMMOGRAMS)
def test_a_mammogram_is_judged_by_margin_form_and_course(lesion: Lesion, category: str) -> None:
    assert rads_breast.mammography(lesion) == f"BI-RADS {category}"
    assert rads_breast.mammography(lesion, known_cancer=True) == "BI-RADS 6"
    screened = category if category in ("1", "2") else "0"
    assert rads_breast.mammography(lesion, screening=True) == f"BI-RADS {screened}"


@pytest.mark.parametrize(
    ("lesion", "category"),
    [
        (Lesion("none"), "1"),
        (Lesion("benign", "a cyst"), "2"),
        (Lesion("complicated cyst"), "3"),
        (Lesion("mass", "oval", "circumscribed", "parallel"), "3"),
        (Lesion("mass", "oval", "circumscribed", "not parallel"), "4A"),
        (Lesion("mass", "round", "circumscribed", "parallel"), "4A"),
        (Lesion("mass", "oval", "microlobulated", "not parallel"), "4B"),
        (Lesion("mass", "irregular", "indistinct", "parallel"), "4B"),
        (Lesion("mass", "irregular", "indistinct", "not parallel"), "4C"),
        (Lesion("mass", "irregular", "spiculated", "parallel"), "4C"),
        (Lesion("mass", "irregular", "spiculated", "not parallel"), "5"),
    ],
)
def test_a_breast_ultrasound_is_judged_by_margin_shape_and_orientation(lesion: Lesion, category: str) -> None:
    assert rads_breast.ultrasound(lesion) == f"BI-RADS {category}"


@pytest.mark.parametrize(
    ("lesion", "category"),
    [
        (Lesion("benign", "a cyst"), "2"),
        (Lesion("mass", "oval", "circumscribed", "homogeneous"), "3"),
        (Lesion("mass", "oval", "circumscribed", "heterogeneous"), "4"),
        (Lesion("non-mass", "clumped", "", "focal"), "4"),
        (Lesion("mass", "irregular", "spiculated", "heterogeneous"), "4"),
        (Lesion("mass", "irregular", "spiculated", "rim"), "5"),
    ],
)
def test_category_4_is_not_subdivided_on_breast_mri(lesion: Lesion, category: str) -> None:
    assert rads_breast.mri(lesion) == f"BI-RADS {category}"


@pytest.mark.parametrize(("total", "level"), [(0, 1), (2, 2), (3, 3), (4, 4), (6, 4), (7, 5), (14, 5)])
def test_ti_rads_levels_change_at_2_3_4_and_7_points(total: int, level: int) -> None:
    assert rads_neck.ti_rads_level(total) == f"TI-RADS {level}"


def test_ti_rads_adds_five_features_and_forgives_a_spongiform_nodule() -> None:
    worst = rads_neck.Nodule(
        "solid", "very hypoechoic", "taller than wide", "extrathyroidal", "punctate echogenic foci"
    )
    assert rads_neck.points(worst) == 2 + 3 + 3 + 3 + 3
    assert rads_neck.points(rads_neck.Nodule("spongiform", "hypoechoic", "wider than tall", "lobulated", "none")) == 0
    assert rads_neck.ti_rads_category(rads_neck.Nodule("solid", "isoechoic", "wider than tall", "smooth", "none")) == (
        "TI-RADS 3"
    )


@pytest.mark.parametrize("primary", rads_neck.PRIMARY)
@pytest.mark.parametrize("neck", rads_neck.NECK)
def test_ni_rads_scores_primary_and_neck_apart(primary: str, neck: str) -> None:
    expected = f"NI-RADS primary {primary}, neck {neck}"
    assert rads_neck.ni_rads_category(rads_neck.PRIMARY[primary], rads_neck.NECK[neck]) == expected
    assert expected in labels()


# (size, arterial hyperenhancement, further major features: washout, capsule, growth) to category, LI-RADS v2018.
MAJOR = [
    (19, False, (0, 0, 0), "LR-3"), (19, False, (1, 0, 0), "LR-3"), (19, False, (1, 1, 0), "LR-4"),
    (20, False, (0, 0, 0), "LR-3"), (20, False, (0, 1, 0), "LR-4"), (20, False, (1, 1, 1), "LR-4"),
    (9, True, (0, 0, 0), "LR-3"), (9, True, (1, 0, 0), "LR-4"), (9, True, (1, 1, 1), "LR-4"),
    (10, True, (0, 0, 0), "LR-3"), (10, True, (0, 1, 0), "LR-4"), (10, True, (1, 0, 0), "LR-5"),
    (19, True, (0, 0, 1), "LR-5"), (19, True, (1, 1, 0), "LR-5"), (19, True, (0, 1, 0), "LR-4"),
    (20, True, (0, 0, 0), "LR-4"), (20, True, (0, 1, 0), "LR-5"), (20, True, (1, 0, 1), "LR-5"),
]  # fmt: skip


@pytest.mark.parametrize(("size", "enhancing", "more", "category"), MAJOR)
def test_the_table_of_major_features_changes_at_10_and_20_mm(
    size: int, enhancing: bool, more: tuple[int, int, int], category: str
) -> None:
    assert rads_liver.li_rads_category(Observation("major", size, enhancing, *map(bool, more))) == category


@pytest.mark.parametrize(
    ("nature", "category"),
    [
        ("cyst", "LR-1"),
        ("hemangioma", "LR-1"),
        ("perfusion", "LR-2"),
        ("targetoid", "LR-M"),
        ("tumor in vein", "LR-TIV"),
    ],
)
def test_the_nature_of_an_observation_goes_before_its_major_features(nature: str, category: str) -> None:
    assert rads_liver.li_rads_category(Observation(nature, 25, True, True, True)) == category


def test_masslike_enhancement_that_does_not_grow_is_tolerated_after_radiation_only() -> None:
    after = {
        (radiation, tissue): rads_liver.response_category(radiation, tissue).removeprefix("LR-TR ")
        for radiation, tissue in itertools.product((False, True), ("none", "stable", "new"))
    }
    assert after == {
        (False, "none"): "Nonviable", (False, "stable"): "Viable", (False, "new"): "Viable",
        (True, "none"): "Nonviable", (True, "stable"): "Nonprogressing", (True, "new"): "Viable",
    }  # fmt: skip
    assert rads_liver.response_category(False, "unclear") == "LR-TR Equivocal"


def test_surveillance_is_positive_from_10_mm_or_with_new_thrombus() -> None:
    assert rads_liver.surveillance_category(0, benign=False) == "US-1"
    assert rads_liver.surveillance_category(30, benign=True) == "US-1"
    assert rads_liver.surveillance_category(9, benign=False) == "US-2"
    assert rads_liver.surveillance_category(10, benign=False) == "US-3"
    assert rads_liver.surveillance_category(0, benign=False, thrombus=True) == "US-3"


@pytest.mark.parametrize(
    ("facts", "level"),
    [
        ((False, 9, True, False, False, "preserved"), 0),
        ((True, 3, False, True, False, "preserved"), 1),
        ((True, 3.1, False, True, False, "preserved"), 2),
        ((True, 8, False, False, True, "preserved"), 2),
        ((True, 8, True, False, True, "preserved"), 2),
        ((True, 8, False, False, False, "preserved"), 3),
        ((True, 8, True, True, False, "preserved"), 3),
        ((True, 8, True, False, False, "preserved"), 4),
        ((True, 8, False, False, False, "indistinct"), 4),
        ((True, 8, False, False, False, "invaded"), 5),
    ],
)
def test_gb_rads_goes_by_interface_extent_layers_and_cysts(
    facts: tuple[bool, float, bool, bool, bool, str], level: int
) -> None:
    assert rads_gallbladder.gb_rads_category(*facts) == f"GB-RADS {level}"


def test_early_enhancement_lifts_only_a_3_in_the_peripheral_zone() -> None:
    for score in (1, 2, 4, 5):
        assert rads_pelvis.peripheral_zone(score, True) == f"PI-RADS {score}"
    assert rads_pelvis.peripheral_zone(3, False) == "PI-RADS 3"
    assert rads_pelvis.peripheral_zone(3, True) == "PI-RADS 4"


def test_diffusion_lifts_2_and_3_in_the_transition_zone() -> None:
    lifted = {
        (t2, diffusion): rads_pelvis.transition_zone(t2, diffusion)
        for t2, diffusion in itertools.product(range(1, 6), range(1, 6))
    }
    assert {key for key, value in lifted.items() if value != f"PI-RADS {key[0]}"} == {(2, 4), (2, 5), (3, 5)}
    assert (lifted[2, 4], lifted[3, 5]) == ("PI-RADS 3", "PI-RADS 4")


def test_a_marked_focus_is_5_from_15_mm_or_with_extension() -> None:
    assert [rads_pelvis.marked(14, False), rads_pelvis.marked(15, False), rads_pelvis.marked(8, True)] == [4, 5, 5]


@pytest.mark.parametrize(
    ("tumor", "score"),
    [
        (Tumor(9, True, False, "intact"), 1),
        (Tumor(10, True, False, "intact"), 2),
        (Tumor(10, False, True, "intact"), 2),
        (Tumor(9, False, False, "intact"), 3),
        (Tumor(9, True, False, "interrupted"), 4),
        (Tumor(9, True, False, "crossed"), 5),
    ],
)
def test_vi_rads_asks_for_muscle_then_stalk_then_size(tumor: Tumor, score: int) -> None:
    assert rads_pelvis.vi_rads_category(tumor) == f"VI-RADS {score}"


@pytest.mark.parametrize(
    ("mass", "level"),
    [
        (Mass("normal"), 1),
        (Mass("follicle", 29), 1),
        (Mass("simple", 99), 2),
        (Mass("dermoid cyst", 100), 3),
        (Mass("unilocular", 99), 2),
        (Mass("unilocular", 100), 3),
        (Mass("unilocular", 40, irregular=True), 3),
        (Mass("unilocular", 40, solid_part=True, projections=3), 4),
        (Mass("unilocular", 40, solid_part=True, projections=4), 5),
        (Mass("bilocular", 99, flow=4), 2),
        (Mass("bilocular", 100), 3),
        (Mass("bilocular", 40, irregular=True), 4),
        (Mass("multilocular", 99, flow=3), 3),
        (Mass("multilocular", 99, flow=4), 4),
        (Mass("multilocular", 100), 4),
        (Mass("multilocular", 40, irregular=True), 4),
        (Mass("multilocular", 40, solid_part=True, flow=2), 4),
        (Mass("multilocular", 40, solid_part=True, flow=3), 5),
        (Mass("solid", 40, flow=1), 3),
        (Mass("solid", 40, flow=2), 4),
        (Mass("solid", 40, flow=3, shadowing=True), 3),
        (Mass("solid", 40, flow=4, shadowing=True), 5),
        (Mass("solid", 40, irregular=True), 5),
        (Mass("solid", 40, flow=1, ascites=True), 5),
        (Mass("unilocular", 40, ascites=True), 2),
    ],
)
def test_o_rads_ultrasound_goes_by_locules_solid_parts_flow_and_100_mm(mass: Mass, level: int) -> None:
    assert rads_ovary.ultrasound_level(mass) == level


@pytest.mark.parametrize(
    ("lesion", "level"),
    [
        (Signal("normal"), 1),
        (Signal("endometrioma"), 2),
        (Signal("dark"), 2),
        (Signal("multilocular"), 3),
        (Signal("solid", "low-risk"), 3),
        (Signal("solid", "intermediate-risk"), 4),
        (Signal("solid", "high-risk"), 5),
        (Signal("solid", "low-risk", peritoneal=True), 5),
    ],
)
def test_o_rads_mri_goes_by_solid_tissue_and_its_curve(lesion: Signal, level: int) -> None:
    assert rads_ovary.mri_level(lesion) == level


@pytest.mark.parametrize(
    ("seen", "category"),
    [
        (Coronaries(0, 0, 0, 0), "0"),
        (Coronaries(0, 1, 0, 0), "1"),
        (Coronaries(0, 24, 0, 0), "1"),
        (Coronaries(0, 25, 0, 0), "2"),
        (Coronaries(49, 49, 0, 0), "2"),
        (Coronaries(0, 0, 50, 0), "3"),
        (Coronaries(0, 0, 69, 0), "3"),
        (Coronaries(0, 0, 70, 0), "4A"),
        (Coronaries(0, 70, 70, 69), "4A"),
        (Coronaries(0, 70, 70, 70), "4B"),
        (Coronaries(50, 0, 0, 0), "4B"),
        (Coronaries(50, 0, 0, 100), "5"),
        (Coronaries(0, 49, 0, 0, unreadable=True), "N"),
        (Coronaries(0, 50, 0, 0, unreadable=True), "3"),
    ],
)
def test_cad_rads_changes_at_25_50_70_and_100_percent(seen: Coronaries, category: str) -> None:
    assert rads_thorax.cad_rads_category(seen) == f"CAD-RADS {category}"


@pytest.mark.parametrize(
    ("nodule", "category"),
    [
        (Nodule("none"), "1"),
        (Nodule("benign", 18), "1"),
        (Nodule("solid", 5), "2"),
        (Nodule("solid", 6), "3"),
        (Nodule("solid", 8), "4A"),
        (Nodule("solid", 14), "4A"),
        (Nodule("solid", 15), "4B"),
        (Nodule("solid", 3, course="new"), "2"),
        (Nodule("solid", 4, course="new"), "3"),
        (Nodule("solid", 6, course="new"), "4A"),
        (Nodule("solid", 8, course="new"), "4B"),
        (Nodule("solid", 7, course="growing"), "4A"),
        (Nodule("solid", 8, course="growing"), "4B"),
        (Nodule("solid", 7, course="stable"), "2"),
        (Nodule("solid", 8, course="stable"), "3"),
        (Nodule("part-solid", 5, 3), "2"),
        (Nodule("part-solid", 6, 5), "3"),
        (Nodule("part-solid", 9, 6), "4A"),
        (Nodule("part-solid", 12, 8), "4B"),
        (Nodule("part-solid", 5, 2, "new"), "3"),
        (Nodule("part-solid", 9, 3, "new"), "4A"),
        (Nodule("part-solid", 9, 4, "growing"), "4B"),
        (Nodule("ground-glass", 29), "2"),
        (Nodule("ground-glass", 30), "3"),
        (Nodule("ground-glass", 30, course="stable"), "2"),
        (Nodule("solid", 6, suspicious=True), "4X"),
        (Nodule("solid", 5, suspicious=True), "2"),
    ],
)
def test_lung_rads_follows_the_size_table_of_v2022(nodule: Nodule, category: str) -> None:
    assert rads_thorax.lung_rads_category(nodule) == f"Lung-RADS {category}"
    assert rads_thorax.lung_rads_category(nodule, infection=True) == "Lung-RADS 0"
    assert rads_thorax.lung_rads_category(nodule, incomplete=True) == "Lung-RADS 0"


# Items.


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
        assert item.answer in labels()
        assert TASK.read(TASK.render(item.answer)) == item.answer
        assert item.tags == (f"system:{system_of(item.answer)}",)
        assert not re.search(rf"{re.escape(item.answer)}(?!\w)", item.inputs["report"])


def test_systems_are_alike_likely_and_a_tenth_has_none(made: list[Item]) -> None:
    counts = Counter(system_of(item.answer) for item in made)
    assert len(counts) == 11
    assert all(0.06 < count / COUNT < 0.14 for count in counts.values())
    assert len({item.answer for item in made}) == len(CATEGORIES) + 1


@pytest.mark.parametrize("system", rads.SYSTEMS)
def test_no_category_prevails_within_a_system(made: list[Item], system: str) -> None:
    counts = Counter(item.answer for item in made if system_of(item.answer) == system)
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
    outside = [item for item in made if item.answer == NO_RADS]
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
        assert rads_thorax.cad_rads_category(Coronaries(**stenoses, unreadable=unreadable)) == category


def test_the_text_of_a_thyroid_ultrasound_gives_back_its_points() -> None:
    tables = [
        rads_neck.COMPOSITION,
        {"very hypoechoic": 3, "hypoechoic": 2, "isoechoic": 1, "hyperechoic": 1, "anechoic": 0},
        rads_neck.SHAPE,
        {"smooth": 0, "ill-defined": 0, "lobulated": 2, "irregular": 2, "extrathyroidal": 3},
        {"no echogenic": 0, "comet-tail": 0, "macrocalc": 1, "rim calc": 2, "punctate": 3},
    ]
    for category, number in itertools.product(rads_neck.TI_CATEGORIES, range(60)):
        case = rads_neck.ti_rads(Writer(random.Random(number), held_out=number % 2 > 0), category)
        text = next(one for one in case.findings if "than" in one).lower()
        # `solid` is also a part of `mixed cystic and solid`, `hypoechoic` of `very hypoechoic`: longer names first.
        words = [next(word for word in sorted(table, key=len, reverse=True) if word in text) for table in tables]
        total = 0 if words[0] == "spongiform" else sum(table[word] for table, word in zip(tables, words, strict=True))
        assert rads_neck.ti_rads_level(total) == category


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
