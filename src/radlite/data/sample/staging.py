"""N and M stage of lung cancer from a chest CT; one model for both tasks, and every report has the facts of both."""

from collections.abc import Sequence
from dataclasses import dataclass

from radlite.data.sample.item import Item, Maker
from radlite.data.sample.rads_case import Case, Region, size, until, upper, written
from radlite.data.sample.wording import Writer, wordings
from radlite.tasks.staging import stage

ENLARGED = 10
"""Short axis in mm from which a node counts as involved."""
NEAR = ("hilar", "interlobar", "peribronchial")
MEDIASTINAL = ("upper paratracheal", "lower paratracheal", "paraesophageal", "subcarinal")
NECK = ("supraclavicular", "scalene")
ELSEWHERE = ("axillary",)
"""Not regional: a node there never changes the stage."""


@dataclass(frozen=True, slots=True)
class Node:
    """A lymph node that the report speaks of. `side`: `right`, `left`, or empty for the subcarinal station."""

    station: str
    side: str
    short_axis: int
    """In mm, now."""
    benign: str = ""
    """What makes it benign whatever its size: `calcified` or `fatty hilum`."""
    before: int = 0
    """Short axis in mm at the earlier study; 0: nothing is said of it."""


def n_stage(side: str, nodes: Sequence[Node]) -> str:
    """N stage (TNM, lung) of a primary on `side`; the worst involved node decides."""
    return max((level_of(side, node) for node in nodes), default="N0")


def level_of(side: str, node: Node) -> str:
    if node.short_axis < ENLARGED or node.benign or node.station in ELSEWHERE:
        return "N0"
    if node.station in NECK or node.side not in ("", side):
        return "N3"
    return "N1" if node.station in NEAR else "N2"


METASTATIC = ("contralateral nodules", "pleural nodules", "malignant effusion", "pericardial nodules",
"liver metastases",
              "bone destruction", "brain lesion")  # fmt: skip
HARMLESS = (
    "satellite nodule",
    "granuloma",
    "hepatic cyst",
    "hemangioma",
    "bone island",
    "degeneration",
    "old fracture",
)
ADENOMA = 10
"""Unenhanced attenuation in HU up to which an adrenal nodule is an adenoma."""


@dataclass(frozen=True, slots=True)
class Distant:
    """A finding away from the primary and the nodes: a kind of `METASTATIC` or `HARMLESS`, or `adrenal nodule`."""

    kind: str
    attenuation: int = 0
    """Of an adrenal nodule, unenhanced, in HU."""


def m_stage(findings: Sequence[Distant]) -> str:
    """M1 if any finding is a metastasis; a nodule in the lobe of the primary is none."""
    return "M1" if any(is_metastasis(finding) for finding in findings) else "M0"


def is_metastasis(finding: Distant) -> bool:
    return finding.attenuation > ADENOMA if finding.kind == "adrenal nodule" else finding.kind in METASTATIC


@dataclass(frozen=True, slots=True)
class Cancer:
    """A lung cancer as one CT shows it. `size` of the primary in mm."""

    side: str
    lobe: str
    size: int
    nodes: tuple[Node, ...]
    distant: tuple[Distant, ...]


