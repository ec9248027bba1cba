"""PI-RADS v2.1 and VI-RADS (2018): the dominant sequence decides, a second one lifts the middle scores."""

from dataclasses import dataclass

from radlite.data.sample.rads_case import Case, Region, size, until, upper
from radlite.data.sample.wording import Writer, wordings

PI_CATEGORIES = tuple(f"PI-RADS {score}" for score in range(1, 6))
VI_CATEGORIES = tuple(f"VI-RADS {score}" for score in range(1, 6))


def peripheral_zone(diffusion: int, early_enhancement: bool) -> str:
    """Category in the peripheral zone: diffusion decides, focal early enhancement lifts 3 to 4."""
    return f"PI-RADS {4 if diffusion == 3 and early_enhancement else diffusion}"


def transition_zone(t2: int, diffusion: int) -> str:
    """Category in the transition zone: T2 decides; diffusion of 4 or more lifts 2 to 3, of 5 lifts 3 to 4."""
    if (t2 == 2 and diffusion >= 4) or (t2 == 3 and diffusion == 5):
        return f"PI-RADS {t2 + 1}"
    return f"PI-RADS {t2}"


def marked(size: int, extends: bool) -> int:
    """Score of a markedly abnormal focus: 5 from 15 mm, or with extraprostatic extension; otherwise 4."""
    return 5 if size >= 15 or extends else 4


@dataclass(frozen=True, slots=True)
class Tumor:
    """A bladder tumor. `size` in mm."""

    size: int
    stalk: bool
    inner_layer: bool
    """Broad base with a thickened inner layer of high signal."""
    muscle: str
    """Low-signal muscle line on diffusion images: `intact`, `interrupted`, or `crossed` (into perivesical fat)."""


def vi_rads_category(tumor: Tumor) -> str:
    """Category of a bladder tumor: muscle first, then stalk or inner layer, then 10 mm."""
    if tumor.muscle != "intact":
        return "VI-RADS 5" if tumor.muscle == "crossed" else "VI-RADS 4"
    if not (tumor.stalk or tumor.inner_layer):
        return "VI-RADS 3"
    return "VI-RADS 2" if tumor.size >= 10 else "VI-RADS 1"


PROSTATE_EXAM = wordings(
    "Multiparametric MRI of the prostate", "MRI prostate with and without contrast", "Prostate MRI",
    "Multiparametric prostate MRI at 3 T", "Magnetic resonance imaging of the prostate",
)  # fmt: skip
PROSTATE_TECHNIQUE = wordings(
    "T2-weighted, diffusion-weighted with ADC map, and dynamic contrast-enhanced sequences.",
    "Triplanar T2, DWI with high b-value and dynamic contrast series.",
    "High-resolution T2, DWI b = 1400 with ADC, dynamic enhancement.",
    "T2, diffusion and perfusion imaging without endorectal coil.",
)
CLEAN_PROSTATE = wordings(
    "Homogeneous peripheral zone without focal lesion on T2, diffusion or early enhancement; transition zone uniform.",
    "No focal abnormality on T2-weighted or diffusion images in either zone.",
    "Peripheral and transition zone without any focal lesion on all sequences.",
    "Both zones are normal on T2, diffusion and contrast series.",
    "Neither zone has a focal abnormality on diffusion or T2-weighted images.",
)
PERIPHERAL = wordings(
    "{Side} peripheral zone, {level}: {look} on ADC and high b-value images, {size}, {dce}{epe}.",
    "In the {side} {level} peripheral zone there is a {size} area, {look} on diffusion, with {dce}{epe}.",
    "A {size} area in the {side} peripheral zone at {level} is {look} on diffusion images; {dce}{epe}.",
    "Peripheral zone, {side} {level}: {size} area, {look} on ADC, {dce}{epe}.",
    "The {side} {level} peripheral zone has an area of {size} that is {look} on diffusion and shows {dce}{epe}.",
)
TRANSITION = wordings(
    "{Side} transition zone, {level}: {size} {look} on T2, {diffusion}{epe}.",
    "In the {side} {level} transition zone there is a {size} {look} on T2-weighted images, with {diffusion}{epe}.",
    "The {side} transition zone at {level} contains a {size} {look} (T2); {diffusion}{epe}.",
    "Transition zone, {side} {level}: {look} of {size} on T2, {diffusion}{epe}.",
    "A {look} of {size} lies in the {side} {level} transition zone on T2, {diffusion}{epe}.",
)
_DIFFUSION = {
    2: "linear or wedge-shaped and mildly dark",
    3: "focal and mildly dark",
    4: "focal, markedly dark on ADC and markedly bright at high b-value",
}
_T2 = {
    1: "completely encapsulated round nodule",
    2: "mostly encapsulated nodule",
    3: "heterogeneous area with obscured margins",
    4: "lenticular, homogeneous, ill-circumscribed dark lesion",
}
_TZ_DIFFUSION = {1: "no restricted diffusion", 3: "mild restricted diffusion", 4: "marked restricted diffusion"}
MALE_PELVIS = Region(
    organs=("seminal vesicles", "urinary bladder", "rectum", "pelvic bones", "neurovascular bundles", "distal ureters",
            "inguinal region", "sigmoid colon", "levator muscles"),
    absent=("pelvic lymphadenopathy", "bone lesion", "ascites", "bladder stone", "inguinal hernia",
    "hemorrhage in the gland",
            "hydroureter", "rectal wall thickening"),
    incidental=("utricle cyst", "bladder diverticulum", "bone island of the right ilium", "hydrocele",
                "Tarlov cyst of the sacrum"),
)  # fmt: skip


