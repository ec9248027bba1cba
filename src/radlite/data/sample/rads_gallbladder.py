"""GB-RADS (2022): the gallbladder wall on ultrasound, outside acute disease."""

from radlite.data.sample.rads_case import Case, Region, until
from radlite.data.sample.wording import Writer, wordings
from radlite.rads.rules.gb_rads import NORMAL_WALL, Gallbladder, Interface, decide

CATEGORIES = tuple(f"GB-RADS {level}" for level in range(6))


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
THIN_WALL = wordings(
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
_DRAWN: tuple[Interface, ...] = ("preserved", "preserved", "indistinct", "invaded")
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

    def draw() -> Gallbladder:
        interface = writer.one(_DRAWN)
        layered, intramural = writer.chance(0.4), writer.chance(0.3)
        if interface != "preserved":
            layered = intramural = False
        wall = writer.random.randint(15, 30) / 10 if writer.chance(0.2) else writer.random.randint(4, 14)
        if wall <= NORMAL_WALL:
            return Gallbladder(wall, assessable=not writer.chance(0.3), layered=True)
        focal = writer.chance(0.5)
        return Gallbladder(
            wall, True, "focal" if focal else "symmetric circumferential", layered, intramural, interface
        )

    seen = until(draw, lambda drawn: decide(drawn).category == category)
    if not seen.assessable:
        text = writer.say(NOT_SEEN)
    elif category == "GB-RADS 1":
        text = writer.say(THIN_WALL, wall=f"{seen.wall:g} mm")
    else:
        facts = {
            "extent": "focal" if seen.extent == "focal" else writer.one(("circumferential", seen.extent)),
            "layers": "preserved layering" if seen.layered else "loss of layering",
            "intramural": "intramural cysts" if seen.intramural else "no intramural cysts or echogenic foci",
            "interface": _INTERFACES[seen.interface],
        }
        capital = {name.capitalize(): value.capitalize() for name, value in facts.items()}
        text = writer.say(WALL, wall=f"{seen.wall:g} mm", **facts, **capital)
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