EXAM = wordings(
    "CT of the chest with contrast, staging", "Contrast-enhanced CT of the chest and upper abdomen", "Staging chest CT",
    "CT thorax and upper abdomen", "CT chest, lung cancer staging",
)  # fmt: skip
TECHNIQUE = wordings(
    "Helical CT after intravenous contrast, 1.5 mm sections.",
    "Contrast-enhanced CT from the neck to the adrenal glands.",
    "Portal venous phase, coronal and sagittal reformations.", "Multidetector CT with intravenous contrast.",
    "Thin-section contrast-enhanced CT with reformations.",
)  # fmt: skip
PRIMARY = wordings(
    "Spiculated mass of {size} in the {side} {lobe} lobe.",
    "There is a {size} mass in the {side} {lobe} lobe.",
    "The {side} {lobe} lobe contains a lobulated mass measuring {size}.",
    "In the {side} {lobe} lobe, the primary tumor measures {size}.",
    "{Side} {lobe} lobe mass, {size}, with irregular margins.",
    "A {size} tumor is seen in the {side} {lobe} lobe.",
    "The primary tumor, {size}, lies in the {side} {lobe} lobe.",
    "Tumor of {size} in the {side} {lobe} lobe with pleural tags.",
)
LARGE_NODE = wordings(
    "Enlarged {place} lymph node with a short axis of {axis} mm.",
    "A {place} node measures {axis} mm in short axis.",
    "There is an enlarged {axis} mm {place} lymph node.",
    "{Place} lymph node enlarged to {axis} mm in short axis.",
    "One {place} node has a short axis of {axis} mm.",
    "{Place} lymphadenopathy, {axis} mm.",
    "Pathologic {place} node, short axis {axis} mm.",
    "Lymph node in {place} position, short axis {axis} mm, too large.",
)
SMALL_NODE = wordings(
    "Small {place} lymph node with a short axis of {axis} mm.",
    "A {place} node measures {axis} mm in short axis.",
    "There is a {axis} mm {place} lymph node, not enlarged.",
    "{Place} lymph node, normal in size with {axis} mm in short axis.",
    "One {place} node has a short axis of {axis} mm.",
    "{Place} node of {axis} mm, within normal size.",
    "Unremarkable {place} node, short axis {axis} mm.",
    "Lymph node in {place} position, short axis {axis} mm, not enlarged.",
)
NODE_BEFORE = wordings(
    "{Place} lymph node with a short axis of {axis} mm, previously {before} mm.",
    "A {place} node measured {before} mm at the prior study and now has a short axis of {axis} mm.",
    "{Place} node, {axis} mm in short axis now (earlier {before} mm).",
    "The {place} lymph node, {before} mm before, is now {axis} mm in short axis.",
    "Short axis of the {place} node now {axis} mm, formerly {before} mm.",
)
CALCIFIED = wordings(
    "Densely calcified {place} lymph node of {axis} mm, benign.",
    "A {axis} mm {place} node is completely calcified, from old granulomatous disease.",
    "{Place} node of {axis} mm with dense benign calcification.",
    "The {place} lymph node ({axis} mm) is fully calcified and benign.",
    "Completely calcified benign {place} node, {axis} mm.",
)
FATTY = wordings(
    "{Place} lymph node of {axis} mm with a preserved fatty hilum, benign.",
    "A {axis} mm {place} node has a fatty hilum and is benign.",
    "{Place} node, {axis} mm, with normal fatty hilum.",
    "The {place} lymph node of {axis} mm keeps its fatty hilum, benign.",
    "Fatty hilum within a benign {place} node of {axis} mm.",
)
NO_NODES = wordings(
    "No enlarged lymph nodes.",
    "No mediastinal, hilar or supraclavicular lymphadenopathy.",
    "Mediastinal and hilar nodes are not enlarged.",
    "There is no thoracic lymphadenopathy.",
    "Lymph nodes are all below 10 mm in short axis.",
    "No lymph node enlargement in the chest or lower neck.",
)
DISTANT = {
    "contralateral nodules": wordings(
        "Multiple solid nodules in the {other} lung, up to {size}.",
        "The {other} lung contains several round nodules, largest {size}.",
        "In the {other} lung multiple nodules of up to {size}.",
        "Several nodules of the {other} lung, up to {size}.",
        "Round nodules, the largest {size}, are scattered in the {other} lung.",
    ),
    "pleural nodules": wordings(
        "Enhancing pleural nodules of up to {size} on the {side}.",
        "Nodular pleural thickening on the {side}, up to {size}.",
        "The {side} pleura is studded with enhancing nodules, largest {size}.",
        "Pleural nodules along the {side} hemithorax, {size}.",
        "On the {side} there are enhancing nodules of the pleura, up to {size}.",
    ),
    "malignant effusion": wordings(
        "Malignant {side} pleural effusion with positive cytology.",
        "{Side} pleural effusion, cytology positive for malignant cells.",
        "Pleural effusion on the {side}, malignant by cytology.",
        "Cytologically proven malignant effusion on the {side}.",
        "The {side} pleural effusion is malignant at cytology.",
    ),
    "pericardial nodules": wordings(
        "Enhancing pericardial nodules with effusion.", "Nodular enhancing pericardium, up to {size}, with effusion.",
        "Pericardial nodules of up to {size} and pericardial fluid.", "Pericardial effusion with enhancing nodules.",
        "Nodules of the pericardium, {size}, with effusion.",
    ),
    "liver metastases": wordings(
        "Several hypoenhancing liver lesions with rim enhancement, up to {size}.",
        "In the liver multiple ill-defined rim-enhancing lesions, largest {size}.",
        "Rim-enhancing hypodense lesion of the liver, {size}.",
        "The liver shows new rim-enhancing lesions of up to {size}.",
        "Ill-defined liver lesions with rim enhancement measuring up to {size}.",
    ),
    "bone destruction": wordings(
        "Lytic destruction of the {bone} with soft tissue.",
        "Lytic lesion of {size} in the {bone} with cortical destruction.",
        "The {bone} contains a destructive lytic lesion of {size}.", "Destructive lesion of the {bone}, {size}.",
        "A {size} lytic lesion destroys the {bone}.",
    ),
    "brain lesion": wordings(
        "Included brain sections show a ring-enhancing lesion of {size} with edema.",
        "Ring-enhancing brain lesion of {size} with vasogenic edema.",
        "In the included brain an enhancing {size} lesion with edema.",
        "Enhancing lesion of the brain, {size}, with surrounding edema.",
        "A {size} ring-enhancing lesion with edema lies in the included brain.",
    ),
    "satellite nodule": wordings(
        "Satellite nodule of {size} in the same lobe.",
        "A {size} satellite nodule lies beside the tumor in the same lobe.",
        "In the same lobe as the tumor, a {size} satellite nodule.",
        "One satellite nodule, {size}, within the lobe of the primary.",
        "Within the same lobe there is a satellite nodule of {size}.",
    ),
    "granuloma": wordings(
        "Calcified granuloma of {size} in the {other} lung.",
        "In the {other} lung a completely calcified {size} granuloma.",
        "The {other} lung contains a benign calcified granuloma, {size}.",
        "Benign calcified nodule of {size}, {other} lung.",
        "A {size} calcified benign granuloma of the {other} lung.",
    ),
    "hepatic cyst": wordings(
        "Simple hepatic cyst of {size}.", "Water-density cyst of the liver, {size}.",
        "In the liver a {size} simple cyst, benign.",
        "The liver contains a {size} cyst of fluid density.", "A {size} benign cyst of the liver.",
    ),
    "hemangioma": wordings(
        "Hepatic hemangioma of {size} with nodular peripheral enhancement and fill-in.",
        "Typical hemangioma of the liver, {size}.",
        "In the liver a {size} hemangioma, benign, with nodular fill-in.",
        "The liver contains a typical {size} hemangioma.",
        "Benign hemangioma of the liver, {size}.",
    ),
    "bone island": wordings(
        "Sclerotic bone island of {size} in the {bone}, benign.",
        "The {bone} contains a benign bone island of {size}.",
        "Bone island of the {bone}, {size}.", "A {size} bone island is seen in the {bone}, benign.",
        "Benign sclerotic island of {size} in the {bone}.",
    ),
    "degeneration": wordings(
        "Degenerative changes of the thoracic spine.", "Osteophytes and disc degeneration in the thoracic spine.",
        "Thoracic spondylosis, degenerative.", "The spine shows degenerative change only.",
        "Degenerative endplate change of the spine.",
    ),
    "old fracture": wordings(
        "Healed old rib fracture on the {side}.", "Old healed fracture of a {other} rib.",
        "On the {side} a healed rib fracture with callus.",
        "Remote rib fracture on the {other} side, healed.", "A healed fracture of a {side} rib.",
    ),
    "adrenal nodule": wordings(
        "{Other} adrenal nodule of {size} with unenhanced attenuation of {attenuation} HU.",
        "The {other} adrenal gland has a {size} nodule measuring {attenuation} HU without contrast.",
        "Nodule of the {other} adrenal, {size}, {attenuation} HU unenhanced.",
        "A {size} nodule in the {other} adrenal gland measures {attenuation} HU on unenhanced images.",
        "In the {other} adrenal a {size} nodule, unenhanced attenuation {attenuation} HU.",
    ),
}  # fmt: skip
NOTHING_DISTANT = wordings(
    "No suspicious liver, adrenal or bone lesion.",
    "Liver, adrenal glands and skeleton without suspicious lesion.",
    "No suspicious lesion in the upper abdomen or skeleton.",
    "Nothing suspicious in the liver, adrenals or bones.",
    "Upper abdomen and skeleton are free of suspicious lesions.",
)
CLEAN = wordings(
    "No suspicious {organ} lesion.",
    "Negative for {organ} metastasis.",
    "No {organ} metastasis is seen.",
    "There is no suspicious {organ} lesion.",
    "No evidence of {organ} metastasis.",
)
REGION = Region(
    organs=("heart", "thoracic aorta", "esophagus", "thyroid gland", "trachea", "spleen", "pancreas", "kidneys",
    "stomach",
            "pulmonary arteries", "chest wall", "gallbladder"),
    absent=("pneumothorax", "pulmonary embolism", "pneumonia", "aortic aneurysm", "interstitial fibrosis", "ascites",
            "hiatal hernia", "bronchiectasis", "atelectasis"),
    incidental=("simple cyst of the right kidney", "thyroid cyst", "lipoma of the chest wall", "accessory spleen"),
)  # fmt: skip
LOBES = {"right": ("upper", "middle", "lower"), "left": ("upper", "lower")}
_PLACES = [
    (station, side)
    for station in (*NEAR, *MEDIASTINAL, *NECK, *ELSEWHERE)
    for side in (("",) if station == "subcarinal" else ("right", "left"))
]
ORGANS = {
    "liver": ("liver metastases", "hepatic cyst", "hemangioma"),
    "adrenal": ("adrenal nodule",),
    "bone": ("bone destruction", "bone island", "degeneration", "old fracture"),
    "brain": ("brain lesion",),
    "pleural": ("pleural nodules", "malignant effusion"),
}
"""Organs and the findings in them; of an organ without any it can be said that it has none."""
BONES = ("sixth thoracic vertebra", "first lumbar vertebra", "sternum", "right scapula", "left fourth rib")
REASONS = ("newly diagnosed lung cancer, staging", "lung mass on radiograph", "bronchial carcinoma, biopsy-proven",
           "hemoptysis and weight loss, lung tumor", "lung adenocarcinoma before treatment",
           "squamous cell carcinoma of the lung, staging")  # fmt: skip