def pi_rads(writer: Writer, category: str) -> Case:
    """A prostate MRI with one lesion, or none for category 1."""
    wanted = int(category[-1])
    side, level = writer.one(("right", "left")), writer.one(("base", "midgland", "apex"))
    facts = {"side": side, "Side": upper(side), "level": level}
    if wanted == 1 and writer.chance(0.6):
        text = writer.say(CLEAN_PROSTATE)
    elif wanted == 1 or writer.chance(0.5):
        text = _transition(writer, category, facts)
    else:
        text = _peripheral(writer, category, facts)
    volume, density = writer.random.randint(24, 95), writer.random.randint(6, 24) / 100
    gland = f"Gland volume {volume} mL, PSA density {density:.2f}."
    reason = writer.one((f"elevated PSA of {writer.random.randint(4, 15)} ng/mL", "rising PSA, negative prior biopsy",
                         "active surveillance", "abnormal digital rectal examination"))  # fmt: skip
    return Case(
        category,
        PROSTATE_EXAM,
        PROSTATE_TECHNIQUE,
        reason,
        [gland, text] if writer.chance(0.5) else [text],
        MALE_PELVIS,
        sex="male",
        prior="prostate MRI",
        priors=PI_CATEGORIES[1:4],
    )


def _peripheral(writer: Writer, category: str, facts: dict[str, str]) -> str:
    def draw() -> tuple[int, int, bool, bool]:
        return writer.random.randint(2, 4), writer.random.randint(5, 28), writer.chance(0.4), writer.chance(0.2)

    def rule(seen: tuple[int, int, bool, bool]) -> str:
        look, length, early, extends = seen
        return peripheral_zone(marked(length, extends) if look == 4 else look, early)

    look, length, early, extends = until(draw, lambda seen: rule(seen) == category and (seen[0] == 4 or not seen[3]))
    return writer.say(
        PERIPHERAL,
        look=_DIFFUSION[look],
        size=size(writer, length),
        dce="focal early enhancement" if early else "no early enhancement",
        epe=", extraprostatic extension" if extends else "",
        **facts,
    )


def _transition(writer: Writer, category: str, facts: dict[str, str]) -> str:
    def draw() -> tuple[int, int, int, bool]:
        return (
            writer.random.randint(1, 4),
            writer.random.choice((1, 3, 4)),
            writer.random.randint(6, 30),
            writer.chance(0.2),
        )

    def rule(seen: tuple[int, int, int, bool]) -> str:
        look, diffusion, length, extends = seen
        high = marked(length, extends)
        return transition_zone(high if look == 4 else look, high if diffusion == 4 else diffusion)

    def plausible(seen: tuple[int, int, int, bool]) -> bool:
        look, diffusion, _, extends = seen
        return (look == 4 or not extends) and (look > 1 or diffusion == 1)

    look, diffusion, length, extends = until(draw, lambda seen: plausible(seen) and rule(seen) == category)
    return writer.say(
        TRANSITION,
        look=_T2[look],
        diffusion=_TZ_DIFFUSION[diffusion],
        size=size(writer, length),
        epe=", extraprostatic extension" if extends else "",
        **facts,
    )


