"""The shape of a RADS report, the same for every system: what was found, and what stands around it."""

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from radlite.data.sample.layout import BOILERPLATE, Study, articles, compose, length, patient
from radlite.data.sample.wording import Wordings, Writer, wordings
from radlite.rads import system_of

Facts = TypeVar("Facts")


@dataclass(frozen=True, slots=True)
class Region:
    """What a report speaks of besides the lesion; none of it may bear on any category of the systems that use it."""

    organs: tuple[str, ...]
    """Normal ones, without article."""
    absent: tuple[str, ...]
    incidental: tuple[str, ...]
    """Benign findings, given with a size."""


@dataclass(frozen=True, slots=True)
class Case:
    """A study whose findings call for `category`."""

    category: str
    exam: Wordings
    technique: Wordings
    reason: str
    """Why the study was done, as a phrase in lower case."""
    findings: list[str]
    region: Region
    sex: str | None = None
    ages: tuple[int, int] = (28, 89)
    prior: str = ""
    """What an earlier study of the same kind is called; empty: there was none."""
    priors: tuple[str, ...] = ()
    """Categories it may have had."""
    compared: bool | None = None
    """Whether there is an earlier study to compare with; None: the findings do not say."""


Draw = Callable[[Writer, str], Case]
"""(writer, wanted category) to a case of exactly that category."""

HISTORY = wordings(
    "{Patient}. {Reason}.",
    "{Reason}. {Patient}.",
    "{Patient}; {reason}.",
    "{Reason} ({patient}).",
    "{Patient}, {reason}.",
    "{Reason}; {patient}.",
    "Patient: {patient}. {Reason}.",
    "Reason for study: {reason}. {Patient}.",
)
PRIOR = wordings(
    "Prior {study} assessed as {category}.",
    "Previous {study} ({year}): {category}.",
    "{Study} in {year} was reported as {category}.",
    "Earlier {study} {category}.",
    "{category} at the {study} of {year}.",
    "The last {study}, from {year}, had been given {category}.",
    "Was {category} on an outside {study} in {year}.",
)
COMPARED = wordings(
    "Prior study of {year}.",
    "{year}.",
    "Comparison with {year}.",
    "Earlier examination from {year}.",
    "The examination of {year}.",
)
NOT_COMPARED = wordings("None.", "None available.", "No prior studies.", "First examination, no priors.")
OTHER = wordings(
    "Also known: {other}.",
    "Past history includes {other}.",
    "Other history: {other}.",
    "Further history of {other}.",
    "Additional background: {other}.",
    "Among earlier problems, {other}.",
)
NORMAL = wordings(
    "Normal {fact}.",
    "{Fact}: unremarkable.",
    "Normal appearance of the {fact}.",
    "No abnormality of the {fact}.",
    "{Fact} within normal limits.",
    "Unremarkable {fact}.",
    "No focal abnormality in the {fact}.",
    "Nothing remarkable about the {fact}.",
)
ABSENT = wordings(
    "No {fact}.",
    "There is no {fact}.",
    "No evidence of {fact}.",
    "{Fact} not seen.",
    "No {fact} is identified.",
    "Negative for {fact}.",
    "{Fact}: none.",
)
INCIDENTAL = wordings(
    "Incidental {thing} of {size}.",
    "Incidentally noted is a {size} {thing}.",
    "A {size} {thing} is noted as an incidental finding.",
    "Incidental note of a {thing}, {size}.",
    "{Thing} measuring {size}, unrelated and benign.",
    "As an unrelated benign finding, {thing} of {size}.",
)
QUALITY = wordings(
    "Image quality is good.",
    "The study is of diagnostic quality.",
    "Good image quality throughout.",
    "Technically satisfactory examination.",
    "Images are of adequate quality for interpretation.",
)
_OTHERS = (
    (None, "a thyroid nodule, TI-RADS 3"),
    (None, "a 9 mm spongiform thyroid nodule"),
    (None, "a lung screening CT read as Lung-RADS 2"),
    (None, "a coronary CT with 30 % stenosis, CAD-RADS 2"),
    (None, "a liver observation, LR-3"),
    (None, "gallbladder wall thickening, GB-RADS 2"),
    (None, "a treated tongue cancer, NI-RADS primary 1, neck 1"),
    (None, "a bladder tumour on MRI, VI-RADS 2"),
    ("female", "a mammogram read as BI-RADS 2"),
    ("female", "an adnexal cyst of 6 cm, O-RADS US 2"),
    ("male", "a prostate MRI with PI-RADS 2"),
    (None, "appendectomy"),
    (None, "arterial hypertension and type 2 diabetes"),
    (None, "a fall two years ago with a wrist fracture"),
    (None, "hypothyroidism on replacement"),
)  # fmt: skip
_STOP = frozenset(("right", "left", "of", "the", "and", "on", "in", "upper", "lower", "no", "wall", "lobe"))


