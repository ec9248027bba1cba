"""Studies to which no RADS applies: the right organ in the wrong study, or another condition altogether."""

from dataclasses import dataclass

from radlite.data.sample import rads_breast, rads_gallbladder, rads_liver, rads_neck, rads_pelvis, rads_thorax
from radlite.data.sample.rads_case import Case, Region, size
from radlite.data.sample.wording import Wordings, Writer, wordings
from radlite.rads import NO_RADS


@dataclass(frozen=True, slots=True)
class Outside:
    """A kind of study outside all systems."""

    exam: Wordings
    technique: Wordings
    reasons: tuple[str, ...]
    finding: Wordings
    region: Region
    sex: str | None = None


CT_TECHNIQUE = wordings(
    "Helical CT after intravenous contrast.", "Contrast-enhanced CT with multiplanar reformations.",
    "CT in the portal venous phase.", "Thin-section helical acquisition with contrast.",
    "Multidetector CT, 2 mm reconstructions.",
)  # fmt: skip
SIDES = ("right", "left")
OUTSIDE = (
    Outside(
        wordings("CT urography", "CT urogram, three phases", "CT of the urinary tract with excretory phase",
                 "Triphasic CT urography", "CT urography with contrast"),
        CT_TECHNIQUE,
        ("painless hematuria", "microscopic hematuria", "bladder tumor at cystoscopy"),
        wordings("{Side} posterolateral bladder wall: enhancing polypoid lesion of {size}.",
                 "A {size} papillary filling defect arises from the {side} bladder wall.",
                 "In the bladder an enhancing {size} mass at the {side} wall.",
                 "The {side} bladder wall bears a {size} enhancing lesion.",
                 "Enhancing {size} polypoid bladder lesion on the {side}."),
        rads_pelvis.PELVIS,
    ),
    Outside(
        wordings("CT of the chest with contrast", "CT thorax after trauma", "CT pulmonary angiography",
                 "Contrast-enhanced chest CT", "Chest CT with contrast, emergency"),
        CT_TECHNIQUE,
        ("fall from a ladder", "suspected pulmonary embolism", "persistent fever", "motor vehicle collision"),
        wordings("Incidental solid nodule of {size} in the {side} upper lobe.",
                 "In the {side} lower lobe there is a solid nodule of {size}.",
                 "The {side} lung contains an incidental {size} nodule.",
                 "A {size} solid nodule is noted in the {side} lower lobe.",
                 "Solid {size} nodule in the {side} upper lobe, incidental."),
        rads_thorax.CHEST,
    ),
    Outside(
        wordings("CT of the neck with contrast", "CT chest and neck", "CT angiography of the neck",
                 "Contrast-enhanced CT of the cervical soft tissues", "CT neck and thorax"),
        CT_TECHNIQUE,
        ("neck swelling", "stroke work-up", "hoarseness", "suspected abscess"),
        wordings("Hypodense nodule of {size} in the {side} thyroid lobe.",
                 "In the {side} thyroid lobe a {size} low-density nodule.",
                 "The {side} lobe of the thyroid contains a {size} nodule.",
                 "A {size} thyroid nodule on the {side} is seen.",
                 "{Side} thyroid nodule of {size}, hypodense."),
        rads_neck.NECK_REGION,
    ),
    Outside(
        wordings("Multiphase CT of the liver", "MRI of the liver with contrast", "Liver MRI",
        "CT abdomen, liver protocol",
                 "Multiphasic liver MRI"),
        rads_liver.TECHNIQUE,
        ("incidental liver lesion, no chronic liver disease", "healthy patient with a liver lesion, no cirrhosis",
         "colon cancer, liver lesion, no liver disease", "lesion found on ultrasound, no cirrhosis or hepatitis"),
        wordings("Lesion of {size} in the {side} hepatic lobe with arterial hyperenhancement, no washout.",
                 "In the {side} lobe of the liver a {size} arterially enhancing lesion with washout.",
                 "The {side} hepatic lobe shows a {size} hyperenhancing lesion with a central scar.",
                 "A {size} arterially hyperenhancing lesion lies in the {side} lobe.",
                 "Arterially enhancing lesion, {size}, {side} hepatic lobe."),
        rads_liver.LIVER,
    ),
    Outside(
        wordings("Ultrasound of the gallbladder", "Ultrasound, right upper quadrant", "Emergency abdominal ultrasound",
                 "Right upper quadrant sonogram", "Gallbladder ultrasound"),
        rads_gallbladder.TECHNIQUE,
        ("acute right upper quadrant pain and fever", "acute abdominal pain, raised white count",
        "acute onset of biliary pain"),
        wordings("Acute cholecystitis: distended gallbladder, wall edema of {size}, impacted stone, positive "
                 "Murphy sign.",
                 "Wall thickening of {size} with edema, pericholecystic fluid and a positive Murphy sign, acute "
                 "cholecystitis.",
                 "The gallbladder is tense and tender, wall {size}, with an impacted stone: acute cholecystitis.",
                 "Impacted stone in the neck, edematous wall of {size} and tenderness, in keeping with acute "
                 "cholecystitis.",
                 "Acute cholecystitis with a {size} edematous wall and pericholecystic fluid."),
        Region(rads_gallbladder.UPPER_ABDOMEN.organs, ("biliary dilatation", "hydronephrosis",
        "splenomegaly",
               "pleural effusion", "pancreatic duct dilatation"), rads_gallbladder.UPPER_ABDOMEN.incidental),
    ),
    Outside(
        wordings("CT of the neck with contrast", "Staging CT of the neck", "MRI of the neck", "Neck CT, staging",
                 "Contrast-enhanced neck CT"),
        CT_TECHNIQUE,
        ("newly diagnosed tongue cancer, staging before treatment", "new tonsil carcinoma, untreated",
         "newly found larynx cancer, no treatment yet"),
        wordings("Untreated primary tumor of {size} on the {side} with no extension to bone.",
                 "The untreated {side} sided primary measures {size}.",
                 "Enhancing primary tumor on the {side}, {size}, before any treatment.",
                 "Primary tumor of the {side} side, {size}, not yet treated.",
                 "Primary cancer of {size}, {side}, treatment not begun."),
        rads_neck.NECK_REGION,
    ),
    Outside(
        wordings("Ultrasound of the male breast", "Male breast sonogram", "Ultrasound of both breasts in a man",
                 "Sonography of the breast, male", "Male breast ultrasound"),
        rads_breast.TECHNIQUES["breast ultrasound"],
        ("tender retroareolar swelling", "breast enlargement", "medication-related gynecomastia"),
        wordings("{Side} retroareolar flame-shaped glandular tissue of {size}, gynecomastia.",
                 "Gynecomastia on the {side}, {size} of retroareolar tissue.",
                 "In the {side} subareolar region {size} of glandular tissue, typical of gynecomastia.",
                 "The {side} side shows gynecomastia, {size}.",
                 "Typical gynecomastia, {size}, {side}."),
        rads_breast.REGION,
        sex="male",
    ),
    Outside(
        wordings("CT of the head", "Radiograph of the knee", "MRI of the lumbar spine", "CT of the abdomen and pelvis",
                 "Radiograph of the shoulder"),
        CT_TECHNIQUE,
        ("headache", "pain after a fall", "back pain", "screening of other organs is up to date, unrelated pain"),
        wordings("Degenerative change and an effusion of {size} on the {side}.",
                 "On the {side} a benign cyst of {size}, of no consequence.",
                 "A {size} soft tissue swelling on the {side}.",
                 "{Side} sided hematoma of {size}.",
                 "Small hematoma, {size}, on the {side}."),
        Region(("skin", "subcutaneous fat", "vessels", "visible bones", "soft tissues", "muscles", "included organs",
                "joint spaces", "spinal canal"),
               ("fracture", "dislocation", "acute hemorrhage", "foreign body", "mass effect", "bone destruction",
               "abscess"),
               ("lipoma", "bone island", "sebaceous cyst")),
    ),
)  # fmt: skip


def no_rads(writer: Writer, category: str = NO_RADS) -> Case:
    """A study outside all systems; its history may speak of any of them."""
    kind = writer.random.choice(OUTSIDE)
    side = writer.one(SIDES)
    text = writer.say(kind.finding, side=side, Side=side.capitalize(), size=size(writer, writer.random.randint(5, 34)))
    return Case(category, kind.exam, kind.technique, writer.one(kind.reasons), [text], kind.region, sex=kind.sex)
