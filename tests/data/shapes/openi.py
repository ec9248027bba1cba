"""OpenI as it is downloaded: reports in XML, packed or not, and the table that Kaggle has made of them."""

import csv
import io
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import escape

from radlite.data import sample
from radlite.sections import sections

HEADER = ("uid", "MeSH", "Problems", "image", "indication", "comparison", "findings", "impression")

TERMS = (
    "normal",
    "Cardiomegaly/borderline;Pulmonary Artery/enlarged",
    "Opacity/lung/base/bilateral/patchy;Pulmonary Atelectasis;Pleural Effusion/left/small",
    "Calcified Granuloma/lung/upper lobe/right",
    "Tube, Inserted/trachea, carina;Airspace Disease/lung/base/left/severe",
    "No Indexing",
)


def xml(
    number: int | str, indication: str, comparison: str, findings: str, impression: str, mesh: str = "normal"
) -> str:
    """One report in XML; an empty section keeps its element."""
    parts = zip(
        ("COMPARISON", "INDICATION", "FINDINGS", "IMPRESSION"),
        (comparison, indication, findings, impression),
        strict=True,
    )
    abstract = "\n".join(f'<AbstractText Label="{label}">{escape(text)}</AbstractText>' for label, text in parts)
    majors = "".join(f"<major>{escape(term)}</major>" for term in mesh.split(";"))
    return f"""<?xml version="1.0" encoding="utf-8"?>
<eCitation>
<meta type="rr"/>
<uId id="CXR{number}"/>
<pmcId id="{number}"/>
<docSource>CXR</docSource>
<MedlineCitation Owner="Indiana University" Status="supplied by publisher">
<Article PubModel="Electronic"><ArticleTitle>Indiana University Chest X-ray Collection</ArticleTitle>
<Abstract>
{abstract}
</Abstract></Article></MedlineCitation>
<MeSH>{majors}<automatic>pleural effusion</automatic></MeSH>
<parentImage id="CXR{number}_IM-0001-4001"><caption>Xray Chest PA and Lateral</caption></parentImage>
</eCitation>
"""


def reports(count: int, seed: int) -> Iterator[tuple[int, str, str, str, str, str]]:
    """(number, indication, comparison, findings, impression, MeSH); some repeat a text, some lack a section."""
    draw = random.Random(seed)
    for index, one in enumerate(sample.examples("impression_generation", "train", count, seed)):
        text = one.inputs["report"]
        parts = {part.name: text[part.body : part.end].strip() for part in sections(text)}
        findings, impression = parts["findings"].replace("present", "XXXX", 1), one.answer.replace("\n", " ")
        if index % 10 == 3:  # impression only, which then holds the findings
            findings = ""
        if index % 10 == 7:
            impression = ""
        if index % 5 == 4:  # exact duplicates
            findings, impression = "Lungs are clear. No pneumothorax.", "No acute cardiopulmonary abnormality."
        indication = draw.choice(("XXXX-year-old XXXX with chest pain.", "XXXX", ""))
        comparison = draw.choice(("None.", "XXXX, XXXX", ""))
        yield index + 1, indication, comparison, findings, impression, TERMS[index % len(TERMS)]


def write(folder: Path, count: int = 20, seed: int = 0, form: Literal["tgz", "xml", "csv"] = "tgz") -> None:
    """Write `count` reports as `NLMCXR_reports.tgz`, as `ecgen-radiology/*.xml`, or as `indiana_reports.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    if form == "csv":
        table(folder, list(reports(count, seed)))
        return
    files = {f"ecgen-radiology/{one[0]}.xml": xml(*one).encode() for one in reports(count, seed)}
    if form == "tgz":
        pack(folder / "NLMCXR_reports.tgz", files)
        return
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)


def pack(archive: Path, files: dict[str, bytes]) -> None:
    """Write a .tgz with `files`, in their folder."""
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def table(folder: Path, rows: list[tuple[int, str, str, str, str, str]]) -> None:
    """Write `indiana_reports.csv`."""
    with (folder / "indiana_reports.csv").open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(HEADER)
        for number, indication, comparison, findings, impression, mesh in rows:
            problems = ";".join(term.split("/")[0] for term in mesh.split(";"))
            lines.writerow(
                (number, mesh, problems, "Xray Chest PA and Lateral", indication, comparison, findings, impression)
            )
