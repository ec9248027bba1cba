"""CAD-RADS 2.0 (stenosis) and Lung-RADS v2022."""

from radlite.data.sample.rads_case import Case, Region, size, until, upper
from radlite.data.sample.wording import Writer, wordings
from radlite.rads.rules import cad_rads as cad_rules
from radlite.rads.rules import lung_rads as lung_rules
from radlite.rads.rules.cad_rads import Coronaries
from radlite.rads.rules.lung_rads import Course, Kind, Screening

CAD_CATEGORIES = ("CAD-RADS 0", "CAD-RADS 1", "CAD-RADS 2", "CAD-RADS 3", "CAD-RADS 4A", "CAD-RADS 4B", "CAD-RADS 5",
                  "CAD-RADS N")  # fmt: skip
LUNG_CATEGORIES = ("Lung-RADS 0", "Lung-RADS 1", "Lung-RADS 2", "Lung-RADS 3", "Lung-RADS 4A", "Lung-RADS 4B",
                   "Lung-RADS 4X")  # fmt: skip

_KINDS: tuple[Kind, ...] = ("solid", "part-solid", "ground-glass")
_COURSES: tuple[Course, ...] = ("baseline", "baseline", "new", "growing", "stable")

CAD_EXAM = wordings(
    "Coronary CT angiography", "CT angiography of the coronary arteries", "Cardiac CTA",
    "Coronary CTA with calcium score",
    "ECG-gated coronary CT angiogram",
)  # fmt: skip
CAD_TECHNIQUE = wordings(
    "Prospective ECG gating, sublingual nitroglycerin, metoprolol for rate control.",
    "ECG-gated acquisition after beta blocker and nitrates.",
    "Dual-source scanner, prospective triggering, nitroglycerin given.",
    "Gated CT after intravenous contrast; heart rate 58 per minute.",
)
VESSEL = wordings(
    "{Artery}: {kind} plaque with {percent} % stenosis.", "{Artery}: {percent} % stenosis by {kind} plaque.",
    "{Kind} plaque narrows the {artery} by {percent} %.", "The {artery} has {kind} plaque, {percent} % stenosis.",
    "In the {artery} a {percent} % stenosis due to {kind} plaque.",
)  # fmt: skip
CLEAR = wordings(
    "{Artery}: no plaque, no stenosis.", "The {artery} is free of plaque.", "No plaque in the {artery}.",
    "{Artery} patent without plaque.", "{Artery}: normal, without any plaque.",
)  # fmt: skip
OCCLUDED = wordings(
    "{Artery}: total occlusion, 100 %.", "The {artery} is totally occluded (100 %).",
    "Complete occlusion of the {artery}, 100 %.", "In the {artery} there is total occlusion, 100 %.",
)  # fmt: skip
UNREADABLE = wordings(
    "The {segment} cannot be evaluated because of motion.", "{Segment} nondiagnostic due to motion artifact.",
    "Motion artifact makes the {segment} nondiagnostic.", "The {segment} is not assessable, blurred by motion.",
)  # fmt: skip
CALCIUM = wordings(
    "Agatston score {score}.", "Calcium score of {score}.", "Total Agatston calcium score: {score}.",
    "The coronary calcium score is {score}.",
)  # fmt: skip
HEART = Region(
    organs=("pericardium", "left atrium", "right ventricle", "ascending aorta", "pulmonary arteries", "left ventricle",
            "mitral valve", "lung bases", "esophagus", "thoracic spine", "coronary sinus"),
    absent=("pericardial effusion", "left atrial thrombus", "pulmonary embolism", "pleural effusion",
    "aortic dissection",
            "mediastinal lymphadenopathy", "septal defect"),
    incidental=("hiatal hernia", "hepatic cyst", "calcified lung granuloma", "pericardial cyst",
    "bone island of a vertebra"),
)  # fmt: skip
_ARTERIES = ("left main", "LAD", "circumflex", "right coronary artery")
_SEGMENTS = ("distal right coronary artery", "mid circumflex", "second diagonal branch", "distal LAD")


