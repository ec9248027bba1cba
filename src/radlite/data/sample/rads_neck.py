"""TI-RADS by ACR points (2017), and NI-RADS for the primary site and the neck (2018)."""

import functools
import itertools

from radlite.data.sample.rads_case import Case, Region, grouped, pick, size, upper
from radlite.data.sample.wording import Writer, wordings
from radlite.rads.rules import ni_rads as ni_rules
from radlite.rads.rules import ti_rads as ti_rules
from radlite.rads.rules.ni_rads import Neck, Primary, Surveillance
from radlite.rads.rules.ti_rads import Echogenicity, Focus, Margin, Nodule, Shape

TI_CATEGORIES = tuple(f"TI-RADS {level}" for level in range(1, 6))
_ECHOES: tuple[Echogenicity, ...] = ("hyperechoic", "isoechoic", "hypoechoic")
_SHAPES: tuple[Shape, ...] = ("wider than tall", "taller than wide")
_SMOOTH: tuple[Margin, ...] = ("smooth", "ill-defined")
_MARGINS: dict[Margin, str] = {
    "smooth": "smooth margin", "ill-defined": "ill-defined margin", "lobulated": "lobulated margin",
    "irregular": "irregular margin", "extrathyroidal extension": "extrathyroidal extension",
}  # fmt: skip
_FOCI: dict[tuple[Focus, ...], str] = {(): "no echogenic foci", **{(focus,): focus for focus in ti_rules.FOCI}}
_NODULES = [
    Nodule("cystic", "anechoic", "wider than tall", "smooth"),
    Nodule("cystic", "anechoic", "wider than tall", "smooth", ("large comet-tail artifacts",)),
    Nodule("spongiform", "isoechoic", "wider than tall", "smooth"),
    Nodule("spongiform", "hyperechoic", "wider than tall", "smooth"),
    *(
        Nodule("mixed cystic and solid", echo, "wider than tall", margin, foci)
        for echo, margin, foci in itertools.product(_ECHOES, _SMOOTH, _FOCI)
    ),
    *(Nodule("solid", *facts) for facts in itertools.product((*_ECHOES, "very hypoechoic"), _SHAPES, _MARGINS, _FOCI)),
]


@functools.cache
def _nodules() -> dict[str, list[list[Nodule]]]:
    def kind(nodule: Nodule) -> tuple[str, str]:
        return nodule.composition, nodule.shape

    return grouped(_NODULES, lambda nodule: ti_rules.decide(nodule).category, kind)


THYROID_EXAM = wordings(
    "Ultrasound of the thyroid", "Thyroid ultrasound", "Thyroid sonogram", "Neck ultrasound, thyroid",
    "Sonography of the thyroid gland", "US thyroid",
)  # fmt: skip
THYROID_TECHNIQUE = wordings(
    "High-frequency linear transducer, two planes, with color Doppler.",
    "Gray-scale and Doppler scanning with a linear 14 MHz probe.",
    "Transverse and longitudinal scanning of both lobes and the isthmus.",
    "Linear high-frequency probe, longitudinal and transverse planes.",
)
NODULE = wordings(
    "{Place}: nodule of {size}, {composition}, {echogenicity}, {shape}, {margin}, {foci}.",
    "There is a {size} nodule in the {place}. It is {composition}, {echogenicity}, {shape}, with {margin} and {foci}.",
    "A {composition} {echogenicity} nodule of {size} lies in the {place}; shape {shape}, {margin}, {foci}.",
    "In the {place} a {size} {composition} nodule, {echogenicity}, {shape}. {Margin}; {foci}.",
    "{Place} nodule, {size}. Composition {composition}. Echogenicity: {echogenicity}. Shape: {shape}. {Margin}. "
    "{Foci}.",
    "Nodule in the {place}, {size}: {echogenicity} and {composition}, {shape}, {margin}; {foci}.",
)
SECOND = wordings(
    "A second nodule of {size} in the {place} is {kind}.",
    "The {place} has another nodule, {kind}, of {size}.",
    "Further {kind} nodule in the {place}, {size}.",
    "Also in the {place}, a {size} nodule that is {kind}.",
)
_PLACES = ("upper pole of the right lobe", "mid right lobe", "lower pole of the right lobe",
"lower pole of the left lobe",
           "mid left lobe", "upper pole of the left lobe", "isthmus")  # fmt: skip
THYROID = Region(
    organs=("parathyroid region", "cervical esophagus", "strap muscles", "trachea", "carotid arteries",
            "jugular veins", "submandibular glands", "parotid glands", "subcutaneous tissue"),
    absent=("enlarged cervical lymph node", "parathyroid enlargement", "tracheal deviation", "retrosternal extension",
            "venous thrombosis", "fluid collection in the neck", "thyroglossal duct cyst"),
    incidental=("lipoma of the neck", "reactive lymph node with a fatty hilum", "sebaceous cyst",
    "submandibular lymph node"),
)  # fmt: skip


