"""RadNLI and MedNLI: pairs of sentences with the relation that clinicians gave them.

RadNLI has no training part: its 480 development pairs are trained on and its test pairs tested on. Its premises are
sentences of MIMIC-CXR reports without a study, so that only an equal sentence can be told to be the same one. MedNLI's
premises come from the past medical history in notes of MIMIC-III and not from radiology reports; each has several
hypotheses. Neither tells the patient. The two differ in how they spell the id, `pair_id` and `pairID`.

Assumed, as the files are restricted: one JSON mapping a line; ids may recur between the files of one set.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from radlite.data.sources.files import read_json_lines
from radlite.data.sources.source import Source, Tally
from radlite.errors import UserError
from radlite.tasks import Example
from radlite.tasks.answers import squeeze
from radlite.tasks.nli import LABELS, Relation, render

_LICENCE = "PhysioNet Credentialed Health Data License"

_ID = {"radnli": "pair_id", "mednli": "pairID"}

_FILES = {
    "radnli": {"radnli_dev_v1.jsonl": "train", "radnli_test_v1.jsonl": "test"},
    "mednli": {"mli_train_v1.jsonl": "train", "mli_dev_v1.jsonl": "validation", "mli_test_v1.jsonl": "test"},
}

_DOMAIN = {"radnli": "domain:radiology", "mednli": "domain:clinical"}


def _reader(name: str) -> Callable[[Path, Tally], Iterator[Example]]:
    def rows(folder: Path, tally: Tally) -> Iterator[Example]:
        """One example a pair."""
        for file, split in _FILES[name].items():
            seen: set[str] = set()
            for line, row in read_json_lines(folder, file, ("gold_label", "sentence1", "sentence2"), tally):
                _not_the_other(name, file, row)
                pair = str(row.get(_ID[name], "")).strip()
                if why := _fault(name, row, pair, seen):
                    tally.reject(folder / file, line, why)
                    continue
                seen.add(pair)
                yield _SOURCES[name].example(
                    task="radiology_nli",
                    id=f"{file.split('_')[1]}/{pair}",
                    inputs={"premise": squeeze(row["sentence1"]), "hypothesis": squeeze(row["sentence2"])},
                    answer=render(Relation(row["gold_label"])),
                    split=split,
                    tags=(_DOMAIN[name],),
                )

    return rows


def _not_the_other(name: str, file: str, row: Mapping[str, Any]) -> None:
    for other, key in _ID.items():
        if other != name and key in row and _ID[name] not in row:
            raise UserError(
                f"{file} spells the id {key}, so it is taken for a file of {other}: files of {name} spell it "
                f"{_ID[name]}; give it to --source {other}, or get the file of {name}."
            )


def _fault(name: str, row: Mapping[str, Any], pair: str, seen: set[str]) -> str:
    """Why a row cannot be used; empty if it can."""
    if not pair:
        return f"no {_ID[name]}"
    if pair in seen:
        return f"a repeated {_ID[name]}"
    if row["gold_label"] not in LABELS:
        return f"gold_label is none of {', '.join(LABELS)}"
    blank = [key for key in ("sentence1", "sentence2") if not isinstance(row[key], str) or not row[key].strip()]
    return f"no {blank[0]}" if blank else ""


RADNLI = Source(
    name="radnli",
    title="RadNLI: pairs of sentences of chest X-ray reports (MIMIC-CXR)",
    licence=_LICENCE,
    access="credentialed",
    tier="gold",
    citation=(
        "Y. Miura, Y. Zhang, E. Tsai, C. Langlotz, D. Jurafsky: Improving factual completeness and consistency of "
        "image-to-text radiology report generation. NAACL, 2021. RadNLI 1.0.0, PhysioNet."
    ),
    tasks=("radiology_nli",),
    how_to=(
        "1. Become a credentialed user of PhysioNet (physionet.org): training in human research and an application.\n"
        "2. Sign the data use agreement of physionet.org/content/radnli-report-inference/1.0.0.\n"
        "3. Download radnli_dev_v1.jsonl and radnli_test_v1.jsonl there; there is no training file, so the "
        "development pairs are trained on.\n"
        "4. Put them into one folder and run: radlite data build --source radnli=FOLDER --out corpus"
    ),
    rows=_reader("radnli"),
)

MEDNLI = Source(
    name="mednli",
    title="MedNLI: pairs of sentences of clinical notes (MIMIC-III), not of radiology reports",
    licence=_LICENCE,
    access="credentialed",
    tier="gold",
    citation="A. Romanov, C. Shivade: Lessons from natural language inference in the clinical domain. EMNLP, 2018.",
    tasks=("radiology_nli",),
    how_to=(
        "1. Become a credentialed user of PhysioNet (physionet.org): training in human research and an application.\n"
        "2. Sign the data use agreement of physionet.org/content/mednli/1.0.0.\n"
        "3. Download mli_train_v1.jsonl, mli_dev_v1.jsonl and mli_test_v1.jsonl there.\n"
        "4. Put them into one folder and run: radlite data build --source mednli=FOLDER --out corpus"
    ),
    rows=_reader("mednli"),
)

_SOURCES = {source.name: source for source in (RADNLI, MEDNLI)}
