"""Files in the shape of MIMIC-IV-Note 2.2, filled by the project's own synthesiser."""

import csv
import gzip
from pathlib import Path

from radlite.data import sample

NOTES = ("note_id", "subject_id", "hadm_id", "note_type", "note_seq", "charttime", "storetime", "text")
DETAILS = ("note_id", "subject_id", "field_name", "field_value", "field_ordinal")
EXAMS = ("CHEST (PA & LAT)", "CT HEAD W/O CONTRAST", "MR HEAD W & W/O CONTRAST", "LIVER OR GALLBLADDER US")


def write(folder: Path, count: int = 20, seed: int = 0) -> None:
    """`count` reports, three for each patient, every fourth with a RADS category, every sixth with an addendum.

    Official shapes: both tables in the folder `note`, gzip, no `hadm_id` for outpatients, `___`, wrapped lines.
    """
    (folder / "note").mkdir(parents=True, exist_ok=True)
    notes: list[list[object]] = []
    details: list[list[object]] = []
    texts = sample.examples("impression_generation", "train", count, seed)
    cases = sample.examples("rads_assignment", "train", count, seed)
    for index, (example, case) in enumerate(zip(texts, cases, strict=True)):
        subject, number = 10000032 + index // 3, 14 + 2 * (index % 3)
        note, time = f"{subject}-RR-{number}", f"2180-05-{1 + index % 28:02} 21:58:00"
        used, conclusion = (example, example.answer) if index % 4 else (case, f"{case.answer}.")
        report = _wrap(used.inputs["report"])
        text = f"{report}\n\nIMPRESSION: \n\n{_numbered(conclusion)}\n\nRECOMMENDATION(S):  As ___.\n"
        notes.append([note, subject, "" if index % 2 else 22595853 + index, "RR", number, time, time, text])
        exam = EXAMS[index % len(EXAMS)]
        details += [
            [note, subject, "exam_code", f"C{index}", 1],
            [note, subject, "exam_name", exam, 1],
            [note, subject, "cpt_code", "71046", 1],
        ]
        if index % 6 == 5:
            addendum = f"{subject}-AR-{number + 1}"
            notes.append([addendum, subject, "", "AR", number + 1, time, time, "ADDENDUM:  Discussed with Dr. ___.\n"])
            details += [
                [note, subject, "addendum_note_id", addendum, 1],
                [addendum, subject, "parent_note_id", note, 1],
            ]
    _write(folder / "note" / "radiology.csv.gz", NOTES, notes)
    _write(folder / "note" / "radiology_detail.csv.gz", DETAILS, details)


def _numbered(conclusion: str) -> str:
    lines = conclusion.splitlines()
    if len(lines) == 1:
        return _wrap(conclusion)
    return "\n".join(_wrap(f"{number}. {line}") for number, line in enumerate(lines, start=1))


def _wrap(text: str) -> str:
    lines = []
    for line in text.splitlines():
        lines.append("")
        for word in line.split():
            if len(lines[-1]) + len(word) > 78:
                lines.append("")
            lines[-1] += f"{word} "
    return "\n".join(lines)


def _write(path: Path, header: tuple[str, ...], rows: list[list[object]]) -> None:
    with gzip.open(path, "wt", newline="") as file:
        csv.writer(file).writerows([header, *rows])
