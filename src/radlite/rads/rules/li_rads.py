"""LI-RADS: CT/MRI v2018, CEUS v2017, treatment response v2024 and ultrasound surveillance v2024.

Sources: Chernyak et al., Radiology 2018;289:816-830; American College of Radiology, cores of CEUS LI-RADS v2017,
CT/MRI LI-RADS treatment response v2024 (nonradiation, radiation) and US LI-RADS v2024.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt

from radlite.errors import UserError
from radlite.rads.rules.ruling import Ruling
from radlite.rads.table import NO_RADS

Risk = Literal[
    "cirrhosis", "chronic hepatitis B", "hepatocellular carcinoma", "none", "vascular cirrhosis",
    "congenital hepatic fibrosis",
]  # fmt: skip
"""Hepatocellular carcinoma is present or past. Vascular cirrhosis (such as Budd-Chiari syndrome, cardiac congestion or
hereditary telangiectasia) and congenital hepatic fibrosis exclude, whatever else raises the risk."""
Appearance = Literal[
    "definitely benign", "probably benign", "distinctive nodule", "targetoid", "malignant, not HCC", "other"
]
Finding = Literal["none", "definitely benign", "other"]
"""On surveillance ultrasound."""
Size = Annotated[float, Gt(0)]
Age = Annotated[float, Ge(0)]

ORDER = ("LR-1", "LR-2", "LR-3", "LR-4", "LR-5")
"""The categories that ancillary features move an observation along."""
MAJOR = {
    (False, "under 20 mm"): ("LR-3", "LR-3", "LR-4"),
    (False, "of 20 mm or more"): ("LR-3", "LR-4", "LR-4"),
    (True, "under 10 mm"): ("LR-3", "LR-4", "LR-4"),
    (True, "of 10 to 19 mm"): ("LR-3", "LR-5", "LR-5"),
    (True, "of 20 mm or more"): ("LR-4", "LR-5", "LR-5"),
}
"""CT/MRI: (arterial hyperenhancement, size) to the category with no, one, and two or more further major features. One
cell has an exception: from 10 to 19 mm, an enhancing capsule as the only further feature gives LR-4."""
CEUS = {
    (False, "under 20 mm"): ("LR-3", "LR-3"),
    (False, "of 20 mm or more"): ("LR-3", "LR-4"),
    (True, "under 10 mm"): ("LR-3", "LR-4"),
    (True, "of 10 mm or more"): ("LR-4", "LR-5"),
}
"""CEUS: (arterial hyperenhancement, size) to the category without washout and with late and mild washout."""


@dataclass(frozen=True, slots=True)
class Observation:
    """An untreated observation on multiphase CT or MRI."""

    study: Literal["CT/MRI"]
    risk: Risk
    size: Size | None = None
    """Greatest outer diameter, in mm; needed where the table of major features decides."""
    age: Age | None = None
    """Of the patient, in years; None: an adult."""
    evaluable: bool = True
    """False: omitted or degraded images do not let it be categorized."""
    proven: bool = False
    """Pathology has shown a malignancy, or a benign lesion that is not of hepatocellular origin."""
    tumor_in_vein: bool = False
    """Definite enhancing soft tissue in a vein."""
    appearance: Appearance = "other"
    """`distinctive nodule`: solid, unlike the nodules around it. `malignant, not HCC`: not targetoid, but infiltrative,
    with marked diffusion restriction, necrosis or severe ischemia, or otherwise suggesting another malignancy."""
    hyperenhancement: bool = False
    """Nonrim arterial phase hyperenhancement."""
    washout: bool = False
    """Nonperipheral."""
    capsule: bool = False
    """Enhancing."""
    growth: bool = False
    """Threshold growth: by 50 % or more in at most 6 months."""
    malignant_ancillary: bool = False
    """Ancillary features that favor malignancy, if the radiologist applies them."""
    benign_ancillary: bool = False
    """Ancillary features that favor benignity, if the radiologist applies them."""


@dataclass(frozen=True, slots=True)
class Nodule:
    """An untreated nodule on contrast-enhanced ultrasound with a blood pool agent."""

    study: Literal["CEUS"]
    risk: Risk
    size: Size | None = None
    """Greatest diameter, in mm; needed where the table decides."""
    age: Age | None = None
    """Of the patient, in years; None: an adult."""
    evaluable: bool = True
    """False: omitted or degraded images do not let it be categorized."""
    proven: bool = False
    """Pathology has shown a malignancy, or a benign lesion that is not of hepatocellular origin."""
    tumor_in_vein: bool = False
    """Definite enhancing soft tissue in a vein."""
    appearance: Literal["definitely benign", "probably benign", "other"] = "other"
    arterial: Literal["hyperenhancement", "isoenhancement", "hypoenhancement", "rim", "globular"] = "hypoenhancement"
    """Arterial phase; `hyperenhancement`, of whole or part, is neither rim nor peripheral discontinuous globular."""
    washout: Literal["none", "late and mild", "early", "marked"] = "none"
    """`early`: begins under 60 s; `late and mild`: begins at 60 s or later and is not marked."""
    malignant_ancillary: bool = False
    """Ancillary features that favor malignancy, if the radiologist applies them."""
    benign_ancillary: bool = False
    """Ancillary features that favor benignity, such as a size stable for 2 years, if the radiologist applies them."""


@dataclass(frozen=True, slots=True)
class Nonradiation:
    """A lesion on CT or MRI after ablation, embolization without radiation, or another treatment but radiation."""

    study: Literal["nonradiation"]
    enhancement: Literal["none", "uncertain", "masslike"] = "none"
    """Masslike enhancement in the treated lesion or along its margin; `uncertain`: whether it is masslike."""
    ancillary: bool = False
    """MRI features of viable tumor (diffusion restriction, T2 hyperintensity), if the radiologist applies them."""
    evaluable: bool = True


@dataclass(frozen=True, slots=True)
class Radiation:
    """A lesion on CT or MRI after radioembolization or external beam radiation."""

    study: Literal["radiation"]
    enhancement: Literal["none", "not larger", "new or larger"] = "none"
    """Masslike enhancement, compared with earlier studies."""
    ancillary: bool = False
    """MRI features of viable tumor (diffusion restriction, T2 hyperintensity), if the radiologist applies them."""
    evaluable: bool = True


@dataclass(frozen=True, slots=True)
class Surveillance:
    """An ultrasound for surveillance."""

    study: Literal["ultrasound"]
    risk: Risk
    observation: Finding = "none"
    """The most suspicious one."""
    size: Size | None = None
    """Greatest diameter of the observation, in mm; needed if it is not definitely benign."""
    thrombus: bool = False
    """New, in a vein."""
    visualization: Literal["A", "B", "C"] | None = None
    """No or minimal, moderate, severe limitations."""
    age: Age | None = None
    """Of the patient, in years; None: an adult."""


Features = Observation | Nodule | Nonradiation | Radiation | Surveillance


def decide(features: Features) -> Ruling:
    """The category of an observation, a treated lesion or a surveillance study.

    Raises `UserError` if the size that the table asks for is missing.
    """
    if isinstance(features, Nonradiation | Radiation):
        return _response(features)
    if outside := _outside(features):
        return Ruling(NO_RADS, outside)
    if isinstance(features, Surveillance):
        return _surveillance(features)
    found = _without_table(features) or (
        _major_features(features) if isinstance(features, Observation) else _contrast_ultrasound(features)
    )
    return _adjusted(found, features.malignant_ancillary, features.benign_ancillary)


def _outside(features: Observation | Nodule | Surveillance) -> str | None:
    """Why LI-RADS does not apply."""
    if features.age is not None and features.age < 18:
        return "LI-RADS is not for patients under 18 years."
    if features.risk == "none":
        return "LI-RADS needs cirrhosis, chronic hepatitis B, or present or past hepatocellular carcinoma."
    if isinstance(features, Surveillance):
        return None
    if features.risk in ("vascular cirrhosis", "congenital hepatic fibrosis"):
        return "LI-RADS is not for cirrhosis of vascular cause or congenital hepatic fibrosis."
    return "LI-RADS does not categorize what pathology has proven." if features.proven else None


def _without_table(seen: Observation | Nodule) -> Ruling | None:
    """What goes before the table, in the order of the algorithm."""
    if not seen.evaluable:
        return Ruling("LR-NC", "Omitted or degraded images: not categorizable.")
    if seen.tumor_in_vein:
        return Ruling("LR-TIV", "Definite tumor in vein.")
    if seen.appearance == "definitely benign":
        return Ruling("LR-1", "Definitely benign.")
    if seen.appearance == "probably benign":
        return Ruling("LR-2", "Probably benign.")
    return None


def _major_features(seen: Observation) -> Ruling:
    if seen.appearance == "targetoid":
        return Ruling("LR-M", "Targetoid mass.")
    size = _known(seen.size)
    further = seen.washout + seen.capsule + seen.growth
    if seen.appearance == "distinctive nodule" and size < 20 and not (
        seen.hyperenhancement or further or seen.malignant_ancillary
    ):  # fmt: skip
        return Ruling("LR-2", "Distinctive nodule under 20 mm without any feature of malignancy.")
    cell = _cell(seen.hyperenhancement, size)
    category = MAJOR[seen.hyperenhancement, cell][min(further, 2)]
    arterial = "Nonrim" if seen.hyperenhancement else "No nonrim"
    rule = f"{arterial} arterial phase hyperenhancement, {cell}, {further} of washout, capsule and threshold growth."
    if cell == "of 10 to 19 mm" and further == 1 and seen.capsule:
        category, rule = "LR-4", "Nonrim arterial phase hyperenhancement, of 10 to 19 mm, enhancing capsule alone."
    # What is not targetoid and meets LR-5 stays LR-5.
    if seen.appearance == "malignant, not HCC" and category != "LR-5":
        return Ruling("LR-M", "Features of a malignancy other than hepatocellular carcinoma, not meeting LR-5.")
    return Ruling(category, rule)


def _contrast_ultrasound(seen: Nodule) -> Ruling:
    if seen.arterial == "rim":
        return Ruling("LR-M", "Rim arterial phase hyperenhancement.")
    if seen.washout in ("early", "marked"):
        return Ruling("LR-M", "Washout that begins under 60 s or is marked.")
    size = _known(seen.size)
    if seen.arterial == "isoenhancement" and seen.washout == "none" and size < 10:
        return Ruling("LR-2", "Nodule under 10 mm that is isoenhancing in all phases.")
    hyperenhancing = seen.arterial == "hyperenhancement"
    cell = _cell(hyperenhancing, size)
    if hyperenhancing and size >= 10:
        cell = "of 10 mm or more"
    arterial = "Arterial" if hyperenhancing else "No arterial"
    return Ruling(
        CEUS[hyperenhancing, cell][seen.washout != "none"],
        f"{arterial} phase hyperenhancement, {cell}, washout: {seen.washout}.",
    )


def _cell(hyperenhancing: bool, size: float) -> str:
    if size >= 20:
        return "of 20 mm or more"
    if not hyperenhancing:
        return "under 20 mm"
    return "of 10 to 19 mm" if size >= 10 else "under 10 mm"


def _known(size: float | None) -> float:
    if size is None:
        raise UserError("The liver observation has no size; give its greatest diameter in mm.")
    return size


def _adjusted(found: Ruling, malignant: bool, benign: bool) -> Ruling:
    """One category up, to LR-4 at most, or down; no change if the ancillary features conflict."""
    if malignant == benign or found.category not in ORDER:
        return found
    place = ORDER.index(found.category)
    if malignant and place < 3:
        return Ruling(ORDER[place + 1], f"{found.rule} Ancillary features of malignancy: up by one, to LR-4 at most.")
    if benign and place > 0:
        return Ruling(ORDER[place - 1], f"{found.rule} Ancillary features of benignity: down by one.")
    return found


def _response(lesion: Nonradiation | Radiation) -> Ruling:
    if not lesion.evaluable:
        return Ruling("LR-TR Nonevaluable", "Omitted or degraded images: response cannot be evaluated.")
    if lesion.enhancement == "none":
        return Ruling("LR-TR Nonviable", "No masslike enhancement.")
    if lesion.enhancement == "masslike":
        return Ruling("LR-TR Viable", "Masslike enhancement after treatment without radiation.")
    if lesion.enhancement == "new or larger":
        return Ruling("LR-TR Viable", "New or growing masslike enhancement after radiation.")
    if lesion.ancillary:
        return Ruling("LR-TR Viable", "Ancillary features on MRI raise what enhances uncertainly or does not grow.")
    if lesion.enhancement == "uncertain":
        return Ruling("LR-TR Equivocal", "Uncertain whether there is masslike enhancement.")
    return Ruling("LR-TR Nonprogressing", "Masslike enhancement after radiation that is stable or smaller.")


def _surveillance(seen: Surveillance) -> Ruling:
    modifiers = (f"VIS-{seen.visualization}",) if seen.visualization else ()
    if seen.thrombus:
        return Ruling("US-3", "New thrombus in a vein.", modifiers=modifiers)
    if seen.observation == "other":
        if _known(seen.size) >= 10:
            return Ruling("US-3", "Observation of 10 mm or more, not definitely benign.", modifiers=modifiers)
        return Ruling("US-2", "Observation under 10 mm, not definitely benign.", modifiers=modifiers)
    rule = "No observation." if seen.observation == "none" else "Only what is definitely benign."
    return Ruling("US-1", rule, _after_negative(seen.visualization), modifiers)


def _after_negative(visualization: str | None) -> str:
    if visualization == "C":
        return "Repeat ultrasound within 3 months; CT or MRI instead where visualization is likely to stay C."
    return "Ultrasound in 6 months."