BLADDER_EXAM = wordings(
    "MRI of the bladder with and without contrast", "Multiparametric MRI of the urinary bladder", "Bladder MRI",
    "MRI pelvis, bladder protocol", "Multiparametric bladder MRI",
)  # fmt: skip
BLADDER_TECHNIQUE = wordings(
    "Triplanar T2, diffusion-weighted and dynamic contrast-enhanced sequences with a filled bladder.",
    "T2-weighted, DWI and dynamic series after hydration.",
    "High-resolution T2, diffusion and early dynamic imaging.",
    "T2, DWI with b = 1000 and contrast series, bladder moderately distended.",
)
TUMOR = wordings(
    "{Wall}: {size} tumor, {stalk}, {layer}; {muscle}.",
    "A {size} tumor arises from the {wall}, {stalk}, {layer}; {muscle}.",
    "On the {wall} there is a {size} tumor. It has {layer}, {stalk}. {Muscle}.",
    "Bladder tumor of {size} at the {wall}: {stalk}, {layer}, {muscle}.",
    "The {wall} bears a tumor of {size}, {stalk}, {layer}, and {muscle}.",
    "Tumor, {size}, {wall}. {Stalk}; {layer}. {Muscle}.",
)
_MUSCLE = {
    "intact": "the low-signal muscle line is intact on diffusion and T2 images",
    "interrupted": "the low-signal muscle line is interrupted on diffusion images, the fat is free",
    "crossed": "the tumor crosses the muscle into the perivesical fat",
}
PELVIS = Region(
    organs=("rectum", "distal ureters", "pelvic bones", "sigmoid colon", "pelvic side walls", "iliac vessels",
    "urethra",
            "lower abdominal wall", "sacrum"),
    absent=("pelvic lymphadenopathy", "hydroureter", "bone lesion", "ascites", "bladder stone", "fistula", "hernia",
            "pelvic fluid collection"),
    incidental=("bladder diverticulum", "bone island of the sacrum", "Tarlov cyst of the sacrum",
    "lipoma of the buttock"),
)  # fmt: skip


def vi_rads(writer: Writer, category: str) -> Case:
    """A bladder MRI with one tumor."""

    def draw() -> Tumor:
        muscle = writer.one(("intact", "intact", "interrupted", "crossed"))
        chance = 0.5 if muscle == "intact" else 0.15
        stalk = writer.chance(chance)
        return Tumor(writer.random.randint(4, 48), stalk, not stalk and writer.chance(chance), muscle)

    tumor = until(draw, lambda drawn: vi_rads_category(drawn) == category)
    wall = writer.one(
        ("right lateral wall", "left lateral wall", "posterior wall", "anterior wall", "trigone", "bladder dome")
    )
    facts = {
        "wall": wall,
        "stalk": "with a stalk" if tumor.stalk else "without a stalk",
        "layer": "a thickened high-signal inner layer" if tumor.inner_layer else "no thickened inner layer",
        "muscle": _MUSCLE[tumor.muscle],
    }
    capital = {name.capitalize(): upper(text) for name, text in facts.items()}
    reason = writer.one(("bladder tumor at cystoscopy", "painless hematuria, bladder tumor on ultrasound",
                         "staging before resection of a bladder tumor", "papillary bladder lesion"))  # fmt: skip
    return Case(
        category,
        BLADDER_EXAM,
        BLADDER_TECHNIQUE,
        reason,
        [writer.say(TUMOR, size=size(writer, tumor.size), **facts, **capital)],
        PELVIS,
        prior="bladder MRI",
        priors=VI_CATEGORIES[1:4],
    )