def cancer(writer: Writer) -> Cancer:
    """A lung cancer, all N stages and both M stages alike likely and independent of each other."""
    side = writer.one(("right", "left"))
    n, m = writer.one(("N0", "N1", "N2", "N3")), writer.one(("M0", "M1"))
    nodes = until(lambda: _nodes(writer), lambda drawn: n_stage(side, drawn) == n)
    distant = until(lambda: _distant(writer, m), lambda drawn: m_stage(drawn) == m)
    return Cancer(side, writer.one(LOBES[side]), writer.random.randint(12, 78), nodes, distant)


def _nodes(writer: Writer) -> tuple[Node, ...]:
    """Up to three nodes of different stations, half of them small, some benign or smaller than before."""
    return tuple(_node(writer, *place) for place in writer.random.sample(_PLACES, writer.random.randint(0, 3)))


def _node(writer: Writer, station: str, side: str) -> Node:
    if station == "axillary" or writer.chance(0.1):
        benign = "fatty hilum" if station == "axillary" else "calcified"
        return Node(station, side, writer.random.randint(6, 18), benign)
    if writer.chance(0.5):
        return Node(station, side, writer.random.randint(ENLARGED, 29))
    before = writer.random.randint(12, 24) if writer.chance(0.3) else 0
    return Node(station, side, writer.random.randint(4, ENLARGED - 1), before=before)


