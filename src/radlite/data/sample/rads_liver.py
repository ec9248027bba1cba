"""LI-RADS: CT/MRI v2018, treatment response v2024, ultrasound surveillance v2024."""

from radlite.data.sample.rads_case import Case, Region, size, until
from radlite.data.sample.wording import Writer, wordings
from radlite.rads.rules import li_rads as rules
from radlite.rads.rules.li_rads import Nonradiation, Observation, Radiation, Surveillance

DIAGNOSTIC = ("LR-1", "LR-2", "LR-3", "LR-4", "LR-5", "LR-M", "LR-TIV")
RESPONSE = ("LR-TR Nonviable", "LR-TR Equivocal", "LR-TR Nonprogressing", "LR-TR Viable")
SURVEILLANCE = ("US-1", "US-2", "US-3")
LI_CATEGORIES = (*DIAGNOSTIC, *RESPONSE, *SURVEILLANCE)


_APPEARANCES: dict[str, rules.Appearance] = {
    "cyst": "definitely benign",
    "hemangioma": "definitely benign",
    "perfusion": "probably benign",
    "distinct nodule": "distinctive nodule",
    "targetoid": "targetoid",
    "tumor in vein": "other",
    "major": "other",
}
"""What an observation is to its appearance; for `major` the major features decide."""


