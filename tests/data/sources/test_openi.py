"""OpenI: both forms give the same rows, MeSH terms become classes, hostile XML is refused."""

import gzip
from pathlib import Path

import pytest

from radlite.data.sources import Tally
from radlite.data.sources.openi import OPENI
from radlite.errors import UserError
from radlite.tasks import Example, named
from tests.data.shapes import openi as shape

DENIED = "No pneumothorax. Lungs are clear. Heart size is normal."


def read(folder: Path, task: str | None = None, most: float = 0.01) -> tuple[list[Example], Tally]:
    tally = Tally()
    return [row for row in OPENI.read(folder, tally, most) if task in (None, row.task)], tally


def one(folder: Path, *report: str, mesh: str = "normal") -> tuple[dict[str, Example], Tally]:
    """The examples of a table with this single report, by task."""
    shape.table(folder, [(1, *report, mesh)])  # type: ignore[arg-type]
    found, tally = read(folder)
    return {row.task: row for row in found}, tally


def states(row: Example) -> dict[str, str]:
    return dict(named(row.task).read(row.answer).states)


@pytest.mark.parametrize("form", ["tgz", "xml", "csv"])
def test_every_form_gives_the_same_readable_rows(form: str, tmp_path: Path) -> None:
    shape.write(tmp_path / form, form=form)  # type: ignore[arg-type]
    shape.write(tmp_path / "table", form="csv")
    found, tally = read(tmp_path / form)
    assert sorted(found, key=lambda row: row.id) == sorted(read(tmp_path / "table")[0], key=lambda row: row.id)
    assert tally.rows == 20 and not tally.malformed and {row.task for row in found} == set(OPENI.tasks)
    for row in found:
        assert named(row.task).read(row.answer) is not None
        assert set(row.inputs) == set(named(row.task).inputs) and row.inputs["report"].strip()
    assert len({(row.task, row.id) for row in found}) == len(found)


def test_a_report_becomes_an_impression_and_fourteen_states(tmp_path: Path) -> None:
    mesh = "Cardiomegaly/borderline;Pleural Effusion/left/small"
    found, _ = one(
        tmp_path, "XXXX-year-old XXXX.", "None.", f"{DENIED} Small left effusion.", "1. Effusion. 2. XXXX.", mesh=mesh
    )
    row = found["impression_generation"]
    assert row.inputs == {
        "report": f"INDICATION: XXXX-year-old XXXX.\nCOMPARISON: None.\nFINDINGS: {DENIED} Small left effusion."
    }
    assert (row.answer, row.id, row.patient, row.split, row.tier) == ("Effusion.\nXXXX.", "CXR1", "openi:1", "", "gold")
    row = found["abnormality_detection"]
    assert row.inputs["report"].endswith("\nIMPRESSION: 1. Effusion. 2. XXXX.") and row.tier == "silver"
    assert {name: state for name, state in states(row).items() if state != "not mentioned"} == {
        "Cardiomegaly": "uncertain",
        "Consolidation": "negative",
        "Lung Opacity": "negative",
        "Pleural Effusion": "positive",
        "Pneumothorax": "negative",
    }


@pytest.mark.parametrize(
    ("term", "name", "state"),
    [
        ("Cardiac Shadow/enlarged/mild", "Cardiomegaly", "positive"),
        ("Cardiac Shadow/borderline", "Cardiomegaly", "uncertain"),
        ("Pulmonary Atelectasis/base", "Atelectasis", "positive"),
        ("Opacity/lung/base/left", "Lung Opacity", "positive"),
        ("Opacity/pulmonary alveoli", "Lung Opacity", "positive"),
        ("Consolidation/lung/base/left", "Consolidation", "positive"),
        ("Pulmonary Edema/interstitial", "Edema", "positive"),
        ("Pneumothorax/apex/left", "Pneumothorax", "positive"),
        ("Pneumonia/lower lobe", "Pneumonia", "positive"),
        ("Fractures, Bone/ribs/left/healed", "Fracture", "positive"),
        ("Nodule/lung/upper lobe", "Lung Lesion", "positive"),
        ("Mass/lung", "Lung Lesion", "positive"),
        ("Nodule/breast", "Lung Lesion", "not mentioned"),
        ("Catheters, Indwelling/right", "Support Devices", "positive"),
        ("Tube, Inserted/trachea, carina", "Support Devices", "positive"),
        ("Surgical Instruments/left", "Support Devices", "not mentioned"),
        ("Thickening/pleura/apex/bilateral", "Pleural Other", "positive"),
        ("Mediastinum/enlarged", "Enlarged Cardiomediastinum", "positive"),
        ("Cardiomegaly/borderline;Cardiomegaly", "Cardiomegaly", "positive"),
        ("Cardiomegaly;Cardiac Shadow/borderline", "Cardiomegaly", "positive"),
    ],
)
def test_mesh_terms_become_classes(term: str, name: str, state: str, tmp_path: Path) -> None:
    found, _ = one(tmp_path, "", "", "Bony thorax as before.", "See above.", mesh=f"{term};Aorta/tortuous")
    assert states(found["abnormality_detection"])[name] == state
    ill = state != "not mentioned" and name != "Support Devices"
    assert not ill or states(found["abnormality_detection"])["No Finding"] == "not mentioned"


