"""TCGA pathology reports with the pathologic N and M stage of their cancer registry entry (Kefeli & Tatonetti)."""

import re
from collections.abc import Iterator
from pathlib import Path

from radlite.data.sources.condense import condense
from radlite.data.sources.files import read_csv
from radlite.data.sources.source import Source, Tally
from radlite.tasks import Example, named
from radlite.tasks.staging import stage as as_stage

_LICENCE = "TCGA open access (NIH Genomic Data Sharing Policy); files from tatonetti-lab/tnm-stage-classifier under MIT"

_STAGES = {
    "n_staging": ("TCGA_N03_patients.csv", "ajcc_pathologic_n"),
    "m_staging": ("TCGA_M01_patients.csv", "ajcc_pathologic_m"),
}

# AJCC's spellings: substages (N1a, N2c, N1mi, M1b), N0 (i+), cM0 (i+). X and blanks say that nobody knows.
_STAGE = re.compile(r"[cpy]{0,2}([NM][0-3])(?:[a-d]|mi)?(?:\s*\((?:i|mol)[+-]\))?", re.IGNORECASE)
_UNKNOWN = re.compile(r"|[cpy]{0,2}[NM]X|'?--|unknown|not (?:reported|available|applicable)", re.IGNORECASE)

# A stage that the report itself spells out, as in pT2 pN1 MX; recognised letters O stand for the digit 0.
_T = r"[Tt] ?(?:[0-4][a-d]?|is|[xX])[\W_]{0,3}"
_STATED = {
    "n_staging": re.compile(
        rf"(?<![A-Za-z])(?:[yra]{{0,2}}[pP] ?[nN] ?[0-3O]|[pP]?{_T}[nN] ?[0-3O]|N[0-3])(?![\d.]*\d)(?![a-z]{{2}})"
    ),
    "m_staging": re.compile(
        r"(?<![A-Za-z])(?:[pc] ?M ?[01O]|[pP]? ?[nN] ?[0-3xXO][a-c]?[\W_]{0,3}[pc]?[mM] ?[01O]|M[01])"
        r"(?![\d.]*\d)(?![a-z]{2})"
    ),
}


def rows(folder: Path, tally: Tally) -> Iterator[Example]:
    """One example a report and task, where the stage is known; substages are folded (N1a to N1)."""
    stages = {
        task: _stages(folder, name, column, set(named(task).labels), tally) for task, (name, column) in _STAGES.items()
    }
    seen: set[str] = set()
    for line, row in read_csv(folder, "T14_test.csv", ("patient_filename", "text"), tally):
        report = row["patient_filename"]
        if report in seen:
            tally.reject(folder / "T14_test.csv", line, "a repeated patient_filename")
            continue
        seen.add(report)
        patient = report.split(".")[0]
        for task, known in stages.items():
            if patient not in known:
                tally.dropped[f"{task}: no known stage"] += 1
                continue
            stage, project = known[patient]
            stated = "stated_stage" if _STATED[task].search(row["text"]) else "no_stated_stage"
            yield Example(
                id=report,
                task=task,
                inputs={"report": row["text"]},
                answer=named(task).render(as_stage(stage)),
                source="tcga_tnm",
                tier="gold",
                patient=patient,
                study=report,
                split="",
                licence=_LICENCE,
                tags=(stated, project),
            )


def _stages(folder: Path, name: str, column: str, labels: set[str], tally: Tally) -> dict[str, tuple[str, str]]:
    """Patient to (stage, TCGA project); a patient with two different stages has none."""
    stages: dict[str, tuple[str, str]] = {}
    disputed: set[str] = set()
    columns = (column, "project_id", "case_submitter_id")
    for line, row in read_csv(folder, name, columns, tally, blank=(column,)):
        value, patient = row[column].strip(), row["case_submitter_id"]
        found = _STAGE.fullmatch(value)
        stage = found[1].upper() if found else ""
        if _UNKNOWN.fullmatch(value):
            tally.dropped[f"{column}: X or unknown"] += 1
        elif stage not in labels:
            tally.reject(folder / name, line, f"{column} is no stage")
        elif stages.setdefault(patient, (stage, row["project_id"]))[0] != stage:
            disputed.add(patient)
    tally.dropped[f"{column}: two stages for one patient"] += len(disputed)
    return {patient: known for patient, known in stages.items() if patient not in disputed}


TCGA_TNM = Source(
    name="tcga_tnm",
    title="TCGA pathology reports with pathologic N and M stage",
    licence=_LICENCE,
    access="open",
    tier="gold",
    citation=(
        "J. Kefeli, N. Tatonetti: TCGA-Reports, a machine-readable pathology report resource for benchmarking "
        "text-based AI models. Patterns, 2024."
    ),
    tasks=tuple(_STAGES),
    how_to=(
        "1. Clone github.com/tatonetti-lab/tnm-stage-classifier.\n"
        "2. Put Demo/T14_test.csv, TCGA_Metadata/TCGA_N03_patients.csv and TCGA_Metadata/TCGA_M01_patients.csv into "
        "one folder and run: radlite data build --source tcga_tnm=FOLDER --out corpus"
    ),
    rows=rows,
    condense=condense,
)
