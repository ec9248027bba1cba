"""What chest reports are made of: the findings that can be there, and the ways to say them.

Marks inside the wordings carry what an annotator would mark: `[heart|a]` is anatomy, `[effusion|+]` an observation
that is present, `-` absent, `?` uncertain, and `[unchanged|c]` the words that say how something changed. Size and
severity are left unmarked. Marks are read and removed after the report is composed.
"""

import re
from dataclasses import dataclass
from typing import Final

from radlite.data.sample.wording import Wordings, wordings

MARK: Final = re.compile(r"\[([^\[\]|]+)\|([a+?cm-])\]")
LOBES: Final = ("right upper lobe", "right middle lobe", "right lower lobe", "left upper lobe", "left lower lobe")
_RIBS = tuple(f"{side} {number} rib" for side in ("left", "right")
              for number in ("third", "fourth", "fifth", "sixth", "seventh", "eighth"))  # fmt: skip
_SIDES = ("left", "right")
_SIZES = ("small", "moderate", "large")
_DEGREES = ("mild", "moderate", "severe")
_ALL = ("New Finding", "Worsened", "Improved", "Resolved", "No Change")
_LASTING = ("Worsened", "Improved", "No Change")


@dataclass(frozen=True, slots=True)
class Kind:
    """A sort of finding."""

    label: str
    """Its CheXpert class; empty for a group of findings, of which only the NLI task speaks."""
    name: str
    """Its name in an impression."""
    terms: tuple[str, ...]
    region: str
    places: tuple[str, ...] = ()
    grades: tuple[str, ...] = ()
    millimetres: tuple[int, int] | None = None
    changes: tuple[str, ...] = _ALL
    countable: bool = False
    acute: bool = False


KINDS: Final[dict[str, Kind]] = {
    # In the order of an impression: what matters first stands first.
    "pneumothorax": Kind("Pneumothorax", "pneumothorax", ("pneumothorax",), "pleura", _SIDES, _SIZES,
                         countable=True, acute=True),
    "pneumonia": Kind("Pneumonia", "pneumonia", ("pneumonia",), "lung", LOBES, acute=True),
    "consolidation": Kind("Consolidation", "consolidation", ("consolidation", "airspace consolidation"), "lung", LOBES,
                          ("small", "large"), acute=True),
    "edema": Kind("Edema", "pulmonary edema", ("pulmonary edema", "edema", "lung edema"), "lung", (), _DEGREES,
                  acute=True),
    "effusion": Kind("Pleural Effusion", "pleural effusion", ("pleural effusion", "effusion"), "pleura",
                     (*_SIDES, "bilateral"), _SIZES, countable=True, acute=True),
    "opacity": Kind("Lung Opacity", "opacity", ("opacity", "airspace opacity", "infiltrate"), "lung", LOBES,
                    ("faint", "dense"), countable=True, acute=True),
    "fracture": Kind("Fracture", "rib fracture", ("fracture",), "bone", _RIBS, ("displaced", "nondisplaced"),
                     changes=("New Finding", "No Change"), countable=True, acute=True),
    "mediastinum": Kind("Enlarged Cardiomediastinum", "mediastinal widening", ("mediastinal widening",), "heart", (),
                        _DEGREES, changes=_LASTING, acute=True),
    "mass": Kind("Lung Lesion", "lung mass", ("mass", "lung mass"), "lung", LOBES, (), (31, 85), _LASTING,
                 countable=True),
    "nodule": Kind("Lung Lesion", "pulmonary nodule", ("nodule", "pulmonary nodule", "lung nodule"), "lung", LOBES, (),
                   (3, 24), countable=True),
    "atelectasis": Kind("Atelectasis", "atelectasis", ("atelectasis",),
                        "lung", LOBES, ("minimal", "mild", "moderate")),
    "cardiomegaly": Kind("Cardiomegaly", "cardiomegaly", ("cardiomegaly", "cardiac enlargement"), "heart", (), _DEGREES,
                         changes=_LASTING),
    "thickening": Kind("Pleural Other", "pleural thickening", ("pleural thickening",), "pleura",
                       _SIDES, ("minimal", "mild", "marked"), changes=("Worsened", "No Change")),
    "device": Kind("Support Devices", "support device", ("endotracheal tube", "central venous catheter", "PICC",
                   "nasogastric tube", "chest tube", "pacemaker"), "device", (), (), changes=(), countable=True),
    "pleural abnormality": Kind("", "pleural abnormality", ("pleural abnormality",), "pleura", changes=(),
                                countable=True),
    "lung abnormality": Kind("", "lung abnormality", ("lung abnormality",), "lung", changes=(), countable=True),
}  # fmt: skip

