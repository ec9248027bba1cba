"""GB-RADS (2022): the gallbladder wall on ultrasound, outside acute disease."""

from radlite.data.sample.rads_case import Case, Region, until
from radlite.data.sample.wording import Writer, wordings

CATEGORIES = tuple(f"GB-RADS {level}" for level in range(6))


def gb_rads_category(visible: bool, wall: float, focal: bool, layered: bool, intramural: bool, interface: str) -> str:
    """Gallbladder wall on ultrasound, not in acute disease. `wall` in mm; `intramural`: cysts or echogenic foci.

    `interface` with the liver: `preserved`, `indistinct` or `invaded` (liver, bile duct or vessel).
    """
    if not visible:
        return "GB-RADS 0"
    if interface == "invaded":
        return "GB-RADS 5"
    if wall <= 3:
        return "GB-RADS 1"
    if interface == "indistinct" or (focal and not layered and not intramural):
        return "GB-RADS 4"
    if intramural or (layered and not focal):
        return "GB-RADS 2"
    return "GB-RADS 3"


EXAM = wordings(
    "Ultrasound of the gallbladder", "Ultrasound, right upper quadrant, gallbladder", "Gallbladder sonography",
    "Targeted gallbladder ultrasound", "High-resolution gallbladder ultrasound",
)  # fmt: skip
TECHNIQUE = wordings(
    "Fasting patient; curvilinear and linear transducers.",
    "Scanned after six hours of fasting, supine and left lateral.",
    "Gray-scale and color Doppler in two positions after fasting.", "Curved and high-frequency probes, fasting state.",
)  # fmt: skip
WALL = wordings(
    "{Extent} wall thickening of {wall}, {layers}, {intramural}, {interface}.",
    "The gallbladder wall shows {extent} thickening up to {wall} with {layers}; {intramural}; {interface}.",
    "Gallbladder: {extent} mural thickening, {wall}, {layers}. {Intramural}. {Interface}.",
    "There is {extent} thickening of the gallbladder wall to {wall}. {Layers}, {intramural}, {interface}.",
    "Wall of the gallbladder {wall}, {extent} thickening, {layers} and {intramural}, {interface}.",
)
NORMAL_WALL = wordings(
    "The distended gallbladder has a thin wall of {wall}.", "Well distended gallbladder with a normal wall, {wall}.",
    "Gallbladder wall {wall}, not thickened; good distension.",
    "Wall thickness {wall} in a well filled gallbladder, normal.",
)  # fmt: skip
NOT_SEEN = wordings(
    "The gallbladder is contracted and its wall cannot be assessed.",
    "Dense shadowing from stones hides the gallbladder wall, which cannot be evaluated.",
    "The wall cannot be assessed because the gallbladder is collapsed.",
    "Gallbladder collapsed after a meal; wall not assessable.",
    "Packed stones with shadowing; the gallbladder wall is not visible.",
)
_INTERFACES = {
    "preserved": "sharp interface with the liver",
    "indistinct": "indistinct interface with the liver",
    "invaded": "direct invasion of the liver parenchyma",
}
UPPER_ABDOMEN = Region(
    organs=("pancreas", "spleen", "right kidney", "left kidney", "abdominal aorta", "inferior vena cava",
            "common bile duct", "portal vein", "liver parenchyma", "left hepatic lobe"),
    absent=("biliary dilatation", "ascites", "pericholecystic fluid", "sonographic Murphy sign", "hydronephrosis",
            "pleural effusion", "splenomegaly", "pancreatic duct dilatation"),
    incidental=("simple cyst of the right kidney", "hepatic cyst", "accessory spleen",
    "angiomyolipoma of the left kidney"),
)  # fmt: skip


def gb_rads(writer: Writer, category: str) -> Case:
    """A gallbladder ultrasound outside acute disease."""

    def draw() -> tuple[bool, float, bool, bool, bool, str]:
        interface = writer.one(("preserved", "preserved", "indistinct", "invaded"))
        layered, intramural = writer.chance(0.4), writer.chance(0.3)
        if interface != "preserved":
            layered = intramural = False
        wall = writer.random.randint(15, 30) / 10 if writer.chance(0.2) else writer.random.randint(4, 14)
        if wall <= 3:
            return not writer.chance(0.3), wall, False, True, False, "preserved"
        return True, wall, writer.chance(0.5), layered, intramural, interface

    visible, wall, focal, layered, intramural, interface = until(draw, lambda seen: gb_rads_category(*seen) == category)
    if not visible:
        text = writer.say(NOT_SEEN)
    elif wall <= 3:
        text = writer.say(NORMAL_WALL, wall=f"{wall:g} mm")
    else:
        facts = {
            "extent": "focal" if focal else writer.one(("circumferential", "symmetric circumferential")),
            "layers": "preserved layering" if layered else "loss of layering",
            "intramural": "intramural cysts" if intramural else "no intramural cysts or echogenic foci",
            "interface": _INTERFACES[interface],
        }
        capital = {name.capitalize(): value.capitalize() for name, value in facts.items()}
        text = writer.say(WALL, wall=f"{wall:g} mm", **facts, **capital)
    reason = writer.one(("intermittent upper abdominal discomfort", "gallbladder wall thickening seen on CT",
    "gallstones",
                         "dyspepsia, no acute symptoms", "chronic right upper quadrant discomfort"))  # fmt: skip
    return Case(
        category,
        EXAM,
        TECHNIQUE,
        reason,
        [text],
        UPPER_ABDOMEN,
        prior="gallbladder ultrasound",
        priors=("GB-RADS 1", "GB-RADS 2", "GB-RADS 3"),
    )