def ti_rads(writer: Writer, category: str) -> Case:
    """A thyroid ultrasound; a second nodule, if any, is of the lowest category."""
    nodule = pick(writer, _nodules()[category])
    places = writer.some(_PLACES, 2, 2)
    margin, foci = _MARGINS[nodule.margin], _FOCI[nodule.foci]
    findings = [
        writer.say(
            NODULE,
            place=places[0],
            Place=upper(places[0]),
            size=size(writer, writer.random.randint(6, 42)),
            composition=nodule.composition,
            echogenicity=nodule.echogenicity,
            shape=nodule.shape,
            margin=margin,
            Margin=upper(margin),
            foci=foci,
            Foci=upper(foci),
        )
    ]
    if writer.chance(0.3):
        kind = writer.one(("spongiform", "purely cystic and anechoic"))
        findings.append(writer.say(SECOND, place=places[1], kind=kind, size=size(writer, writer.random.randint(4, 35))))
        if writer.chance(0.5):
            findings.reverse()
    reason = writer.one(("palpable neck nodule", "goiter", "nodule seen on CT of the chest",
    "follow-up of a thyroid nodule",
                         "raised TSH", "family history of thyroid disease"))  # fmt: skip
    return Case(
        category,
        THYROID_EXAM,
        THYROID_TECHNIQUE,
        reason,
        findings,
        THYROID,
        prior="thyroid ultrasound",
        priors=TI_CATEGORIES,
    )


PRIMARY = {
    "expected": Primary("expected change", "none"),
    "superficial": Primary("mucosal abnormality", "mild"),
    "deep": Primary("ill-defined tissue", "mild"),
    "mass": Primary("discrete mass", "intense", intense_enhancement=True, progressing=True),
    "proven": Primary("discrete mass", recurrence=True),
}
NECK = {
    "none": Neck("normal", "none"),
    "residual": Neck("residual", "mild"),
    "suspicious": Neck("enlarging", "intense", abnormal=True),
    "proven": Neck("enlarging", recurrence=True),
}
_SEEN = (("expected", "none"), ("expected", "residual"), ("expected", "suspicious"), ("superficial", "none"),
         ("deep", "none"), ("deep", "residual"), ("mass", "none"), ("mass", "suspicious"), ("proven", "none"),
         ("proven", "proven"))  # fmt: skip
"""Pairs of primary and neck that are common; the others are left out."""
_PAIRS = {ni_rules.decide(Surveillance(PRIMARY[primary], NECK[neck])).category: (primary, neck)
          for primary, neck in _SEEN}  # fmt: skip
NI_CATEGORIES = tuple(_PAIRS)