def _distant(writer: Writer, stage: str) -> tuple[Distant, ...]:
    harmless = writer.some((*HARMLESS, "adrenal nodule"), 0, 2)
    found = [Distant(kind, writer.random.randint(-8, 9) if kind == "adrenal nodule" else 0) for kind in harmless]
    if stage == "M1":
        free = [kind for kind in (*METASTATIC, "adrenal nodule") if kind not in harmless]
        for kind in writer.some(free, 1, 2):
            found.append(Distant(kind, writer.random.randint(22, 58) if kind == "adrenal nodule" else 0))
    writer.random.shuffle(found)
    return tuple(found)


def describe(writer: Writer, seen: Cancer) -> str:
    facts = {"side": seen.side, "Side": upper(seen.side), "lobe": seen.lobe}
    nodes = [_say_node(writer, node) for node in seen.nodes]
    distant = [_say_distant(writer, seen.side, finding) for finding in seen.distant]
    findings = [writer.say(PRIMARY, size=size(writer, seen.size), **facts), *(nodes or [writer.say(NO_NODES)])]
    kinds = {finding.kind for finding in seen.distant}
    clean = [organ for organ, found in ORGANS.items() if kinds.isdisjoint(found)]
    distant += [writer.say(CLEAN, organ=organ) for organ in writer.some(clean, 0, 2)] if distant else []
    writer.random.shuffle(distant)
    findings += distant or [writer.say(NOTHING_DISTANT)]
    return written(
        writer,
        Case("", EXAM, TECHNIQUE, writer.one(REASONS), findings, REGION, ages=(45, 86), compared=_compared(seen)),
    )


