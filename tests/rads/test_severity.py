"""Claims about errors: each has one class, and the class says what it would do to a patient."""

import itertools

import pytest

from radlite.rads import NO_RADS, category, labels, systems
from radlite.rads.severity import SEVERITIES, acts, parent, severity, sites


@pytest.mark.parametrize(
    ("answer", "truth", "expected"),
    [
        ("BI-RADS 4B", "BI-RADS 4B", "exact"),
        (NO_RADS, NO_RADS, "exact"),
        ("BI-RADS 4", "BI-RADS 4B", "exact_at_parent"),
        ("BI-RADS 4C", "BI-RADS 4", "exact_at_parent"),
        ("BI-RADS 4A", "BI-RADS 4B", "undercall_minor"),
        ("BI-RADS 5", "BI-RADS 4A", "overcall_minor"),
        ("BI-RADS 3", "BI-RADS 2", "overcall_major"),
        ("BI-RADS 3", "BI-RADS 4A", "undercall_major"),
        ("BI-RADS 1", "BI-RADS 2", "undercall_minor"),
        ("BI-RADS 2", "BI-RADS 0", "false_closure"),
        ("BI-RADS 0", "BI-RADS 5", "false_incomplete"),
        ("BI-RADS 0", "BI-RADS 6", "false_incomplete"),
        ("BI-RADS 5", "BI-RADS 6", "undercall_major"),
        ("BI-RADS 6", "BI-RADS 5", "overcall_major"),
        ("LR-M", "LR-5", "lateral"),
        ("LR-TIV", "LR-M", "lateral"),
        ("LR-4", "LR-5", "undercall_minor"),
        ("LR-TR Nonprogressing", "LR-TR Equivocal", "lateral"),
        ("LR-5", "LR-TR Viable", "wrong_system"),
        ("O-RADS MRI 3", "O-RADS US 3", "wrong_system"),
        ("O-RADS 3", "O-RADS US 3", "exact_at_parent"),
        ("O-RADS US 3", "O-RADS 3", "exact_at_parent"),
        ("PI-RADS 4", "VI-RADS 4", "wrong_system"),
        ("PI-RADS 3", "PI-RADS X", "false_closure"),
        ("Lung-RADS 4X", "Lung-RADS 4B", "lateral"),
        ("Lung-RADS 4A", "Lung-RADS 4B", "undercall_major"),
        ("CAD-RADS N", "CAD-RADS 1", "false_incomplete"),
        ("CAD-RADS 4B", "CAD-RADS 4A", "overcall_minor"),
        ("Lung-RADS 2", NO_RADS, "false_rads"),
        (NO_RADS, "Lung-RADS 2", "missed_rads"),
        (NO_RADS, "Lung-RADS 0", "missed_rads"),
        (None, "Lung-RADS 2", "invalid"),
        (None, NO_RADS, "invalid"),
        ("lung rads two", "Lung-RADS 2", "invalid"),
        ("NI-RADS primary 2b, neck 1", "NI-RADS primary 2a, neck 1", "lateral"),
        ("NI-RADS primary 1, neck 1", "NI-RADS primary 1, neck X", "false_closure"),
        # The neck alone would be biopsied for nothing; that the primary site is too does not make it right.
        ("NI-RADS primary 3, neck 3", "NI-RADS primary 3, neck 1", "overcall_major"),
        # One site over, one under: the missed one counts.
        ("NI-RADS primary 1, neck 3", "NI-RADS primary 3, neck 1", "undercall_major"),
    ],
)
def test_an_error_has_the_class_of_what_it_would_do(answer: str | None, truth: str, expected: str) -> None:
    assert severity(answer, truth) == expected


def test_every_pair_of_labels_has_one_class_and_only_the_right_label_is_exact() -> None:
    for answer, truth in itertools.product((*labels(), None), labels()):
        assert (severity(answer, truth) == "exact") == (answer == truth)
        assert severity(answer, truth) in SEVERITIES


def test_calling_too_high_one_way_is_calling_too_low_the_other_way() -> None:
    for answer, truth in itertools.combinations(labels(), 2):
        forth, back = severity(answer, truth), severity(truth, answer)
        if forth.startswith("overcall") and "," not in answer:
            assert back == forth.replace("overcall", "undercall")
        if forth == "lateral" and "," not in answer:
            assert back == "lateral"


def test_a_pair_has_two_sites_and_any_other_category_is_its_own() -> None:
    pair = category("NI-RADS primary 2a, neck X")
    assert pair and [site.code for site in sites(pair)] == ["NI-RADS primary 2a", "NI-RADS neck X"]
    single = category("US-2")
    assert single and sites(single) == (single,)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("BI-RADS 3", False), ("BI-RADS 4A", True), ("BI-RADS 4", True), ("BI-RADS 0", None), ("BI-RADS 6", None),
        ("TI-RADS 2", False), ("TI-RADS 3", True), ("LR-3", False), ("LR-M", True), ("LR-TR Equivocal", False),
        ("LR-TR Viable", True), ("US-2", False), ("US-3", True), ("PI-RADS 3", False), ("PI-RADS 4", True),
        ("VI-RADS 4", True), ("O-RADS MRI 3", False), ("O-RADS US 4", True), ("CAD-RADS 2", False),
        ("CAD-RADS 3", True), ("Lung-RADS 2", False), ("Lung-RADS 3", True), ("GB-RADS 4", True),
        ("NI-RADS primary 1, neck 3", True), ("NI-RADS primary X, neck 1", False),
        ("NI-RADS primary X, neck 0", None), (NO_RADS, None),
    ],
)  # fmt: skip
def test_the_action_of_a_system_begins_at_its_threshold(code: str, expected: bool | None) -> None:
    assert acts(code) is expected


def test_only_subdivided_categories_have_a_parent() -> None:
    assert {code for code in labels() if parent(code) != code and "O-RADS" not in code} == {
        "BI-RADS 4A", "BI-RADS 4B", "BI-RADS 4C"
    }  # fmt: skip
    assert parent("O-RADS US 3") == "O-RADS 3"


def test_every_system_names_version_and_source_and_every_category_what_is_done() -> None:
    assert len(systems()) == 10
    for system in systems().values():
        assert system.title and system.organ and system.version and system.source
        assert any(character.isdigit() for character in system.source + system.version)
        for scale in system.scales:
            assert scale.action
            ranks = [one.rank for one in scale.categories if one.rank is not None]
            assert {one.tier for one in scale.categories if one.rank is None} <= {0, 4}
            assert min(ranks) <= scale.threshold <= max(ranks)
            by_rank = sorted((one for one in scale.categories if one.rank is not None), key=lambda one: one.rank or 0)
            # A higher rank never has a lower tier.
            assert [one.tier for one in by_rank] == sorted(one.tier for one in by_rank)
            assert all(one.management for one in scale.categories)
            assert all(set(one.variants) <= set(scale.variants) for one in scale.categories)


def test_the_systems_have_the_published_categories() -> None:
    counts = {name: len(system.answers) for name, system in systems().items()}
    assert counts == {
        "BI-RADS": 10, "TI-RADS": 5, "LI-RADS": 16, "PI-RADS": 6, "VI-RADS": 5, "O-RADS": 12, "CAD-RADS": 8,
        "Lung-RADS": 7, "NI-RADS": 42, "GB-RADS": 6,
    }  # fmt: skip
    assert len(labels()) == len(set(labels())) == sum(counts.values()) + 1