TIPS: Final[dict[str, tuple[str, ...]]] = {
    "endotracheal tube": (
        *(f"{n} cm above the [carina|a]" for n in (2, 3, 4, 5, 6)),
        "in the [right main bronchus|a]",
        "at the [thoracic inlet|a]",
    ),
    "central venous catheter": (
        "in the [superior vena cava|a]",
        "at the [cavoatrial junction|a]",
        "in the [right atrium|a]",
        "in the [brachiocephalic vein|a]",
    ),
    "PICC": ("in the [superior vena cava|a]", "in the [axillary vein|a]", "at the [cavoatrial junction|a]"),
    "nasogastric tube": ("in the [stomach|a]", "below the [diaphragm|a]", "in the [distal esophagus|a]"),
    "chest tube": ("at the [left apex|a]", "at the [right apex|a]", "at the [right base|a]", "at the [left base|a]"),
    "pacemaker": ("in the [right ventricle|a]", "in the [right atrium|a]"),
}

# A finding as a noun phrase. `grade` ends in a blank if there is one.
NOUN = wordings("{grade}[{term}|{mark}]")
SIDED = wordings(
    "{grade}[{place}|a] [{term}|{mark}]",
    "{grade}[{term}|{mark}] on the [{place}|a]",
    "{grade}[{term}|{mark}] on the [{place} side|a]",
    "{grade}[{term}|{mark}] in the [{place} hemithorax|a]",
)
BOTH = wordings(
    "{grade}[bilateral|a] [{term}s|{mark}]",
    "{grade}[{term}s|{mark}] on [both sides|a]",
    "[bilateral|a] {grade}[{term}s|{mark}]",
    "{grade}[{term}s|{mark}] in [both hemithoraces|a]",
)
LOBAR = wordings(
    "{grade}[{place}|a] [{term}|{mark}]",
    "{grade}[{term}|{mark}] in the [{place}|a]",
    "{grade}[{term}|{mark}] within the [{place}|a]",
    "{grade}[{term}|{mark}] located in the [{place}|a]",
)
RIB = wordings(
    "{grade}[{term}|{mark}] of the [{place}|a]",
    "{grade}[{place}|a] [{term}|{mark}]",
    "{grade}[{term}|{mark}] through the [{place}|a]",
    "{grade}[{term}|{mark}] involving the [{place}|a]",
)