def _compared(seen: Cancer) -> bool | None:
    return True if any(node.before for node in seen.nodes) else None


def _say_node(writer: Writer, node: Node) -> str:
    place = f"{node.side} {node.station}".strip()
    plain = LARGE_NODE if node.short_axis >= ENLARGED else NODE_BEFORE if node.before else SMALL_NODE
    table = {"calcified": CALCIFIED, "fatty hilum": FATTY}.get(node.benign, plain)
    return writer.say(table, place=place, Place=upper(place), axis=node.short_axis, before=node.before)


def _say_distant(writer: Writer, side: str, finding: Distant) -> str:
    other = "left" if side == "right" else "right"
    return writer.say(
        DISTANT[finding.kind],
        side=side,
        Side=upper(side),
        other=other,
        Other=upper(other),
        bone=writer.one(BONES),
        attenuation=finding.attenuation,
        size=size(writer, writer.random.randint(6, 31)),
    )


def n_staging(writer: Writer) -> Item:
    """A staging CT and its N stage; tagged with its M stage."""
    seen = cancer(writer)
    answer = stage(n_stage(seen.side, seen.nodes))
    return Item({"report": describe(writer, seen)}, answer, (f"m:{m_stage(seen.distant)}",))


def m_staging(writer: Writer) -> Item:
    """A staging CT and its M stage; tagged with its N stage."""
    seen = cancer(writer)
    answer = stage(m_stage(seen.distant))
    return Item({"report": describe(writer, seen)}, answer, (f"n:{n_stage(seen.side, seen.nodes)}",))


def report(writer: Writer) -> str:
    """The report of any staging CT, without the answer."""
    return describe(writer, cancer(writer))


MAKERS: dict[str, Maker] = {"n_staging": n_staging, "m_staging": m_staging}