EXAM = wordings(
    "Multiphase CT of the liver", "MRI of the liver with and without contrast", "Liver MRI with gadoxetate",
    "CT abdomen, liver protocol, three phases", "Dynamic contrast-enhanced liver CT", "Multiphasic liver MRI",
)  # fmt: skip
TECHNIQUE = wordings(
    "Late arterial, portal venous and delayed phases.",
    "Unenhanced, arterial, portal venous and delayed images.",
    "Dynamic acquisition after intravenous contrast in three phases.",
    "Arterial, venous and delayed phase imaging after weight-based contrast.",
)
US_EXAM = wordings(
    "Ultrasound of the liver for surveillance", "Liver ultrasound, HCC surveillance", "Surveillance liver sonography",
    "Abdominal ultrasound for liver surveillance", "Liver surveillance ultrasound",
)  # fmt: skip
US_TECHNIQUE = wordings(
    "Curvilinear transducer with color Doppler; visualization score A.",
    "Gray-scale and Doppler scanning; visualization VIS-B.",
    "Curved 5 MHz probe, subcostal and intercostal; VIS-A.",
    "Transabdominal scan with Doppler of the portal vein, visualization good.",
)
LESION = wordings(
    "{Segment}: observation of {size} with {arterial}, {washout}, {capsule}, {growth}.",
    "A {size} observation in {segment} shows {arterial}, {washout} and {capsule}; {growth}.",
    "In {segment} there is a {size} observation. {Arterial}. {Washout}, {capsule}, {growth}.",
    "Observation in {segment}, {size}: {arterial}; {washout}; {capsule}; {growth}.",
    "{Segment} contains a {size} observation with {arterial}. There is {washout} and {capsule}. {Growth}.",
    "An observation of {size}, {segment}, has {arterial}, {capsule}, {washout}, {growth}.",
)
OTHER_NATURE = {
    "cyst": wordings(
        "Simple nonenhancing cyst of {size} in {segment}.", "In {segment} a {size} nonenhancing fluid cyst.",
        "{Segment} contains a {size} cyst without enhancement.", "A {size} simple cyst is seen in {segment}.",
    ),
    "hemangioma": wordings(
        "Typical hemangioma of {size} in {segment} with nodular discontinuous fill-in.",
        "In {segment} a {size} hemangioma with peripheral nodular enhancement and fill-in.",
        "{Segment}: {size} hemangioma that follows the blood pool.",
        "A {size} hemangioma with progressive nodular fill-in lies in {segment}.",
    ),
    "perfusion": wordings(
        "Geographic subcapsular perfusion alteration of {size} in {segment}, seen in the arterial phase only.",
        "In {segment} a {size} wedge-shaped perfusion alteration without mass effect.",
        "{Segment}: {size} wedge-shaped arterial perfusion difference, not masslike.",
        "A geographic {size} area of altered perfusion in {segment}, no mass.",
    ),
    "distinct nodule": wordings(
        "Distinct nodule of {size} in {segment} that enhances like liver, without any major feature.",
        "In {segment} a {size} distinct siderotic nodule with no arterial hyperenhancement and no major feature.",
        "{Segment}: distinct nodule, {size}, isoenhancing in all phases, no major feature.",
        "A distinct {size} nodule in {segment} shows none of the major features.",
    ),
    "targetoid": wordings(
        "Targetoid mass of {size} in {segment} with rim arterial enhancement and delayed central enhancement.",
        "In {segment} a {size} mass with rim arterial hyperenhancement and peripheral washout.",
        "{Segment}: {size} targetoid mass with rim enhancement.",
        "A {size} mass in {segment} has targetoid appearance with rim arterial enhancement.",
    ),
    "tumor in vein": wordings(
        "Enhancing soft tissue within the {vein}, contiguous with a {size} mass in {segment}.",
        "In {segment} a {size} mass extends as enhancing tissue into the {vein}.",
        "The {vein} is expanded by enhancing soft tissue next to a {size} mass in {segment}.",
        "Arterially enhancing tissue fills the {vein}; mass of {size} in {segment}.",
    ),
}  # fmt: skip
TREATED = wordings(
    "Treated lesion in {segment} ({therapy}), cavity {size}: {tissue}.",
    "In {segment} the {size} zone after {therapy} shows {tissue}.",
    "{Segment}: status after {therapy}, {size} treatment zone with {tissue}.",
    "The lesion in {segment} treated by {therapy} measures {size}; {tissue}.",
    "After {therapy}, the {size} treated area of {segment} has {tissue}.",
)
TISSUE = {
    "none": wordings(
        "no enhancement within or along its margin", "no masslike enhancement", "complete absence of enhancement",
        "only thin smooth rim enhancement, nothing masslike",
    ),
    "unclear": wordings(
        "enhancement of which it is uncertain whether it is masslike",
        "indeterminate marginal enhancement, masslike or not",
        "faint enhancement that may or may not be masslike",
        "enhancement that cannot be classed as masslike with certainty",
    ),
    "stable": wordings(
        "masslike arterial enhancement, stable since the prior study", "unchanged masslike enhancement",
        "masslike enhancement that has not grown", "masslike enhancement, no larger than before",
    ),
    "new": wordings(
        "new nodular masslike arterial enhancement", "masslike enhancement that has increased in size",
        "growing masslike enhancement along the margin", "a new masslike enhancing nodule at its border",
    ),
}  # fmt: skip
US_SEEN = wordings(
    "{Segment} shows a {size} {kind} observation.", "In {segment} there is a {kind} observation of {size}.",
    "A {kind} observation measuring {size} lies in {segment}.", "Observation in {segment}, {kind}, {size}.",
    "There is one {kind} observation, {size}, in {segment}.",
)  # fmt: skip
US_NONE = wordings(
    "No focal observation in the liver.", "The liver parenchyma is coarse, without any focal observation.",
    "Coarse echotexture; no focal liver observation.", "No liver observation is seen.",
    "Liver without focal observation.",
)  # fmt: skip
US_CYST = wordings(
    "Simple cyst of {size} in {segment}, definitely benign.", "In {segment} an anechoic simple cyst of {size}.",
    "{Segment} contains a {size} simple cyst.", "A thin-walled anechoic {size} cyst in {segment}.",
)  # fmt: skip
THROMBUS = wordings(
    "New thrombus in the {vein}.", "The {vein} contains new echogenic thrombus.",
    "Newly seen thrombus fills the {vein}.",
    "There is new thrombus of the {vein}.",
)  # fmt: skip
LIVER = Region(
    organs=("spleen", "pancreas", "adrenal glands", "right kidney", "left kidney", "stomach", "common bile duct",
            "abdominal aorta", "lung bases", "gallbladder", "duodenum"),
    absent=("biliary dilatation", "abdominal lymphadenopathy", "pleural effusion", "bowel obstruction",
    "hydronephrosis",
            "splenic lesion", "aortic aneurysm", "gallstones", "pancreatic duct dilatation"),
    incidental=("simple cyst of the right kidney", "simple cyst of the left kidney", "accessory spleen",
    "splenic cyst"),
)  # fmt: skip
_VEINS = ("main portal vein", "right portal vein", "left portal vein", "right hepatic vein")
_RISKS = ("cirrhosis due to hepatitis C", "chronic hepatitis B", "alcohol-related cirrhosis",
"cirrhosis, HCC surveillance",
          "compensated cirrhosis with rising alpha-fetoprotein")  # fmt: skip
_ABLATION = ("radiofrequency ablation", "microwave ablation", "chemoembolization")
_RADIATION = ("radioembolization with yttrium-90", "stereotactic body radiotherapy")

_TREATED: tuple[tuple[Nonradiation | Radiation, str], ...] = (
    (Nonradiation("nonradiation", "none"), "none"),
    (Nonradiation("nonradiation", "uncertain"), "unclear"),
    (Nonradiation("nonradiation", "masslike"), "stable"),
    (Nonradiation("nonradiation", "masslike"), "new"),
    (Radiation("radiation", "none"), "none"),
    (Radiation("radiation", "not larger"), "stable"),
    (Radiation("radiation", "new or larger"), "new"),
)
"""Treated lesions, and what is said of them in `TISSUE`."""


