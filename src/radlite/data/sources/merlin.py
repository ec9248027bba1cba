"""Merlin: abdominal CT reports of Stanford, and stand-ins for their N and M stage.

The column `Findings` of reports_final.xlsx holds the whole report. What follows the mark `IMPRESSION:` is the
impression; some reports have no mark and give none, those with several are left out of that task. Addenda are not
told apart.

The stages are PROXIES, tier `proxy`: Merlin has no stages, but labels that a search for words has set. Lymphadenopathy
1 becomes N1 and 0 becomes N0, metastatic disease 1 becomes M1 and 0 becomes M0, -1 (not mentioned) gives no row. These
are mentions of words and not stages of the AJCC: nothing says that there is a tumor at all. N2 and N3 never occur; the
paper that RadLite follows has N1 and N2, by a rule that is not known. An audit found 342 labels of 1, over all thirty
columns, where the report denies the finding.

No patient is named in these files, though 18,317 of them share 25,494 scans. So patients are empty, and the official
split is kept as it is: to split again by study would put one person on both sides.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from radlite.data.sources import construct
from radlite.data.sources.files import read_csv, read_workbook
from radlite.data.sources.source import Source, Tally
from radlite.tasks import Example, named
from radlite.tasks.staging import stage as as_stage

_REPORTS = "reports_final.xlsx"
_LABELS = "zero_shot_findings_disease_cls.csv"
_SPLITS = {"train": "train", "val": "validation", "test": "test"}
_STAGES = {"n_staging": ("lymphadenopathy", "N"), "m_staging": ("metastatic_disease", "M")}
_VALUES = {"1": "1", "1.0": "1", "0": "0", "0.0": "0", "-1": "", "-1.0": ""}
_MARK = re.compile(r"\bIMPRESSION\s*:", re.IGNORECASE)


def rows(folder: Path, tally: Tally) -> Iterator[Example]:
    """An impression and up to two stages of each report."""
    known = _labels(folder, tally)
    seen: set[str] = set()
    columns = ("study id", "Findings", "Split")
    for line, row in read_workbook(folder, _REPORTS, columns, tally, blank=("Findings",)):
        study, split = row["study id"].strip(), _SPLITS.get(row["Split"].strip().lower())
        if split is None:
            tally.reject(folder / _REPORTS, line, "Split is none of the three")
            continue
        if study in seen:
            tally.dropped["another row of a study"] += 1
            continue
        seen.add(study)
        # Excel writes a carriage return within a cell as _x000D_.
        report = construct.plain(row["Findings"].replace("_x000D_", "\r"))
        if not report:
            tally.dropped["no report"] += 1
            continue
        made = [("impression_generation", _impression(report, tally))]
        made += [(task, _stage(task, report, known.get(study), tally)) for task in _STAGES]
        for task, pair in made:
            if pair:
                yield MERLIN.example(
                    task=task,
                    id=study,
                    inputs={"report": pair[0]},
                    answer=pair[1],
                    study=f"merlin:{study}",
                    split=split,
                    tags=("proxy",) if task in _STAGES else (),
                    tier="proxy" if task in _STAGES else "gold",
                )


def _impression(report: str, tally: Tally) -> tuple[str, str] | None:
    """What stands before the mark, and the answer."""
    before, *after = _MARK.split(report)
    answer = construct.impression(after[0]) if len(after) == 1 else None
    if answer and before.strip():
        # Reports are templates with a heading for every organ; the one over all of them may not be there.
        heading = "" if re.search(r"^\s*findings\s*:", before, re.IGNORECASE | re.MULTILINE) else "FINDINGS: "
        return heading + before.strip(), answer
    why = "several impressions" if len(after) > 1 else "no findings" if answer else "no impression"
    tally.dropped[f"impression_generation: {why}"] += 1
    return None


def _stage(task: str, report: str, labels: dict[str, str] | None, tally: Tally) -> tuple[str, str] | None:
    """The whole report, and the stage that the label stands for."""
    column, axis = _STAGES[task]
    if labels is None or not labels[column]:
        tally.dropped[f"{task}: {'no labels' if labels is None else f'{column} is not mentioned'}"] += 1
        return None
    return report, named(task).render(as_stage(axis + labels[column]))


def _labels(folder: Path, tally: Tally) -> dict[str, dict[str, str]]:
    """Study to the values of the two labels: `1`, `0`, or nothing for -1; a study with two sets of them has none."""
    labels: dict[str, dict[str, str]] = {}
    disputed: set[str] = set()
    columns = tuple(column for column, _ in _STAGES.values())
    for line, row in read_csv(folder, _LABELS, ("study id", *columns), tally):
        odd = [column for column in columns if row[column].strip() not in _VALUES]
        if odd:
            tally.reject(folder / _LABELS, line, f"{odd[0]} is none of 1, 0 and -1")
            continue
        study, values = row["study id"].strip(), {column: _VALUES[row[column].strip()] for column in columns}
        if labels.setdefault(study, values) != values:
            disputed.add(study)
    tally.dropped["studies with two sets of labels"] += len(disputed)
    return {study: values for study, values in labels.items() if study not in disputed}


MERLIN = Source(
    name="merlin",
    title="Merlin: abdominal CT reports, with labels that stand in for N and M stage",
    licence="Stanford AIMI data use agreement of Merlin: personal, non-commercial research only",
    access="registration",
    tier="gold",
    citation=(
        "L. Blankemeier, J. P. Cohen, A. Kumar et al.: Merlin: a vision language foundation model for 3D computed "
        "tomography. arXiv:2406.06512, 2024."
    ),
    tasks=("impression_generation", *_STAGES),
    how_to=(
        "1. Make an account at Stanford AIMI and accept the data use agreement of the Merlin abdominal CT data set.\n"
        f"2. With azcopy and the address that you are given, download {_REPORTS} and {_LABELS}; the scans are not "
        "needed.\n"
        "3. Put them into one folder and run: radlite data build --source merlin=FOLDER --out corpus"
    ),
    rows=rows,
)
