"""Questions on radiology that anyone may get: MedMCQA's, from entrance examinations of Indian medical schools.

The questions have no report: the options stand in its place, and the answer is the text of the right one. Only the
subject Radiology is taken. The labels of the official test part are hidden, so the development part is the test here,
and there is no validation part. Whether `cop`, the index of the right option, counts from 0 (Hugging Face) or from 1
(the original files) is found from the values in each file.

Other open sets are left out, as a text model that is asked about an image it never sees learns to make answers up:
* VQA-RAD and VQA-Med-2019: all questions are about an image, of which no report is given. In VQA-RAD moreover every
  image of the test part is in the training part.
* SLAKE: so are its knowledge questions (`base_type` kvqa): their triple begins with `vhead`, the thing seen in the
  image, and they ask for the function of "the main organ in this picture", or how to treat "the disease on the right
  of lung in this image". This was seen in those parts of its training and test files that were read.
* Eurorad: its licence is not clear.

Assumed: MedMCQA's original files are JSON lines named train.json and dev.json; a question that speaks of an image
"shown" or "given" cannot be answered without it.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from radlite.data.sources.files import find, read_json_lines, read_parquet
from radlite.data.sources.source import Source, Tally
from radlite.errors import UserError
from radlite.tasks import Example
from radlite.tasks.answers import squeeze
from radlite.tasks.qa import read, render

_FILES = {
    "train": ("train-00000-of-00001.parquet", "train.json"),
    "test": ("validation-00000-of-00001.parquet", "dev.json"),
}
_OPTIONS = {"A": "opa", "B": "opb", "C": "opc", "D": "opd"}
_COLUMNS = ("id", "question", *_OPTIONS.values(), "cop", "subject_name")

_IMAGE = r"(?:images?|pictures?|photographs?|figures?)"
_PICTURED = rf"(?:{_IMAGE}|films?|scans?|x-?rays?|radiographs?|ct|mri|mammograms?|ultrasounds?|usg)"
_NEEDS_IMAGE = re.compile(
    rf"\b{_PICTURED}(?: (?:is|are|as))?(?: (?:shown|given|provided|attached|below|above))\b"
    rf"|\b(?:shown|given|provided|attached)(?: in)?(?: the)? {_PICTURED}\b"
    rf"|\b(?:this|these|following|above|below)(?: (?:given|shown))? {_IMAGE}\b|\bshown (?:below|above|here)\b",
    re.IGNORECASE,
)


def rows(folder: Path, tally: Tally) -> Iterator[Example]:
    """One example a question of the subject Radiology."""
    seen: set[str] = set()
    for split, names in _FILES.items():
        path = find(folder, names, f"MedMCQA with {', '.join(_COLUMNS)}")
        base = _base(path)
        for number, row in _table(path, tally):
            if squeeze(str(row["subject_name"] or "")) != "Radiology":
                tally.dropped["radiology_qa: another subject"] += 1
                continue
            id, question = (squeeze(str(row[key] or "")) for key in ("id", "question"))
            answer, why = _answer(row, base)
            if why or not id or id in seen or not question:
                tally.reject(path, number, why or ("no question" if not question else "no id or a repeated one"))
                continue
            seen.add(id)
            if _NEEDS_IMAGE.search(question):
                tally.dropped["radiology_qa: needs the image"] += 1
                continue
            yield MEDMCQA.example(
                task="radiology_qa",
                id=id,
                inputs={"report": _report(row), "question": question},
                answer=answer,
                split=split,
                tags=("multiple_choice",),
            )


def _table(path: Path, tally: Tally) -> Iterator[tuple[int, dict[str, Any]]]:
    if path.suffix == ".parquet":
        return read_parquet(path.parent, path.name, _COLUMNS, tally, blank=_COLUMNS)
    return read_json_lines(path.parent, path.name, _COLUMNS, tally)


def _base(path: Path) -> int:
    """The index of the first option in this file, 0 or 1; `UserError` if the values leave it open."""
    found = {row["cop"] for _, row in _table(path, Tally()) if isinstance(row["cop"], int)}
    if (0 in found) == (4 in found):
        raise UserError(
            f"{path} has {'both' if 0 in found else 'neither'} 0 {'and' if 0 in found else 'nor'} 4 in cop, the index "
            "of the right option, so that it cannot be told whether it counts from 0 or from 1; get the whole file, "
            "and not the test part, whose answers are hidden."
        )
    return 0 if 0 in found else 1


def _options(row: Mapping[str, Any]) -> dict[str, str]:
    """Letter to text, of the options that say something."""
    texts = {letter: squeeze(str(row[key])) for letter, key in _OPTIONS.items() if row[key] is not None}
    return {letter: text for letter, text in texts.items() if text}


def _answer(row: Mapping[str, Any], base: int) -> tuple[str, str]:
    """The text of the right option, or why there is none."""
    index, options = row["cop"], _options(row)
    if not isinstance(index, int) or not 0 <= index - base < len(_OPTIONS):
        return "", "cop is no index of an option"
    if len(options) < 2:
        return "", "fewer than two options"
    reply = read(options.get("ABCD"[index - base], ""))
    return (render(reply), "") if reply else ("", "the right option is blank")


def _report(row: Mapping[str, Any]) -> str:
    return "\n".join(("Options:", *(f"{letter}. {text}" for letter, text in _options(row).items())))


MEDMCQA = Source(
    name="medmcqa",
    title="MedMCQA: multiple-choice questions on radiology, the options in place of a report",
    licence="MIT (github.com/medmcqa/medmcqa); Apache-2.0 by its card on the Hugging Face hub",
    access="open",
    tier="gold",
    citation=(
        "A. Pal, L. K. Umapathi, M. Sankarasubbu: MedMCQA, a large-scale multi-subject multi-choice dataset for "
        "medical domain question answering. CHIL, 2022."
    ),
    tasks=("radiology_qa",),
    how_to=(
        "1. Get data/train-00000-of-00001.parquet and data/validation-00000-of-00001.parquet of the data set "
        "openlifescienceai/medmcqa on the Hugging Face hub, or train.json and dev.json of github.com/medmcqa/medmcqa; "
        "the test part is of no use, as its answers are hidden.\n"
        "2. Put them into one folder and run: radlite data build --source medmcqa=FOLDER --out corpus\n"
        "3. VQA-RAD, VQA-Med and SLAKE are no sources of radlite: their questions need the image."
    ),
    rows=rows,
    hub=("openlifescienceai/medmcqa", ("data/*.parquet",)),
)