PRESENT = wordings(
    "there {be} {it}.",
    "{it} {be} seen.",
    "{it} {be} present.",
    "{it} {be} noted.",
    "note is made of {it}.",
    "the study shows {it}.",
    "{it} {be} demonstrated.",
    "the images reveal {it}.",
)
UNCERTAIN = wordings(
    "there may be {it}.",
    "possible {bare}.",
    "{it} cannot be excluded.",
    "questionable {bare}.",
    "findings are suspicious for {it}.",
    "{it} {be} possible.",
    "{it} {be} not entirely ruled out.",
    "equivocal {bare}.",
)
ABSENT = wordings(
    "no {bare}.",
    "there is no {bare}.",
    "no {bare} is seen.",
    "no evidence of {bare}.",
    "the study shows no {bare}.",
    "no {bare} is identified.",
    "negative for {bare}.",
    "no sign of {bare} is found.",
)
CHANGED: Final[dict[str, Wordings]] = {
    "New Finding": wordings(
        "there {be} {a}[new|c] {bare}.",
        "{a}[new|c] {bare} {be} seen.",
        "{it} {have} [developed|c].",
        "interval [development|c] of {it}.",
        "{it} {be} [new|c] since the prior study.",
        "{it} {have} [appeared|c] since the last examination.",
        "since the prior study {it} {have} [arisen|c].",
        "{it} {be} [newly|c] visible.",
    ),
    "Worsened": wordings(
        "the {bare} {have} [increased|c].",
        "the {bare} {have} [worsened|c] since the prior study.",
        "[worsening|c] {bare}.",
        "the {bare} {have} [progressed|c].",
        "[increasing|c] {bare} compared with the prior study.",
        "interval [increase|c] in the {bare}.",
        "the {bare} {be} [more pronounced|c] than before.",
        "interval [progression|c] of the {bare}.",
    ),
    "Improved": wordings(
        "the {bare} {have} [decreased|c].",
        "the {bare} {have} [improved|c] since the prior study.",
        "[improving|c] {bare}.",
        "the {bare} {have} [diminished|c].",
        "[decreasing|c] {bare} compared with the prior study.",
        "interval [decrease|c] in the {bare}.",
        "the {bare} {be} [less pronounced|c] than before.",
        "partial [regression|c] of the {bare}.",
    ),
    "Resolved": wordings(
        "the {bare} {have} [resolved|c].",
        "the previously seen {bare} {have} [cleared|c].",
        "interval [resolution|c] of the {bare}.",
        "the {bare} of the prior study {be} [no longer|c] seen.",
        "the earlier {bare} {have} [disappeared|c].",
        "[resolved|c] {bare}.",
        "the prior {bare} {be} [gone|c].",
        "the former {bare} {have} [vanished|c].",
    ),
    "No Change": wordings(
        "the {bare} {be} [unchanged|c].",
        "[stable|c] {bare}.",
        "[unchanged|c] {bare}.",
        "the {bare} {be} [stable|c] compared with the prior study.",
        "[no change|c] in the {bare}.",
        "the {bare} {have} [not changed|c] since the prior study.",
        "the {bare} {be} [as before|c].",
        "the {bare} {be} [constant|c] over time.",
    ),
}
FORMER_SIZE = wordings(
    "it measured {former} on the prior study.",
    "the prior measurement was {former}.",
    "on the earlier examination it was {former}.",
    "this compares with {former} previously.",
)
OWN_WORDS: Final[dict[tuple[str, str], Wordings]] = {
    # Findings with idioms of their own, used beside the general wordings.
    ("cardiomegaly", "present"): wordings(
        "the [heart|a] is {adverb}[enlarged|+].",
        "the [cardiac silhouette|a] is {adverb}[enlarged|+].",
        "{adverb}[enlarged|+] [heart|a].",
        "the [cardiac shadow|a] is {adverb}[enlarged|+].",
    ),
    ("cardiomegaly", "absent"): wordings(
        "the [heart|a] is [normal|+] in size.",
        "[heart size|a] is [normal|+].",
        "the [cardiac silhouette|a] is of [normal|+] size.",
        "the [heart|a] is not [enlarged|-].",
        "[normal|+] [heart size|a].",
        "the [cardiac shadow|a] is [normal|+] in size.",
    ),
    ("mediastinum", "present"): wordings(
        "the [mediastinum|a] is {adverb}[widened|+].",
        "{adverb}[widened|+] [mediastinal contour|a].",
        "the [superior mediastinum|a] is {adverb}[widened|+].",
        "the [mediastinal silhouette|a] appears {adverb}[widened|+].",
    ),
    ("mediastinum", "absent"): wordings(
        "the [mediastinum|a] is not [widened|-].",
        "the [mediastinal contours|a] are [normal|+].",
        "[normal|+] [mediastinal contours|a].",
        "the [mediastinal width|a] is [normal|+].",
        "the [mediastinal silhouette|a] is [normal|+].",
    ),
    ("opacity", "absent"): wordings(
        "the [lungs|a] are [clear|+].",
        "both [lungs|a] are [clear|+].",
        "[clear|+] [lungs|a].",
        "the [lungs|a] are [clear|+] on both sides.",
        "the [lung fields|a] are [clear|+].",
    ),
    ("device", "absent"): wordings(
        "no [support devices|-] are seen.",
        "no [lines or tubes|-] are present.",
        "there are no [lines or tubes|-].",
        "no [indwelling devices|-].",
        "no [catheters or tubes|-] are visible.",
    ),
    ("device", "present"): wordings(
        "{an} [{term}|+] is in place.",
        "{an} [{term}|+] is present.",
        "the patient has {an} [{term}|+].",
        "{an} [{term}|+] is seen.",
        "{an} [{term}|+] projects over the [chest|a].",
        "{an} [{term}|+] remains visible.",
    ),
}
TIP = wordings(
    "the tip of the [{term}|+] is {tip}.",
    "{an} [{term}|+] is present with its tip {tip}.",
    "the [{term}|+] ends {tip}.",
    "[{term}|+] tip {tip}.",
    "the [{term}|+] terminates {tip}.",
    "{an} [{term}|+] is in place, the tip lies {tip}.",
)