def li_rads(writer: Writer, category: str) -> Case:
    """A liver study at risk of carcinoma: diagnostic, after treatment, or ultrasound surveillance."""
    segment = f"segment {writer.random.randint(2, 8)}"
    facts = {"segment": segment, "Segment": segment.capitalize(), "vein": writer.one(_VEINS)}
    compared, reason = None, writer.one(_RISKS)
    if category in RESPONSE:
        text, reason = _response(writer, category, facts)
        compared = True
    elif category in SURVEILLANCE:
        text = _surveillance(writer, category, facts)
    else:
        text = _diagnostic(writer, category, facts)
        compared = "growth" in text or None
    on_ultrasound = category in SURVEILLANCE
    findings = [text]
    if category not in ("LR-1", "US-1") and writer.chance(0.25):
        table, length = US_CYST if on_ultrasound else OTHER_NATURE["cyst"], size(writer, writer.random.randint(4, 30))
        findings.insert(
            writer.random.randint(0, 1), writer.say(table, segment="segment 1", Segment="Segment 1", size=length)
        )
    return Case(
        category,
        US_EXAM if on_ultrasound else EXAM,
        US_TECHNIQUE if on_ultrasound else TECHNIQUE,
        reason,
        findings,
        LIVER,
        prior="surveillance ultrasound" if on_ultrasound else "liver MRI",
        priors=SURVEILLANCE if on_ultrasound else ("LR-3", "LR-4", "LR-5"),
        compared=compared,
    )


def _diagnostic(writer: Writer, category: str, facts: dict[str, str]) -> str:
    natures = {
        "LR-1": ("cyst", "hemangioma"),
        "LR-2": ("perfusion", "distinct nodule"),
        "LR-M": ("targetoid",),
        "LR-TIV": ("tumor in vein",),
    }

    def draw() -> tuple[str, int, Observation]:
        nature = writer.one(natures.get(category, ("major",)))
        largest = 19 if nature == "distinct nodule" else 45
        flags = [writer.chance(0.6), writer.chance(0.4), writer.chance(0.35), writer.chance(0.2)]
        hyperenhancement, washout, capsule, growth = flags if nature == "major" else [False] * 4
        millimetres = writer.random.randint(6, largest)
        return nature, millimetres, Observation(
            "CT/MRI",
            "cirrhosis",
            millimetres,
            tumor_in_vein=nature == "tumor in vein",
            appearance=_APPEARANCES[nature],
            hyperenhancement=hyperenhancement,
            washout=washout,
            capsule=capsule,
            growth=growth,
        )  # fmt: skip

    nature, millimetres, seen = until(draw, lambda drawn: rules.decide(drawn[2]).category == category)
    if nature != "major":
        return writer.say(OTHER_NATURE[nature], size=size(writer, millimetres), **facts)
    features = {
        "arterial": f"{'' if seen.hyperenhancement else 'no '}nonrim arterial phase hyperenhancement",
        "washout": f"{'' if seen.washout else 'no '}nonperipheral washout",
        "capsule": f"{'an' if seen.capsule else 'no'} enhancing capsule",
        "growth": f"{'' if seen.growth else 'no '}threshold growth",
    }
    capital = {name.capitalize(): text.capitalize() for name, text in features.items()}
    return writer.say(LESION, size=size(writer, millimetres), **features, **capital, **facts)


def _response(writer: Writer, category: str, facts: dict[str, str]) -> tuple[str, str]:
    lesion, tissue = writer.random.choice([pair for pair in _TREATED if rules.decide(pair[0]).category == category])
    therapy = writer.one(_RADIATION if isinstance(lesion, Radiation) else _ABLATION)
    text = writer.say(
        TREATED,
        therapy=therapy,
        tissue=writer.say(TISSUE[tissue]),
        size=size(writer, writer.random.randint(15, 48)),
        **facts,
    )
    months = writer.random.randint(2, 14)
    return text, f"hepatocellular carcinoma, {months} months after {therapy}"


def _surveillance(writer: Writer, category: str, facts: dict[str, str]) -> str:
    def draw() -> tuple[int, Surveillance]:
        length = writer.random.choice((0, writer.random.randint(4, 9), writer.random.randint(10, 30)))
        benign, thrombus = length > 0 and writer.chance(0.3), writer.chance(0.2)
        kind: rules.Finding = "definitely benign" if benign else "other" if length else "none"
        return length, Surveillance("ultrasound", "cirrhosis", kind, length or None, thrombus)

    length, seen = until(draw, lambda drawn: rules.decide(drawn[1]).category == category)
    if length == 0:
        text = writer.say(US_NONE)
    elif seen.observation == "definitely benign":
        text = writer.say(US_CYST, size=size(writer, length), **facts)
    else:
        kind = writer.one(("hypoechoic", "solid", "hyperechoic"))
        text = writer.say(US_SEEN, size=size(writer, length), kind=kind, **facts)
    return f"{text} {writer.say(THROMBUS, **facts)}" if seen.thrombus else text
