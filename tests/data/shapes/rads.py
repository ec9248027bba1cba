"""RXL-RADSet: metadata.csv as the repository has it, and one PDF a report; scores and ids with all their oddities."""

import csv
import random
import textwrap
from pathlib import Path

from radlite.data.sample.rads import SYSTEMS
from radlite.data.sample.rads_case import written
from radlite.data.sample.wording import Writer
from radlite.rads import NO_RADS, system_of

# Id pattern, modality, score as the metadata have it, and the category it stands for; None where there is none.
KINDS = (
    ("R{n}_B_MG", "Mammography", "4A", "BI-RADS 4A"),
    ("R{n}_B_MRI", "MRI", "6", "BI-RADS 6"),
    ("R{n}_B_Us", "US", "4C", "BI-RADS 4C"),
    ("R{n}_Cor_CT", "CT", "4B", "CAD-RADS 4B"),
    ("R_{n}_GB_US", "US", "3", "GB-RADS 3"),
    ("R{n}_L_CT", "CT", "TIV", "LR-TIV"),
    ("R{n}_L_MRI", "MRI", "5", "LR-5"),
    ("R{n}_L_US", "US", "2", "US-2"),
    ("R{n}_LRTR_CT", "CT", "Nonviable", "LR-TR Nonviable"),
    ("R{n}_LRTR_MR", "MRI", "Nonprogressing", "LR-TR Nonprogressing"),
    ("R{n}_Lung", "CT", "4A", "Lung-RADS 4A"),
    ("R{n}_NI_CT", "CT", "2a // 1", "NI-RADS primary 2a, neck 1"),
    ("R{n}_O_MRI", "MRI", "4", "O-RADS MRI 4"),
    ("R{n}_O_US", "US", "0", "O-RADS US 0"),
    ("R{n}_P_MRI", "MRI", "3", "PI-RADS 3"),
    ("R{n}_T_US", "US", "5", "TI-RADS 5"),
    ("R{n}_VI_MR", "MRI", "2", "VI-RADS 2"),
    ("R{n}_B_US", "US", "0", "BI-RADS 0"),
    ("R{n}_Cor_CT", "CT", "N", "CAD-RADS N"),
    ("R{n}_L_MRI", "MRI", "M", "LR-M"),
    ("R{n}_T_US", "US", "NC", None),
    ("R{n}_VI_MR", "MRI", "NC", None),
    ("R{n}_Lung", "CT", "4", None),
    ("R{n}_NI_CT", "CT", "2 // 1", None),
)


def entries(count: int) -> list[tuple[str, str, str, str, str | None]]:
    """(Report_Number, Modality, Profile, RADS_score, category) of `count` reports, all kinds in turn."""
    return [
        (pattern.format(n=f"{index + 1:03}"), modality, str(index % 5 + 1), score, code)
        for index, (pattern, modality, score, code) in zip(
            range(count), KINDS * (count // len(KINDS) + 1), strict=False
        )
    ]


def report(number: str, code: str | None, seed: int) -> str:
    """A report of the category that states it in its impression; one without a statement where there is none.

    The findings are short where the synthesiser has no cases of the category (O-RADS 0).
    """
    if not code:
        return "Indication: Follow-up.\nFindings: Nothing that could be assessed.\nImpression: Not assessed."
    system = system_of(code)
    drawn, draw = SYSTEMS[system]
    if code not in drawn:
        return f"Indication: Follow-up.\nFindings: The study is incomplete.\nImpression: {code}, to be repeated."
    writer = Writer(random.Random(f"{seed}/{number}"), held_out=False)
    text = written(writer, draw(writer, code))
    stated = code if code.split()[0] == system else f"LI-RADS {code}"
    return f"{text}\nImpression: Findings as above. {stated}."


def write(folder: Path, count: int = 24, seed: int = 0) -> None:
    """metadata.csv, and the PDFs in folders by system as in the repository's samples."""
    with (folder / "metadata.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["Report_Number", "Modality", "Profile", "RADS_score"])
        table.writerows(row[:4] for row in entries(count))
    for number, modality, _, _, code in entries(count):
        place = folder / "reports" / system_of(code or NO_RADS) / modality
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.pdf").write_bytes(pdf(report(number, code, seed)))


def pdf(text: str) -> bytes:
    """A PDF of `text` in wrapped lines, as many pages as it takes; no compression, one font."""
    lines = [piece for line in text.splitlines() for piece in textwrap.wrap(line, 90, break_on_hyphens=False) or [""]]
    pages = [lines[at : at + 50] for at in range(0, len(lines), 50)] or [[]]
    kids = " ".join(f"{4 + 2 * index} 0 R" for index in range(len(pages)))
    bodies = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for index, page in enumerate(pages):
        shown = b"".join(b"(%s) Tj T*\n" % _escaped(line) for line in page)
        stream = b"BT /F1 10 Tf 14 TL 50 780 Td\n" + shown + b"ET"
        bodies += [
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 3 0 R >> >> "
            b"/Contents %d 0 R >>" % (5 + 2 * index),
            b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        ]
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(bodies, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return out + (
        b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
        % (len(bodies) + 1, table, len(bodies) + 1, len(out))
    )


def _escaped(line: str) -> bytes:
    return line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)").encode("cp1252", "replace")