# What else a report says: nothing here belongs to a CheXpert class.
NORMAL = (
    wordings("the [trachea|a] is [midline|+].", "[midline|+] [trachea|a].",
             "the [trachea|a] is central and [patent|+].",
             "the [tracheal air column|a] is [midline|+]."),
    wordings("the [diaphragm|a] is [smooth|+] on both sides.", "the [hemidiaphragms|a] are [well defined|+].",
             "both [hemidiaphragms|a] are [normal|+].", "the [diaphragmatic contours|a] are [sharp|+]."),
    wordings("the [soft tissues|a] are [unremarkable|+].", "[soft tissues|a] of the chest wall are [normal|+].",
             "the [chest wall|a] is [unremarkable|+].", "the [superficial tissues|a] are [unremarkable|+]."),
    wordings("the [hila|a] are [normal|+].", "[hilar contours|a] are [normal|+].",
             "both [hila|a] are [unremarkable|+].", "the [hilar shadows|a] are [normal|+] in size."),
    wordings("the [thoracic aorta|a] is [tortuous|+].", "[calcification|+] of the [aortic arch|a] is seen.",
             "the [aortic arch|a] shows [calcification|+].", "[atherosclerotic|+] [aortic knob|a]."),
    wordings("[degenerative changes|+] of the [thoracic spine|a].",
             "the [thoracic spine|a] shows [degenerative changes|+].",
             "there are [osteophytes|+] of the [thoracic spine|a].", "[spondylosis|+] of the [thoracic spine|a]."),
    wordings("the [pulmonary vasculature|a] is [normal|+].", "[normal|+] [pulmonary vessels|a].",
             "[pulmonary vascularity|a] is within [normal|+] limits.",
             "the [pulmonary vascular pattern|a] is [normal|+]."),
)  # fmt: skip
NORMAL_FILM = (
    *NORMAL,
    wordings("the [upper abdomen|a] is [unremarkable|+].", "visualized [upper abdomen|a] is [normal|+].",
             "the included [upper abdomen|a] is [unremarkable|+].", "[upper abdominal organs|a] are [normal|+]."),
    wordings("the [stomach bubble|a] is in [normal|+] position.",
             "[bowel gas|a] under the diaphragm is [unremarkable|+].",
             "the [gastric bubble|a] is [normal|+].", "the [gastric air bubble|a] is [unremarkable|+]."),
)  # fmt: skip
NORMAL_CT = (
    *NORMAL,
    wordings("the [central airways|a] are [patent|+].", "[patent|+] [trachea and main bronchi|a].",
             "the [main bronchi|a] are [patent|+].", "the [tracheobronchial tree|a] is [patent|+]."),
    wordings("no [pericardial effusion|-].", "there is no [pericardial effusion|-].",
             "no [pericardial effusion|-] is seen.", "the [pericardium|a] shows no [fluid|-]."),
    wordings("the [thyroid gland|a] is [normal|+].", "[thyroid|a] [unremarkable|+].",
             "the visible [thyroid|a] is [unremarkable|+].", "the imaged [thyroid tissue|a] is [homogeneous|+]."),
    wordings("the [esophagus|a] is [unremarkable|+].", "[normal|+] [esophagus|a].",
             "the [esophagus|a] is not [dilated|-].", "the [esophageal wall|a] is [normal|+]."),
    wordings("the [adrenal glands|a] are [normal|+].", "both [adrenal glands|a] are [unremarkable|+].",
             "no [adrenal|a] [enlargement|-].", "the [adrenals|a] have a [normal|+] shape."),
    wordings("a [cyst|+] of {size} mm is seen in the [liver|a].", "the [liver|a] contains a [cyst|+] of {size} mm.",
             "{size} mm simple [cyst|+] in the [liver|a].",
             "a hepatic [cyst|+] of {size} mm is noted in the [liver|a]."),
    wordings("a [renal cyst|+] measures {size} mm.", "a [renal cyst|+] of {size} mm lies in the [left kidney|a].",
             "{size} mm simple [renal cyst|+].", "the [left kidney|a] carries a [cyst|+], {size} mm."),
    wordings("[gallstones|+] are seen in the [gallbladder|a].", "the [gallbladder|a] contains [gallstones|+].",
             "[cholelithiasis|+] is noted.", "[calculi|+] lie in the [gallbladder|a]."),
    wordings("[coronary artery|a] [calcification|+] is present.", "there is [coronary artery|a] [calcification|+].",
             "[calcification|+] of the [coronary arteries|a].", "[calcified plaque|+] in the [coronary arteries|a]."),
    wordings("the [axillae|a] are [unremarkable|+].", "no [axillary|a] [lymphadenopathy|-].",
             "[axillary lymph nodes|a] are [normal|+].", "the [axillary regions|a] are [normal|+]."),
    wordings("the [spleen|a] is [normal|+] in size.", "[spleen|a] [unremarkable|+].",
             "the [spleen|a] is not [enlarged|-].", "the [splenic size|a] is [normal|+]."),
    wordings("the [great vessels|a] are [normal|+] in caliber.", "[normal|+] caliber of the [thoracic aorta|a].",
             "the [pulmonary trunk|a] is [normal|+] in caliber.", "the [aortic root|a] has a [normal|+] diameter."),
)  # fmt: skip
REMARKS = (
    wordings("image quality is adequate for interpretation.", "the quality of the study is adequate.",
             "the study is of diagnostic quality.", "technical quality is good throughout."),
    wordings("the patient is slightly rotated.", "there is slight rotation of the patient.",
             "positioning is satisfactory with slight rotation.", "alignment of the patient is slightly oblique."),
    wordings("the depth of inspiration is good.", "inspiration is adequate for this examination.",
             "the study was done in good inspiration.", "inspiratory effort is satisfactory."),
    wordings("motion does not limit the assessment.", "no relevant motion during the examination.",
             "the assessment is not limited by motion.", "breathing motion does not disturb the reading."),
    wordings("the examination was read together with the clinical data.",
             "clinical data were available for the reading.",
             "the request form was reviewed before reading.", "the reading took the clinical data into account."),
    wordings("the findings are described by region below and above.", "description follows the usual order of regions.",
             "regions are described one by one.", "each region is described in turn."),
)  # fmt: skip