def until(draw: Callable[[], Facts], fits: Callable[[Facts], bool]) -> Facts:
    """The first drawn facts that fit: rejection sampling, so that the rule alone says what a category is."""
    while not fits(facts := draw()):
        pass
    return facts


def grouped(
    facts: Iterable[Facts], rule: Callable[[Facts], str], kind: Callable[[Facts], Hashable]
) -> dict[str, list[list[Facts]]]:
    """Category to its facts, each kind in a list of its own: a kind is drawn first, so that none crowds out others."""
    table: dict[str, dict[Hashable, list[Facts]]] = {}
    for one in facts:
        table.setdefault(rule(one), {}).setdefault(kind(one), []).append(one)
    return {category: list(kinds.values()) for category, kinds in table.items()}


def pick(writer: Writer, kinds: Sequence[Sequence[Facts]]) -> Facts:
    """One of the facts of one kind."""
    return writer.random.choice(writer.random.choice(kinds))


def upper(text: str) -> str:
    """The text with its first letter capital."""
    return text[:1].upper() + text[1:]


def size(writer: Writer, millimetres: float) -> str:
    """A length in mm or, three times in ten, in cm."""
    return f"{millimetres / 10:.1f} cm" if writer.chance(0.3) else f"{millimetres:g} mm"


def written(writer: Writer, case: Case) -> str:
    """The report of a case, at a drawn length."""
    history = _history(writer, case)
    study = Study(writer.say(case.exam), history, writer.say(case.technique), _comparison(writer, case))
    if writer.brief:
        return articles(compose(writer, study, case.findings))
    sentences = _around(writer, case, length(writer) - sum(len(text.split()) for text in (study.exam, history)))
    return articles(compose(writer, study, sentences))


def _comparison(writer: Writer, case: Case) -> str | None:
    if case.compared is None:
        return None
    return writer.say(COMPARED, year=writer.random.randint(2016, 2024)) if case.compared else writer.say(NOT_COMPARED)


def _history(writer: Writer, case: Case) -> str:
    sex = case.sex or writer.one(("male", "female"))
    who = patient(writer, sex, *case.ages)
    sentences = [writer.say(HISTORY, patient=who, Patient=upper(who), reason=case.reason, Reason=upper(case.reason))]
    priors = [code for code in case.priors if code != case.category]
    if case.prior and priors and case.compared is not False and writer.chance(0.35):
        year = writer.random.randint(2014, 2025)
        sentences.append(
            writer.say(PRIOR, study=case.prior, Study=upper(case.prior), category=writer.one(priors), year=year)
        )
    if writer.chance(0.3):
        own = system_of(case.category)
        others = [text for only, text in _OTHERS if only in (None, sex) and not _speaks_of(own, text)]
        sentences.append(writer.say(OTHER, other=writer.one(others)))
    return " ".join(sentences)


def _speaks_of(system: str, text: str) -> bool:
    return system in text or (system == "LI-RADS" and "LR-" in text)


def _around(writer: Writer, case: Case, words: int) -> list[str]:
    """The findings with normal statements before and after, `words` of them in all or a few more."""
    normal: list[str] = []
    if writer.chance(0.35):
        thing, length = writer.one(case.region.incidental), size(writer, writer.random.randint(4, 29))
        normal.append(writer.say(INCIDENTAL, thing=thing, Thing=upper(thing), size=length))
    if writer.chance(0.25):
        normal.append(writer.say(QUALITY))
    said = " ".join((*case.findings, *normal))
    count = len(said.split())
    facts = _unsaid(case.region, said)
    writer.random.shuffle(facts)
    boilerplate = writer.random.sample(BOILERPLATE, len(BOILERPLATE))
    while count < words and (facts or boilerplate):
        if boilerplate and (not facts or (words > 120 and writer.chance(0.25))):
            text = writer.say(boilerplate.pop())
        else:
            table, fact = facts.pop()
            text = writer.say(table, fact=fact, Fact=upper(fact))
        normal.append(text)
        count += len(text.split())
    writer.random.shuffle(normal)
    cut = writer.random.randint(0, min(3, len(normal)))
    return [*normal[:cut], *case.findings, *normal[cut:]]


def _unsaid(region: Region, said: str) -> list[tuple[Wordings, str]]:
    """Normal and absent things of which nothing was said, so that no sentence contradicts another."""
    words = set(re.findall(r"[a-z]+", said.lower())) - _STOP
    pairs = [(NORMAL, fact) for fact in region.organs] + [(ABSENT, fact) for fact in region.absent]
    return [(table, fact) for table, fact in pairs if words.isdisjoint(fact.split())]
