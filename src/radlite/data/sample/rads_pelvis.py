"""PI-RADS v2.1 and VI-RADS (2018): the dominant sequence decides, a second one lifts the middle scores."""

from radlite.data.sample.rads_case import Case, Region, size, until, upper
from radlite.data.sample.wording import Writer, wordings
from radlite.rads.rules import pi_rads as pi_rules
from radlite.rads.rules import vi_rads as vi_rules
from radlite.rads.rules.pi_rads import Diffusion, Lesion, LookT2
from radlite.rads.rules.vi_rads import Muscle, Tumor

PI_CATEGORIES = tuple(f"PI-RADS {score}" for score in range(1, 6))
VI_CATEGORIES = tuple(f"VI-RADS {score}" for score in range(1, 6))

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
_DIFFUSION: dict[Diffusion, str] = {
    "linear or wedge-shaped": "linear or wedge-shaped and mildly dark",
    "focal": "focal and mildly dark",
    "focal and marked": "focal, markedly dark on ADC and markedly bright at high b-value",
}
_T2: dict[LookT2, str] = {
    "normal or completely encapsulated": "completely encapsulated round nodule",
    "mostly encapsulated, circumscribed or mild": "mostly encapsulated nodule",
    "heterogeneous with obscured margins": "heterogeneous area with obscured margins",
    "lenticular or not circumscribed, homogeneous": "lenticular, homogeneous, ill-circumscribed dark lesion",
}
_TZ_DIFFUSION: dict[Diffusion, str] = {
    "no abnormality": "no restricted diffusion",
    "focal": "mild restricted diffusion",
    "focal and marked": "marked restricted diffusion",
}
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
    def draw() -> tuple[Diffusion, int, Lesion]:
        look = writer.random.choice(tuple(_DIFFUSION))
        length, early, extends = writer.random.randint(5, 28), writer.chance(0.4), writer.chance(0.2)
        return look, length, Lesion(
            "peripheral", diffusion=look, early_enhancement=early, size=length, extension=extends
        )  # fmt: skip

    def fits(drawn: tuple[Diffusion, int, Lesion]) -> bool:
        look, _, seen = drawn
        return (look == "focal and marked" or not seen.extension) and pi_rules.decide(seen).category == category

    look, length, seen = until(draw, fits)
    return writer.say(
        PERIPHERAL,
        look=_DIFFUSION[look],
        size=size(writer, length),
        dce="focal early enhancement" if seen.early_enhancement else "no early enhancement",
        epe=", extraprostatic extension" if seen.extension else "",
        **facts,
    )


def _transition(writer: Writer, category: str, facts: dict[str, str]) -> str:
    def draw() -> tuple[LookT2, Diffusion, int, Lesion]:
        look, diffusion = writer.random.choice(tuple(_T2)), writer.random.choice(tuple(_TZ_DIFFUSION))
        length, extends = writer.random.randint(6, 30), writer.chance(0.2)
        return look, diffusion, length, Lesion("transition", look, diffusion, size=length, extension=extends)

    def fits(drawn: tuple[LookT2, Diffusion, int, Lesion]) -> bool:
        look, diffusion, _, seen = drawn
        if look != "lenticular or not circumscribed, homogeneous" and seen.extension:
            return False
        if look == "normal or completely encapsulated" and diffusion != "no abnormality":
            return False
        return pi_rules.decide(seen).category == category

    look, diffusion, length, seen = until(draw, fits)
    return writer.say(
        TRANSITION,
        look=_T2[look],
        diffusion=_TZ_DIFFUSION[diffusion],
        size=size(writer, length),
        epe=", extraprostatic extension" if seen.extension else "",
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
_MUSCLE: dict[Muscle, str] = {
    "intact": "the low-signal muscle line is intact on diffusion and T2 images",
    "interrupted": "the low-signal muscle line is interrupted on diffusion images, the fat is free",
    "extravesical": "the tumor crosses the muscle into the perivesical fat",
}
_MUSCLES: tuple[Muscle, ...] = ("intact", "intact", "interrupted", "extravesical")
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

    def draw() -> tuple[int, Tumor]:
        muscle = writer.one(_MUSCLES)
        chance = 0.5 if muscle == "intact" else 0.15
        stalk = writer.chance(chance)
        length, inner_layer = writer.random.randint(4, 48), not stalk and writer.chance(chance)
        return length, Tumor(length, "exophytic" if stalk else "sessile", stalk, inner_layer, muscle)

    length, tumor = until(draw, lambda drawn: vi_rules.decide(drawn[1]).category == category)
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
        [writer.say(TUMOR, size=size(writer, length), **facts, **capital)],
        PELVIS,
        prior="bladder MRI",
        priors=VI_CATEGORIES[1:4],
    )