EXAM_FILM = wordings(
    "Chest radiograph, two views.",
    "XR chest PA and lateral.",
    "Portable chest radiograph.",
    "Chest X-ray, frontal and lateral.",
    "AP chest radiograph.",
    "Radiography of the thorax in two planes.",
)
EXAM_CT = wordings(
    "CT of the chest without contrast.",
    "CT chest with intravenous contrast.",
    "Chest CT.",
    "Computed tomography of the thorax.",
    "CT thorax, contrast enhanced.",
    "Multidetector CT examination of the thorax.",
)
TECHNIQUE_FILM = wordings(
    "Digital radiographs of the chest were obtained.",
    "Radiographs of the chest were acquired with standard technique.",
    "Conventional radiography.",
    "Chest radiographs were taken at 120 kV.",
    "Digital detector with standard settings.",
    "Flat-panel exposures of the thorax at high voltage.",
)
TECHNIQUE_CT = wordings(
    "Helical images were acquired through the chest with multiplanar reformats.",
    "Axial images of the thorax with coronal and sagittal reconstructions.",
    "Multidetector CT of the chest was performed with thin sections.",
    "Thin-section volumetric acquisition from the lung apices to the adrenal glands.",
    "CT images were obtained through the thorax in a single breath hold.",
    "Volume data set of the thorax, reformatted in three planes.",
)
COMPARED = wordings(
    "Chest radiograph of {date}.",
    "Prior study dated {date}.",
    "{date}.",
    "Prior chest imaging from {date}.",
    "Comparison is made with the study of {date}.",
    "The examination of {date} was at hand.",
)
HISTORY = wordings(
    "{who} with {symptom}.",
    "{who} presenting with {symptom}.",
    "{who}, {symptom}.",
    "{first}. {who}.",
    "{who}; {symptom} for {days} days.",
    "{who} suffering from {symptom}.",
    "{who} complaining of {symptom}.",
)
ASKED = wordings(
    "Rule out {what}.",
    "Evaluate for {what}.",
    "Question of {what}.",
    "Clinical concern for {what}.",
    "Suspected {what}.",
    "Query {what}.",
)
PAST = wordings(
    "History of {what} in {year}.",
    "Treated for {what} in {year}.",
    "Past medical history includes {what}.",
    "Known {what} on an outside study in {year}.",
    "Admitted with {what} in {year}.",
    "Earlier records of {year} mention {what}.",
)
SYMPTOMS: Final = ("cough", "fever", "chest pain", "shortness of breath", "worsening cough", "increasing dyspnea",
                   "weakness",
                   "new onset chest pain", "rib pain", "productive cough and fever", "hypoxia", "weight loss",
                   "improving cough", "unchanged back pain", "wheezing")  # fmt: skip