def cad_rads(writer: Writer, category: str) -> Case:
    """A coronary CT angiography, one sentence for each artery."""
    # Means for the worst vessel, so that few draws are rejected.
    top = {"CAD-RADS 0": 0, "CAD-RADS 1": 24, "CAD-RADS 2": 49, "CAD-RADS 3": 69, "CAD-RADS N": 49}.get(category, 99)

    def percent(limit: int) -> int:
        return writer.random.randint(1, limit // 5 or 1) * 5 if limit >= 10 and writer.chance(0.6) else 0

    def draw() -> Coronaries:
        left_main = percent(min(top, writer.random.choice((30, 30, 80))))
        vessels = [percent(top) for _ in range(3)]
        if category == "CAD-RADS 5":
            vessels[writer.random.randrange(3)] = 100
        if category == "CAD-RADS 4B" and writer.chance(0.5):
            vessels = [writer.random.randint(14, 19) * 5 for _ in range(3)]
        nondiagnostic = category == "CAD-RADS N" or (top > 49 and writer.chance(0.2))
        lad, circumflex, right = vessels
        return Coronaries(left_main, lad, circumflex, right, nondiagnostic)

    seen = until(draw, lambda drawn: cad_rules.decide(drawn).category == category)
    findings = [
        _vessel(writer, artery, value)
        for artery, value in zip(_ARTERIES, (seen.left_main, seen.lad, seen.circumflex, seen.right), strict=True)
    ]
    if seen.nondiagnostic:
        segment = writer.one(_SEGMENTS)
        findings.append(writer.say(UNREADABLE, segment=segment, Segment=upper(segment)))
    plaque = max(seen.left_main, seen.lad, seen.circumflex, seen.right) > 0
    score = 0 if not plaque else writer.random.randint(2, 620)
    if writer.chance(0.5):
        findings.insert(0, writer.say(CALCIUM, score=score))
    reason = writer.one(("atypical chest pain", "stable chest pain", "dyspnea on exertion", "equivocal stress test",
                         "family history of coronary disease"))  # fmt: skip
    return Case(
        category,
        CAD_EXAM,
        CAD_TECHNIQUE,
        reason,
        findings,
        HEART,
        prior="coronary CT",
        priors=CAD_CATEGORIES[:4],
    )


def _vessel(writer: Writer, artery: str, percent: float) -> str:
    facts = {"artery": artery, "Artery": upper(artery)}
    if percent in (0, 100):
        return writer.say(OCCLUDED if percent else CLEAR, **facts)
    kind = writer.one(("calcified", "mixed", "noncalcified", "partially calcified"))
    return writer.say(VESSEL, percent=percent, kind=kind, Kind=upper(kind), **facts)


LUNG_EXAM = wordings(
    "Low-dose CT of the chest for lung cancer screening", "Lung cancer screening CT", "LDCT chest, screening",
    "Screening low-dose chest CT", "Low-dose screening CT of the lungs",
)  # fmt: skip
LUNG_TECHNIQUE = wordings(
    "Low-dose helical acquisition without contrast, 1 mm sections.", "Unenhanced low-dose CT, CTDIvol below 3 mGy.",
    "Thin-section low-dose CT in full inspiration, no contrast.", "Low-dose technique, 1.25 mm slices, no contrast.",
)  # fmt: skip
NODULE = wordings(
    "{Course} {what} in the {lobe}, mean diameter {size}{extra}.",
    "In the {lobe} there is a {course} {what} of {size}{extra}.",
    "The {lobe} shows a {course} {what}, {size}{extra}.",
    "A {course} {what} measuring {size} lies in the {lobe}{extra}.",
    "{Lobe}: {course} {what}, mean diameter {size}{extra}.",
)  # fmt: skip
NO_NODULE = wordings(
    "No lung nodule.", "No pulmonary nodule is seen in either lung.", "Both lungs are free of nodules.",
    "The lungs contain no nodule.", "Neither lung shows a nodule.",
)  # fmt: skip
BENIGN_NODULE = wordings(
    "Completely calcified granuloma of {size} in the {lobe}.", "In the {lobe} a {size} centrally calcified nodule.",
    "The {lobe} contains a {size} nodule with macroscopic fat.",
    "A {size} nodule with popcorn calcification in the {lobe}.",
    "Fully calcified nodule, {size}, {lobe}.",
)  # fmt: skip
INFECTION = wordings(
    "Multifocal consolidation and tree-in-bud opacities in the {lobe}, suggesting acute infection.",
    "The {lobe} has patchy new consolidation, likely an infection.",
    "Acute inflammatory consolidation of the {lobe}, probably pneumonia.",
    "In the {lobe} segmental consolidation and tree-in-bud change, infectious in appearance.",
)
INCOMPLETE = wordings(
    "The {lobe} is only partly included; part of the lungs cannot be evaluated.",
    "Part of the lungs, the {lobe}, cannot be evaluated because of motion.",
    "The {lobe} is cut off and cannot be evaluated.",
    "Respiratory motion means the {lobe} cannot be evaluated.",
)
CHEST = Region(
    organs=("heart", "thoracic aorta", "esophagus", "thyroid gland", "chest wall", "airways", "upper abdomen",
            "thoracic spine", "pericardium", "adrenal glands", "pulmonary artery"),
    absent=("pleural effusion", "pneumothorax", "pericardial effusion", "aortic aneurysm", "rib fracture",
    "pleural plaque",
            "hiatal hernia", "emphysema"),
    incidental=("hepatic cyst", "cyst of the right kidney", "thyroid cyst", "bone island of a rib", "pericardial cyst"),
)  # fmt: skip
LOBES = ("right upper lobe", "middle lobe", "right lower lobe", "left upper lobe", "left lower lobe", "lingula")
_SUSPICIOUS = (", with spiculated margin", ", spiculated", ", with enlarged mediastinal nodes")


def lung_rads(writer: Writer, category: str) -> Case:
    """A screening CT with one nodule, or none."""
    length, nodule = until(lambda: _draw(writer, category), lambda drawn: category == "Lung-RADS 0" or
                           lung_rules.decide(drawn[1]).category == category)  # fmt: skip
    lobe = writer.one(LOBES)
    facts = {"lobe": lobe, "Lobe": upper(lobe)}
    compared: bool | None = None
    if category == "Lung-RADS 0":
        text = writer.say(INFECTION if writer.chance(0.5) else INCOMPLETE, **facts)
    elif nodule.kind == "none":
        text = writer.say(NO_NODULE)
    elif nodule.kind == "benign":
        text = writer.say(BENIGN_NODULE, size=size(writer, length), **facts)
    else:
        compared = nodule.course != "baseline"
        extra = f", solid component {nodule.core} mm" if nodule.kind == "part-solid" else ""
        extra += writer.one(_SUSPICIOUS) if nodule.suspicious else ""
        what = f"{nodule.kind} nodule"
        text = writer.say(
            NODULE,
            course=nodule.course,
            Course=upper(nodule.course),
            what=what,
            size=f"{length} mm",
            extra=extra,
            **facts,
        )
    findings = [text]
    if category != "Lung-RADS 1" and writer.chance(0.25):
        facts["lobe"] = writer.one([one for one in LOBES if one != lobe])
        facts["Lobe"] = upper(facts["lobe"])
        granuloma = writer.say(BENIGN_NODULE, size=size(writer, writer.random.randint(4, 15)), **facts)
        findings.insert(writer.random.randint(0, 1), granuloma)
    packs = writer.random.randint(20, 60)
    reason = writer.one((f"lung cancer screening, {packs} pack-years", f"screening, current smoker, {packs} pack-years",
                         f"annual screening, former smoker, {packs} pack-years"))  # fmt: skip
    return Case(
        category,
        LUNG_EXAM,
        LUNG_TECHNIQUE,
        reason,
        findings,
        CHEST,
        prior="screening CT",
        priors=LUNG_CATEGORIES[1:4],
        compared=compared,
    )


def _draw(writer: Writer, category: str) -> tuple[int, Screening]:
    kind = writer.one(("none", "benign") if category == "Lung-RADS 1" else _KINDS)
    if kind == "none":
        return 0, Screening(kind)
    if kind == "benign":
        length = writer.random.randint(4, 18)
        return length, Screening(kind, length)
    length = writer.random.randint(6, 42) if kind == "ground-glass" else writer.random.randint(3, 26)
    core = writer.random.randint(1, max(1, length - 2)) if kind == "part-solid" else 0
    course = writer.one([one for one in _COURSES if (kind, one) != ("ground-glass", "growing")])
    suspicious = category == "Lung-RADS 4X" and kind != "ground-glass"
    return length, Screening(kind, length, core, course, suspicious=suspicious)