NI_EXAM = wordings(
    "CT of the neck with contrast and PET/CT", "PET/CT and contrast-enhanced CT of the neck",
    "Contrast-enhanced neck CT with FDG PET", "FDG PET/CT with diagnostic neck CT", "Neck CT with contrast, PET/CT",
)  # fmt: skip
NI_TECHNIQUE = wordings(
    "Contrast-enhanced CT from skull base to thoracic inlet, FDG PET 60 minutes after injection.",
    "Neck CT after intravenous contrast; PET acquired one hour after FDG.",
    "Axial CT with contrast and whole-body FDG PET.",
    "Thin-section neck CT with contrast combined with FDG PET.",
)
PRIMARY_SEEN = {
    "expected": wordings(
        "Expected changes after treatment at the {site}, without mass or FDG uptake.",
        "At the {site} only diffuse low-density mucosal edema and no uptake.",
        "Treatment changes at the {site}; no enhancing or FDG-avid tissue.",
        "The {site} shows smooth post-treatment change and no focal uptake.",
        "No abnormal enhancement or uptake at the treated {site}.",
    ),
    "superficial": wordings(
        "Focal superficial mucosal enhancement at the {site} with mild FDG uptake.",
        "At the {site} a focal mucosal surface enhancement, mild uptake, no deep mass.",
        "Mild focal FDG uptake confined to the mucosal surface of the {site}.",
        "Superficial mucosal nodularity of the {site} with mild focal uptake and no submucosal mass.",
        "The mucosal surface of the {site} has a focus of mild enhancement and uptake.",
    ),
    "deep": wordings(
        "Deep ill-defined soft tissue at the {site} with only mild enhancement and mild FDG uptake.",
        "At the {site} ill-defined deep soft tissue without discrete mass, mild uptake.",
        "Ill-defined submucosal soft tissue, mildly enhancing, at the {site}; mild FDG uptake.",
        "The {site} has deep, poorly defined soft tissue with mild uptake and no discrete nodule.",
        "Deep soft tissue of the {site} is ill-defined with mild differential enhancement and uptake.",
    ),
    "mass": wordings(
        "New discrete enhancing mass of {size} at the {site} with intense FDG uptake.",
        "At the {site} a new {size} discrete nodule, intensely enhancing and FDG-avid.",
        "A discrete {size} mass has appeared at the {site}, with intense focal uptake.",
        "The {site} contains a new discrete {size} nodule with intense uptake.",
        "Discrete nodule at the {site}, {size}, enlarging, with intense FDG uptake.",
    ),
    "proven": wordings(
        "Biopsy-proven recurrence at the {site}, {size}.",
        "At the {site} the pathologically proven recurrent tumor measures {size}.",
        "Known recurrent tumor of the {site}, confirmed by biopsy, {size}.",
        "The {site} harbors the biopsy-confirmed recurrence of {size}.",
        "Recurrent tumor, proven by biopsy, of {size} at the {site}.",
    ),
}
NECK_SEEN = {
    "none": wordings(
        "No abnormal lymph node in the neck.",
        "Cervical nodes are all small and without uptake.",
        "No enlarged or FDG-avid cervical lymph node.",
        "The neck is free of abnormal lymph nodes.",
        "Normal cervical lymph nodes on both sides.",
    ),
    "residual": wordings(
        "Residual {level} lymph node of {size} with only mild FDG uptake and no necrosis.",
        "In the neck a {size} residual node at {level}, mildly avid, not necrotic.",
        "A treated {level} node remains at {size}, with mild uptake, homogeneous.",
        "Mild uptake in a residual, homogeneous {size} node at {level}.",
        "At {level} a residual {size} node with mild uptake, no necrosis.",
    ),
    "suspicious": wordings(
        "New necrotic {level} lymph node of {size} with intense FDG uptake.",
        "In the neck a new {size} node at {level}, necrotic and intensely avid.",
        "A {level} node has grown to {size}, with necrosis and intense uptake.",
        "Intense uptake in a new necrotic {size} node at {level}.",
        "At {level} a new {size} node with necrosis and intense uptake.",
    ),
    "proven": wordings(
        "Biopsy-proven nodal recurrence at {level}, {size}.",
        "In the neck the {size} node at {level} is a recurrence proven by needle biopsy.",
        "A {level} node of {size} with recurrence confirmed by aspiration.",
        "Nodal recurrence, confirmed by biopsy, at {level}, measuring {size}.",
        "At {level} the biopsy-confirmed recurrent node of {size}.",
    ),
}
NECK_REGION = Region(
    organs=("parotid glands", "submandibular glands", "thyroid gland", "carotid arteries", "jugular veins",
            "paranasal sinuses", "orbits", "mastoid air cells", "lung apices", "cervical spine", "trachea"),
    absent=("airway compromise", "osteoradionecrosis", "carotid stenosis", "lung nodule", "bone lesion",
    "skull base lesion",
            "fluid collection", "venous thrombosis"),
    incidental=("maxillary retention cyst", "thyroid cyst", "lipoma of the posterior neck", "sebaceous cyst"),
)  # fmt: skip
_SITES = ("right tonsil", "left tonsil", "base of tongue", "oral tongue", "larynx", "hypopharynx", "floor of mouth")


def ni_rads(writer: Writer, category: str) -> Case:
    """A surveillance study after treatment of a head and neck cancer."""
    primary, neck = _PAIRS[category]
    site, side = writer.one(_SITES), writer.one(("right", "left"))
    facts = {"site": site, "level": f"{side} level {writer.one(('II', 'III', 'IV'))}"}
    findings = [
        writer.say(PRIMARY_SEEN[primary], size=size(writer, writer.random.randint(9, 35)), **facts),
        writer.say(NECK_SEEN[neck], size=size(writer, writer.random.randint(8, 26)), **facts),
    ]
    reason = writer.one((
        f"surveillance after chemoradiation for cancer of the {site}",
        f"cancer of the {site}, treated by surgery and radiation",
        f"follow-up of treated {site} carcinoma", f"{site} cancer, three months after radiotherapy",
    ))  # fmt: skip
    return Case(
        category,
        NI_EXAM,
        NI_TECHNIQUE,
        reason,
        findings,
        NECK_REGION,
        prior="surveillance scan",
        priors=("NI-RADS primary 1, neck 1", "NI-RADS primary 2b, neck 1", "NI-RADS primary 1, neck 2"),
        compared=True,
    )