QUESTIONS: Final[dict[str, Wordings]] = {
    "size": wordings("What is the size of the {it}?", "How large is the {it}?", "What does the {it} measure?",
                     "Give the size of the {it}.", "What are the dimensions of the {it}?", "How big is the {it} now?"),
    "former size": wordings("What was the size of the {it} on the prior study?", "How large was the {it} before?",
                            "What did the {it} measure previously?", "Give the prior size of the {it}.",
                            "What was the earlier measurement of the {it}?",
                            "How big was the {it} at the last examination?"),
    "location": wordings("Where is the {it}?", "Which lobe contains the {it}?", "What is the location of the {it}?",
                         "In which lobe is the {it}?", "Where is the {it} located?",
                         "Which part of the lung has the {it}?"),
    "side": wordings("On which side is the {it}?", "Which side is the {it} on?", "What is the laterality of the {it}?",
                     "Is the {it} left, right or bilateral?", "Name the side of the {it}.",
                     "Which hemithorax has the {it}?"),
    "severity": wordings("How severe is the {it}?", "What is the severity of the {it}?", "How marked is the {it}?",
                         "What degree of {it} is described?", "Grade the {it}.", "To what extent is there {it}?"),
    "presence": wordings("Is there {it}?", "Does the report describe {it}?", "Is {it} present?",
                         "Does the patient have {it}?", "Was {it} seen?", "Did the radiologist find {it}?"),
    "tip": wordings("Where is the tip of the {it}?", "Where does the {it} end?",
                    "What is the position of the {it} tip?",
                    "Where does the tip of the {it} lie?", "Give the tip position of the {it}.",
                    "At what level does the {it} stop?"),
    "change": wordings("How has the {it} changed?", "What is the change of the {it} since the prior study?",
                       "How does the {it} compare with the prior study?", "How is the course of the {it} described?",
                       "What happened to the {it} since the prior study?", "How did the {it} evolve?"),
}  # fmt: skip