def test_a_normal_report_has_no_finding_and_keeps_what_it_denies(tmp_path: Path) -> None:
    found, _ = one(tmp_path, "", "", DENIED, "Chest tube in place.", mesh="normal")
    answer = states(found["abnormality_detection"])
    assert answer["No Finding"] == "positive" and answer["Pneumothorax"] == answer["Cardiomegaly"] == "negative"
    assert answer["Support Devices"] == "positive"


def test_a_report_coded_normal_in_which_the_lexicon_finds_something_is_left_out(tmp_path: Path) -> None:
    found, tally = one(tmp_path, "", "", "Small left pleural effusion.", "Normal chest.", mesh="normal")
    assert set(found) == {"impression_generation"}
    assert tally.dropped["abnormality_detection: coded normal, but the lexicon finds something"] == 1


@pytest.mark.parametrize("mesh", ["", "No Indexing"])
def test_a_report_that_nobody_coded_has_no_abnormalities(mesh: str, tmp_path: Path) -> None:
    found, tally = one(tmp_path, "", "", DENIED, "Normal.", mesh=mesh)
    assert set(found) == {"impression_generation"} and tally.dropped["abnormality_detection: not coded"] == 1


def test_reports_without_findings_or_impression_are_dropped_and_counted(tmp_path: Path) -> None:
    only_impression = (1, "Pain.", "", "", DENIED, "normal")
    only_findings = (2, "", "", DENIED, "", "normal")
    shape.table(tmp_path, [only_impression, only_findings, (3, "Pain.", "", "", "", "normal")])
    found, tally = read(tmp_path)
    assert [(row.task, row.id, row.tags) for row in found] == [
        ("abnormality_detection", "CXR1", ("section:impression",)),
        ("abnormality_detection", "CXR2", ("section:findings",)),
    ]
    assert tally.dropped["impression_generation: no findings"] == 1
    assert tally.dropped["impression_generation: no impression"] == 2
    assert tally.dropped["abnormality_detection: no findings and no impression"] == 1


def test_the_xml_is_read_where_the_table_is_there_too(tmp_path: Path) -> None:
    shape.write(tmp_path, count=3, form="xml")
    shape.write(tmp_path, count=9, form="csv")
    assert read(tmp_path)[1].rows == 3


def test_malformed_reports_are_counted_with_their_file(tmp_path: Path) -> None:
    entities = '<!DOCTYPE x [<!ENTITY a "b">]><eCitation><uId id="CXR7"/></eCitation>'
    files = {
        "ecgen-radiology/1.xml": shape.xml(1, "", "", DENIED, "Normal.").encode(),
        "ecgen-radiology/2.xml": shape.xml(1, "", "", DENIED, "Normal.").encode(),
        "ecgen-radiology/3.xml": shape.xml("", "", "", DENIED, "Normal.").encode(),
        "ecgen-radiology/4.xml": entities.encode(),
        "ecgen-radiology/5.xml": entities.encode("utf-16"),
        "ecgen-radiology/6.xml": b"<eCitation><uId",
        "ecgen-radiology/7.xml": b'<?xml version="1.0" encoding="nothing"?><eCitation/>',
        "ecgen-radiology/8.txt": b"not a report",
    }
    shape.pack(tmp_path / "NLMCXR_reports.tgz", files)
    found, tally = read(tmp_path, most=1.0)
    assert len(found) == 2 and tally.rows == 7
    assert [(row.file, row.why.split()[0]) for row in tally.malformed] == [
        ("2.xml", "a"), ("3.xml", "no"), ("4.xml", "a"), ("5.xml", "a"), ("6.xml", "no"), ("7.xml", "no"),
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"6 of 7 rows of openi are malformed, the first in 2\.xml"):
        read(tmp_path)


def test_malformed_rows_of_the_table_are_counted_with_their_line(tmp_path: Path) -> None:
    shape.table(tmp_path, [(1, "", "", DENIED, "Normal.", "normal")])
    with (tmp_path / "indiana_reports.csv").open("a") as file:
        file.write("x,normal,,,,,a,b\n1,normal,,,,,a,b\n3,normal\n")
    found, tally = read(tmp_path, most=1.0)
    assert len(found) == 2
    assert [(row.line, row.why) for row in tally.malformed] == [
        (3, "uid is no number"),
        (4, "a repeated number of the report"),
        (5, "2 fields instead of 8"),
    ]


def test_a_folder_without_either_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no NLMCXR_reports\.tgz \(expected reports in XML, or indiana_reports"):
        read(tmp_path)


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    archive, table = tmp_path / "NLMCXR_reports.tgz", tmp_path / "indiana_reports.csv"
    archive.write_text("<!DOCTYPE html><html><body>Log in</body></html>")
    with pytest.raises(UserError, match="a web page"):
        read(tmp_path)
    shape.write(tmp_path)
    archive.write_bytes(archive.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"NLMCXR_reports\.tgz is"):
        read(tmp_path)
    archive.unlink()
    table.write_text("<html><body>Log in</body></html>")
    with pytest.raises(UserError, match="a web page"):
        read(tmp_path)
    table.write_text("uid,Problems,image,indication,comparison,findings,impression\n")
    with pytest.raises(UserError, match="lacks the column MeSH"):
        read(tmp_path)
    table.unlink()
    shape.write(tmp_path, form="csv")
    (tmp_path / "indiana_reports.csv.gz").write_bytes(gzip.compress(table.read_bytes())[:-20])
    table.unlink()
    with pytest.raises(UserError, match="incomplete gzip"):
        read(tmp_path)
