"""Radiological findings in a text: which are named, denied or in doubt, and on which side. Words only, no weights.

Denial and doubt follow NegEx (Chapman et al., J Biomed Inform 2001;34:301-310) and ConText (Harkema et al., J Biomed
Inform 2009;42:839-851): words before or after a finding reach to the next conjunction or the end of the sentence.
The classes are those of CheXpert (Irvin et al., AAAI 2019).
"""

import bisect
import functools
import re
import string
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from radlite.sections import REMEMBERED, Sentence, sections, sentences
from radlite.tasks.abnormality import CLASSES

State = Literal["positive", "negative", "uncertain"]
_STATES: Final = ("positive", "uncertain", "negative")
_Scope = Literal["positive", "negative", "uncertain", "unchanged", "past"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding that a text names."""

    name: str
    """One of `abnormality.CLASSES` where it fits, else a term in lower case such as `liver metastasis`."""
    state: State
    side: str
    """`left`, `right`, `bilateral` or nothing."""
    start: int
    end: int
    """`text[start:end]` names it."""


@dataclass(frozen=True, slots=True)
class Support:
    """What a conclusion rests on, and what speaks against it."""

    sources: tuple[Sentence, ...]
    """Sentences of the report, best first, at most three."""
    warnings: tuple[str, ...]
    """They never quote the text."""


def findings(text: str) -> tuple[Finding, ...]:
    """The findings in the order of the text.

    Left out is what was so earlier (`history of`), and what stands under indication, technique, comparison or exam.
    """
    return _findings(text)


def states(text: str) -> dict[str, str]:
    """Each of the fourteen classes to `positive`, `negative`, `uncertain` or `not mentioned`.

    Of several mentions positive wins over uncertain over negative. `No Finding` is positive, as in CheXpert, if nothing
    but devices is positive or uncertain; the text must deny a class, or call the study normal.
    """
    said: dict[str, set[str]] = {}
    for one in findings(text):
        said.setdefault(one.name, set()).add(one.state)
    result = {
        name: next((state for state in _STATES if state in said.get(name, ())), "not mentioned") for name in CLASSES
    }
    others = {result[name] for name in CLASSES if name not in ("No Finding", "Support Devices")}
    normal = not others & {"positive", "uncertain"} and ("negative" in others or "No Finding" in said)
    return {**result, "No Finding": "positive" if normal else "not mentioned"}


def finding_f1(candidate: str, reference: str) -> float:
    """F1 (0 to 1) over the set of findings with their states; sides must agree where both texts say one.

    Two texts without any finding agree. Size and age of a finding do not count.
    """
    found, true = _sides(findings(candidate)), _sides(findings(reference))
    total = sum(map(len, found.values())) + sum(map(len, true.values()))
    both = sum(_agreeing(found[key], true[key]) for key in found.keys() & true.keys())
    return 2 * both / total if total else 1.0


def support(conclusion: str, report: str) -> Support:
    """Hold `conclusion` against the findings, sides and measurements of `report`."""
    found = _findings(report)
    claimed = _findings(conclusion, _usual_organ(_parsed(report)))
    named: dict[str, list[Finding]] = {}
    for one in found:
        named.setdefault(one.name, []).append(one)
    warnings = [_doubt(one, named) for one in claimed if one.name != "No Finding"]
    if _measures(conclusion) - _measures(report):
        warnings.append("a number is not in the report")
    return Support(_sources(conclusion, claimed, report, found), tuple(filter(None, dict.fromkeys(warnings))))


# The lexicon: names to the words for them. A blank is a run of blanks, a line break or a hyphen. Words without a name
# are passed over; ? makes a finding uncertain at most; with ! the denial is the finding; a bar gives two.

_ZONE: Final = r"(?:lung|lobes?|lobar|lingula\w*|segment\w*|pulmonary)"
_NODES: Final = r"(?:lymph )?nodes?"

_LEXICON: Final = (
    ("", r"""mass effect|body mass|fracture risk|(?:tracheal|airway|bronchial) collapse|collapsed (?:gallbladder|
        (?:urinary )?bladder|stomach|bowel|colon|ivc)|(?:contrast|vascular|arterial|venous|bowel) opacification|
        opacification of (?:the )?(?:\w+ ){0,2}(?:arter\w+|veins?|vessels?|aorta|bowel|colon|calyces|ureters?)|
        (?:mastoid|sinus|ethmoid|maxillary|lens|corneal) opaci\w+|gram negative|chest port(?:able)?|(?:soft tissue|
        subcutaneous|marrow|cerebral|vasogenic|cytotoxic|mesenteric|periportal|wall|scrotal|leg|ankle|perilesional|
        peritumou?ral|pericholecystic|stromal|fat pad|body) o?edema"""),
    ("", r"(?:other|additional|further) (?:\w+ ){0,2}?(?:abnormalit(?:y|ies)|disease|process(?:es)?|findings?)"),
    ("!No Finding", r"""(?:(?:acute|active|significant|relevant) (?:(?:cardiopulmonary|cardiothoracic|intrathoracic|
        thoracic|chest) )?|(?:cardiopulmonary|cardiothoracic|intrathoracic|thoracic) )(?:abnormalit(?:y|ies)|disease|
        process(?:es)?|findings?|patholog(?:y|ies))(?! (?:of|in|involving|at) (?!the (?:chest|thorax)))"""),
    ("No Finding", r"""no abnormalit(?:y|ies)(?! (?:of|in|involving|at) (?!the (?:chest|thorax)))|(?:normal|
        unremarkable) (?:(?:frontal|lateral|pa|ap|portable|and|two view|ct|mri?) ){0,3}(?:of the )?(?:chest|study|
        exam(?:ination)?|radiographs?|x rays?|film|ct|scan)(?: of the chest)?(?! wall)|(?:chest|study|exam(?:ination)?|
        radiographs?|x rays?|film|scan) (?:is|are|was) (?:entirely |otherwise )?(?:normal|unremarkable|
        within normal limits|negative)(?! for)"""),
    ("Pneumothorax|Pleural Effusion", r"(?:hydro|ha?emo|pyo)pneumothora\w+"),
    ("pericardial effusion", r"pericardial (?:effusions?|fluid)|ha?emopericardium"),
    ("joint effusion", r"""(?:(?:knee|hip|elbow|ankle|shoulder|wrist) )?joint (?:effusions?|fluid)|(?:knee|hip|elbow|
        ankle) effusions?"""),
    ("middle ear effusion", r"(?:mastoid|middle ear) effusions?"),
    ("Atelectasis", rf"""atelecta\w+|collapsed? (?:of )?(?:the )?(?:\w+ ){{0,3}}?{_ZONE}|{_ZONE} (?:is |has |
        are )?collapsed?|collapse(?: consolidation)?"""),
    ("Cardiomegaly", r"""cardiomegaly|cardiac enlargement|heart enlargement|enlargement of (?:the )?(?:heart|
        cardiac silhouette)|enlarged (?:heart|cardiac (?:silhouette|shadow|contours?))"""),
    ("Cardiomegaly?", r"borderline (?:cardiac enlargement|enlarged heart|heart size|cardiac size|cardiomegaly)"),
    ("Enlarged Cardiomediastinum", r"""(?:cardio)?mediastinal (?:widening|enlargement|prominence)|
        widening of (?:the )?(?:superior |upper )?(?:mediastin\w+|cardiomediastin\w+)(?: silhouette| contours?)?|
        (?:widened|enlarged|prominent|broadened) (?:superior |upper )?(?:mediastinum|cardiomediastinum|
        (?:cardio)?mediastinal (?:silhouette|contours?|shadow))"""),
    ("Lung Lesion", r"""nodular (?:opacit(?:y|ies)|densit(?:y|ies)|lesions?)|mass like (?:opacit(?:y|ies)|
        consolidation)|(?:lung|pulmonary) lesions?|cavitary lesions?|(?:bronchial|bronchogenic|lung) (?:carcinoma|
        cancer|neoplasm)"""),
    ("Consolidation", r"consolidat\w+"),
    ("Edema", r"""(?:(?:pulmonary|lung|interstitial|alveolar|cardiogenic) ){0,2}o?edema|(?:pulmonary |
        central )?(?:vascular|venous) (?:congestion|engorgement|redistribution)|pulmonary congestion|
        (?:congestive )?heart failure|chf|cardiac (?:decompensation|failure)|kerley(?: b)? lines|cephali[sz]ation|
        (?:fluid|volume) overload"""),
    ("Fracture", r"""fractur\w+|compression deformit(?:y|ies)|(?:vertebra\w*|vertebral body) collapse|
        collapse of (?:the )?(?:\w+ )?vertebra\w*|broken ribs?"""),
    ("Fracture?", r"acute (?:osseous|bony|skeletal|bone) (?:abnormalit(?:y|ies)|findings?|injur(?:y|ies))"),
    ("Lung Opacity", r"""(?:air ?space|ground glass|interstitial|parenchymal)? ?(?:opaci\w+|infiltrat(?:es?|ions?))|
        air ?space diseases?|ground glass(?: (?:attenuation|changes?))?|(?:increased|prominent|coarse\w*|
        accentuated) (?:bilateral )?interstitial (?:lung )?(?:markings|pattern)|reticul(?:ar|ation|
        onodular)(?: (?:pattern|markings|changes?|opacit(?:y|ies)))?"""),
    ("pleural empyema|Pleural Effusion", r"(?:pleural )?empyemas?"),
    ("Pleural Effusion", r"""(?:pleural |parapneumonic |subpulmonic )?effusions?|pleural (?:space )?fluid|
        fluid in the (?:\w+ )?pleural (?:space|cavity)|hydrothora\w+|ha?emothora\w+|chylothora\w+"""),
    ("Pleural Effusion?", r"""blunt(?:ing|ed) (?:of )?(?:the )?(?:\w+ ){0,3}?(?:costophrenic|cp|
        costodiaphragmatic) (?:angles?|sulc(?:us|i)|recess(?:es)?)"""),
    ("Pleural Other", r"""(?:pleural|pleuro ?parenchymal|biapical pleural|apical) (?:thickening|scar(?:ring|s)?|
        plaques?|calcifications?|fibrosis|cap(?:s|ping)?|nodularity|based mass)|(?:thickening|thickened|
        calcified) (?:of )?(?:the )?(?:\w+ )?pleura(?:l plaques?)?|fibrothora\w+"""),
    ("Pneumonia", r"""(?:broncho|aspiration |lobar )?pneumonias?|pneumonic (?:infiltrat\w+|consolidation)|
        infectious process(?:es)?|(?:pulmonary|lung|chest|lower respiratory(?: tract)?) infections?"""),
    ("Pneumothorax", r"pneumothora\w+|ptx"),
    ("Support Devices", r"""(?:lines?(?: and | or |/| )tubes?|tubes?(?: and | or |/)lines?)|(?:support|indwelling|
        medical|monitoring) devices?|(?:endotracheal|tracheostomy|nasogastric|orogastric|enteric|feeding|dobhoff|chest|
        thoracostomy|pigtail|et|ng|og|ett|pleural) (?:tubes?|catheters?|drains?)|endotracheal airway|tracheostomy|ett|
        ngt|picc(?: lines?)?|(?:central (?:venous )?|port a cath |swan ganz |pulmonary artery |dialysis |jugular |
        subclavian |(?:ij|ic|cv) )(?:lines?|catheters?|access|cath)|cvc|port a cath|mediport|(?:chest |infusion )ports?|
        (?:dual chamber |cardiac |single chamber )?pacemakers?|pacers?|icds?|aicd|(?:cardioverter )?defibrillators?|
        (?:pacer|pacemaker|pacing|icd) (?:leads?|wires?)|(?:sternal|sternotomy|cerclage) wires?|(?:prosthetic|
        mechanical|bioprosthetic|artificial) (?:\w+ )?valves?|valve (?:prosthes[ie]s|replacement)|
        intra aortic balloon pump|iabp|ecmo cannulas?|(?:spinal|orthopa?edic|fixation) hardware|surgical drains?|
        stents?"""),
    ("lymphadenopathy", rf"""(?:lymph)?adenopath\w+|lymph node enlargement|enlargement of (?:the )?(?:\w+ )?lymph nodes|
        (?:enlarged|pathologic(?:al)?(?:ly enlarged)?) (?:\w+ ){{0,3}}?{_NODES}"""),
    ("pulmonary embolism", r"""(?:pulmonary (?:arter(?:y|ial) )?|saddle )(?:thrombo ?)?embol\w+|pe|
        filling defects? in (?:the )?(?:\w+ )?pulmonary arter\w+"""),
    ("pulmonary hypertension", r"pulmonary (?:arterial )?hypertension"),
    ("emphysema", r"(?:(?:pulmonary|centrilobular|paraseptal|bullous|panlobular) )?emphysema(?:tous changes?)?|copd"),
    ("subcutaneous emphysema", r"subcutaneous (?:emphysema|air|gas)"),
    ("pneumomediastinum", r"pneumomediastinum"),
    ("bronchiectasis", r"(?:traction )?bronchiecta\w+"),
    ("bronchial wall thickening", r"(?:bronchial|peribronchial|airway)(?: wall)? (?:thickening|cuffing)"),
    ("pulmonary fibrosis", r"(?:pulmonary|lung|interstitial) fibrosis|interstitial lung disease|honeycomb\w*"),
    ("pneumonitis", r"pneumonitis"),
    ("aspiration", r"aspiration(?! (?:biopsy|is|of))"),
    ("granuloma", r"granulomas?|granulomatous disease"),
    ("hyperinflation", r"hyper ?(?:inflat|expan)\w+"),
    ("coronary calcification", r"coronary (?:arter(?:y|ial) )?calcifi\w+|calcifi\w+ of the coronary arter\w+"),
    ("aortic calcification", r"""(?:aortic|aorta)(?: (?:arch|knob|wall))? (?:calcifi\w+|atheroscleros\w+)|
        calcifi\w+ of the (?:\w+ )?aort(?:a|ic)(?: arch)?|calcified aort\w+"""),
    ("atherosclerosis", r"atherosclero\w+|atheroma\w*"),
    ("aneurysm", r"(?:(?:aortic|cerebral|abdominal aortic) )?(?:pseudo)?aneurysm\w*"),
    ("dissection", r"(?:aortic |arterial )?dissections?"),
    ("venous thrombosis", r"(?:deep )?(?:vein|venous) thromb\w+|dvt"),
    ("portal vein thrombosis", r"portal (?:vein|venous) thromb\w+"),
    ("tumor in vein", r"tumou?r in vein|tumou?r thromb\w+"),
    ("thrombus", r"thromb(?:us|i|osis)"),
    ("stenosis", r"(?:(?:coronary|carotid|renal artery|luminal) )?stenos[ie]s"),
    ("spinal canal stenosis", r"""(?:spinal|central|canal|foraminal|neural foraminal)(?: canal)? (?:stenos[ie]s|
        narrowing)"""),
    ("disc herniation", r"dis[ck] (?:herniation|protrusion|extrusion|bulg\w+)s?|herniated dis[ck]s?|bulging dis[ck]s?"),
    ("hiatal hernia", r"hiat(?:al|us) hernias?"),
    ("hernia", r"(?:(?:inguinal|umbilical|ventral|femoral|incisional) )?hernias?"),
    ("degenerative change", r"""degenerative (?:\w+ )?(?:changes?|disease)|osteophyt\w+|spondylos[ie]s|osteoarthritis|
        arthrosis"""),
    ("dislocation", r"(?:sub)?luxations?|dislocat\w+"),
    ("ligament tear", r"(?:ligament|acl|pcl|mcl|meniscal|menisc\w+|tendon|rotator cuff|labral) (?:tears?|ruptures?)"),
    ("osteomyelitis", r"osteomyelitis"),
    ("spondylodiscitis", r"(?:spondylo)?dis[ck]itis"),
    ("scoliosis", r"(?:kypho)?scolio\w+"),
    ("osteopenia", r"osteopeni[ac]|osteoporo\w+|deminerali[sz]ation"),
    ("intracranial hemorrhage", r"""(?:intracranial|intracerebral|intraparenchymal|subdural|epidural|subarachnoid|
        intraventricular|cerebral|brain) (?:ha?emorrhages?|ha?ematomas?|bleed(?:ing|s)?)"""),
    ("hemorrhage", r"ha?emorrhag\w+|active (?:bleeding|extravasation)"),
    ("hematoma", r"ha?ematomas?"),
    ("infarct", r"infarct\w*|(?:acute |territorial )?ischa?emi[ac]|strokes?"),
    ("hydrocephalus", r"hydrocephal\w+"),
    ("midline shift", r"(?:midline|mediastinal|tracheal) (?:shift|deviation)"),
    ("sinusitis", r"sinusitis"),
    ("appendicitis", r"appendicitis"),
    ("diverticulitis", r"diverticulitis"),
    ("diverticulosis", r"diverticul(?:osis|a|um)"),
    ("cholecystitis", r"cholecystitis"),
    ("gallstones", r"gallstones?|cholelithiasis|biliary calcul(?:us|i)|stones? in the gallbladder"),
    ("choledocholithiasis", r"choledocholithiasis|(?:common )?bile duct stones?"),
    ("biliary dilatation", r"""(?:biliary|bile duct|intrahepatic duct(?:al)?)(?: ductal?)? dilat\w+|
        dilated (?:common )?bile ducts?"""),
    ("gallbladder wall thickening", r"gallbladder wall thickening|thicken\w+ (?:of the )?gallbladder wall"),
    ("pancreatitis", r"pancreatitis"),
    ("colitis", r"colitis"),
    ("enteritis", r"enteritis|ileitis"),
    ("pyelonephritis", r"pyelonephritis"),
    ("hydronephrosis", r"(?:uretero)?hydro(?:uretero)?(?:nephrosis|ureter)|pelvicaliectasis|caliectasis"),
    ("urinary stone", r"""(?:nephro|uro|uretero)lithiasis|(?:kidney|renal|ureter(?:al|ic)?|bladder|urinary) (?:stones?|
        calcul(?:us|i))"""),
    ("bowel obstruction", r"(?:(?:small|large) )?bowel obstructions?|sbo|(?:paralytic |adynamic )?ileus"),
    ("free air", r"""pneumoperitoneum|free (?:(?:intra )?(?:peritoneal|abdominal) )?(?:air|gas)|perforat(?:ion|
        ed viscus)"""),
    ("ascites", r"ascites|free (?:(?:pelvic|intra ?peritoneal|abdominal|peritoneal) )?fluid"),
    ("abscess", r"abscess(?:es)?"),
    ("fatty liver", r"(?:hepatic )?steatosis|fatty (?:liver|infiltration of the liver)|steatohepatitis"),
    ("cirrhosis", r"cirrho\w+"),
    ("hepatocellular carcinoma", r"hepatocellular carcinoma|hcc"),
    ("hepatomegaly", r"hepato(?:spleno)?megaly|enlarged liver"),
    ("splenomegaly", r"splenomegaly|enlarged spleen"),
    ("microcalcifications", r"micro ?calcifications?"),
    ("architectural distortion", r"architectural distortions?"),
    ("peritoneal carcinomatosis", r"(?:peritoneal )?carcinomatosis|peritoneal implants?|omental cak\w+"),
    ("nodule", r"(?:micro)?nodules?"), ("mass", r"mass(?:es)?"), ("lesion", r"lesions?"), ("cyst", r"cysts?"),
    ("metastasis", r"metasta\w+"), ("tumor", r"tumou?rs?|neoplas\w+|carcinomas?|cancers?|lymphomas?"),
    ("malignancy", r"malignan(?:cy|cies)"),
)  # fmt: skip

_OF_AN_ORGAN: Final = {"nodule", "mass", "lesion", "cyst", "metastasis", "tumor"}
"""Findings that belong to an organ: `liver metastasis`. In the lung, nodules, masses and tumors are `Lung Lesion`."""
_ORGANS: Final = {
    "lung": r"""lungs?|pulmonary|(?:upper|middle|lower) (?:zone|lobe)s?|lingula\w*|peri ?hilar|hilar|basilar|bronch\w+|
        pleural?|fleischner""",
    "chest": r"chest|thora(?:x|cic)",
    "liver": r"liver|hepatic|intrahepatic|segment (?:[1-8]|iv[ab]?|v?i{1,3}|v)", "kidney": r"kidneys?|renal",
    "adrenal": r"adrenals?", "pancreas": r"pancrea\w+", "spleen": r"spleen|splenic",
    "thyroid": r"thyroid|isthmus", "breast": r"breasts?|mammar\w+|mammogra\w+", "ovary": r"ovar(?:y|ies|ian)|adnexal?",
    "uterus": r"uter(?:us|ine)|endometri\w+", "prostate": r"prostat\w+|peripheral zone|transition zone",
    "bladder": r"bladder", "gallbladder": r"gallbladder", "brain": r"brain|cerebr\w+|cerebell\w+|intracranial",
    "bone": r"bones?|osseous|skelet\w+|vertebra\w*|lytic|blastic|sclerotic|ribs?", "mediastinum": r"mediastin\w+",
    "bowel": r"bowel|colon\w*|rect(?:um|al)|sigmoid|cecum|caecum", "soft_tissue": r"soft tissues?", "skin": r"skin",
    "neck": r"neck|parotid|tongue|laryn\w+|pharyn\w+",
}  # fmt: skip

_HEART: Final = r"heart(?: size)?|cardiac (?:silhouette|size|shadow|contours?)"
_BOTH: Final = r"""cardiomediastinal (?:silhouette|contours?|size)|cardiomediastinum|(?:cardiac|heart)(?: and|,|
        /) (?:superior )?mediastin(?:al|um)(?: (?:silhouettes?|contours?))?"""
_CHAMBERS: Final = ("Cardiomegaly", "Enlarged Cardiomediastinum")
# Anatomy: what it is called, what it has if it is enlarged or blunted, and what it is free of if it is normal or clear.
_ANATOMY: Final[tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]] = (
    (_BOTH, ("Enlarged Cardiomediastinum",), _CHAMBERS),
    (_HEART, ("Cardiomegaly",), ("Cardiomegaly",)),
    (r"""mediastinum|mediastinal (?:and hilar )?(?:silhouettes?|contours?|width|
        structures)""", _CHAMBERS[1:], _CHAMBERS[1:]),
    (r"lungs|lung (?:fields?|parenchyma|bases)|(?:left|right) lung", (), ("Consolidation", "Lung Opacity")),
    (r"""(?:costophrenic|cp) (?:angles?|sulc(?:us|i))|pleural (?:spaces?|
        recess(?:es)?)""", ("Pleural Effusion",), ("Pleural Effusion",)),
    (r"bones|bony (?:structures|thorax)|osseous structures|ribs|skeleton", (), ("Fracture",)),
    (r"lymph nodes", ("lymphadenopathy",), ("lymphadenopathy",)),
    (r"liver", ("hepatomegaly",), ()), (r"spleen", ("splenomegaly",), ("splenomegaly",)),
    (r"appendix", (), ("appendicitis",)),
)  # fmt: skip

# Words that deny, doubt, or bound what is denied and doubted.

_VERB: Final = (
    r"(?:is|are|was|were|has|have|had|be|being|been|remains?|appears?|seems?|looks?|shows?|showed|demonstrates?)"
)
_SEEN: Final = r"""(?:seen|identified|visuali[sz]ed|demonstrated|evident|appreciated|present|detected|noted|found|
        observed|apparent|shown)"""
_ADVERB: Final = r"""(?:(?:definitely|clearly|currently|now|longer|entirely|completely|definitively|fully|since|
        interval|confidently|totally|reliably) ){0,2}"""
_CHANGED: Final = (
    r"(?:unchanged|stable|increas\w+|decreas\w+|improv\w+|worse\w*|larger|smaller|new|persistent|redemonstrated)"
)
_NOUN: Final = (
    r"(?:change|increase|decrease|improvement|worsening|progression|difference|alteration|growth|regression)s?"
)

# Of two that begin at one place the first wins.
_CUES: Final = {
    "pseudo": rf"""(?:no|without|not)(?: (?:a|any|significant|significantly|substantial|substantially|appreciable|
        appreciably|definite|interval|relevant|major|real|further|notable|clear|obvious|short|term|
        acute)){{0,3}} (?:{_NOUN}|changed)(?: (?:in|of|from|to))?|not (?:only|necessarily|well|fully|adequately|
        completely|clearly|optimally)(?: {_SEEN}| evaluated| assessed| included| imaged)?|(?:{_VERB} ){{0,3}}(?:almost|
        nearly|partially|partly|incompletely|largely|mostly|
        not)(?: completely| entirely| fully)?(?: (?:{_VERB}))?(?: (?:resolved|cleared))|(?:partial|near|incomplete|
        nearly complete|near complete) (?:resolution|clearing) of|no doubt|no\.? \d+""",
    "doubted": rf"""(?:{_VERB} |can |could ){{0,3}}(?:not |cannot |can't |
        couldn't )(?:be )?{_ADVERB}(?:be )?{_ADVERB}(?:excluded|ruled out)(?! by)|(?:{_VERB} ){{1,3}}(?:difficult|
        hard) to exclude|(?:{_VERB} |may be |might be |could be ){{1,3}}(?:also |still )?(?:possible|probable|suspected|
        likely|questioned|questionable|suggested|considered|in question|favou?red|equivocal)(?= ?(?:[.,;:)]|$|in |on |
        at |and |but |given |due |because ))|(?:may|might|could) be {_SEEN}|in (?:the |a )?differential|not excluded|
        not ruled out|is (?:a )?(?:consideration|possibility)|should be considered|\?""",
    "absent": rf"""(?:(?:that|which) )?(?:{_VERB} |can |could |do |does ){{0,3}}(?:not |cannot |
        no longer )(?:be )?{_ADVERB}(?:be )?{_ADVERB}{_SEEN}|(?:{_VERB} ){{0,3}}(?:(?:completely|fully|now|since|
        entirely) ){{0,3}}(?:resolved|cleared|disappeared|vanished)|(?:{_VERB} ){{1,3}}(?:now |completely |
        been ){{0,3}}(?:absent|excluded|ruled out|unlikely|negative|denied|gone|removed)|(?:{_VERB} ){{0,3}}(?:less|
        un)likely(?= ?(?:[.,;:)]|$))|[:=-] ?(?:none|no|absent|negative|nil|not {_SEEN})(?= ?(?:[.,;)]|$))""",
    "kept": rf"{_VERB}(?: been)?(?: \w+ly)? {_CHANGED}|persists?|persisted|again {_SEEN}",
    "doubt": r"""(?:can ?not|can't|could not|does not|do not|difficult to|hard to|not)(?: \w+ly)? (?:exclude|rule out)|
        (?:to )?exclude|rules? out|r/o|possib(?:le|ly|ility of)|probab(?:le|ly)|presum(?:ed|ably|ptive)|
        potential(?:ly)?|(?:may|might|could)(?: (?:also|well|possibly|potentially))? (?:be|represent|reflect|indicate|
        suggest|relate to|correspond to|have|contain|signify)(?: due to)?|suspect(?:ed|s)?|suspicion (?:of|for)|
        suspicious (?:for|of)|concern(?:ing)? (?:for|of)|worrisome for|suggest(?:s|ed|ing)?(?: of)?|suggestive(?: of)?|
        (?:most |more |less )?likely|question(?:able|ed)?(?: of)?|equivocal(?: for)?|indeterminate for|favou?r(?:s|ed|
        ing)?|differential(?: diagnos[ie]s| considerations?)?(?: includes?| is| are)?|query|cannot be certain|
        borderline""",
    "hint": r"to (?:suggest|indicate|represent)",
    "denial": r"""no(?: (?:\w+ )?(?:evidence|signs?|features|findings|indication)(?: of| for)?)?|not|without|w/o|none|
        denies|neither|absen(?:ce|t)(?: of)?|free (?:of|from)|clear of|negative for|lack(?:s|ing)?(?: of)?|(?:interval |
        complete )?(?:resolution|clearing) of|resolved|ruled out|excludes?|excluded|fails? to \w+|rather than|
        instead of|(?:interval )?removal of|unlikely""",
    "past": r"""(?:past )?(?:medical )?(?:history|hx)(?: (?:of|includes?))?|h/o|status post|s/p|
        post(?:operative)? (?:treatment|therapy) (?:of|for)|(?:prior|previous|former)(?! (?:stud|exam|radiogra|ct|mr|x|
        film|report|chest|imag|ultra|and|scan|mammo|on|to|from|comparison))|evaluat\w+ for|assess(?:ment)? for|
        screen(?:ing)? for|in case of""",
    "stop": r"""but|however|although|though|except(?:ing)?(?: for)?|yet|nevertheless|nonetheless|whereas|while|
        apart from|aside from|other than|besides|with the exception of|which|because|due to|secondary to|related to|
        in the setting of|given|there (?:is|are|was|were|has been|have been)|and (?:the|there|a|an)|;""",
    "amount": rf"""\d+(?:\.\d+)? ?[mc]m|small|tiny|trace|mild|minimal|minor|moderate|severe|large|extensive|marked|
        multiple|several|few|scattered|patchy|subtle|again|continued|residual|{_CHANGED}""",
    "verb": rf"(?:that|which) {_VERB}|{_VERB}",
    "versus": r"versus|vs\.?",
    "or": r"and/or|or|nor", "and": r"and|as well as|plus|&",
    "comma": r",|with|associated with",
}  # fmt: skip

_GAP: Final = r"[\s-]{1,3}+"


def _pattern(words: str) -> str:
    words = re.sub(r"\s*\n\s*", "", words)
    return words.replace(" ?", f"(?:{_GAP})?").replace(" ", _GAP)


def _groups(table: Iterable[tuple[str, str]]) -> str:
    return "|".join(f"(?P<{name}>{_pattern(words)})" for name, words in table)


_TOKEN: Final = re.compile(r"\\.|\[[^\]]+\]|\{[^}]*\}|\(\?.|.")


def _alternatives(words: str) -> list[str]:
    """The alternatives of a pattern that stand in no group."""
    parts, depth = [""], 0
    for token in _TOKEN.findall(re.sub(r"\s*\n\s*", "", words)):
        depth += token.startswith("(") - (token == ")")
        if token == "|" and not depth:
            parts.append("")
        else:
            parts[-1] += token
    return parts


def _beginnings(words: str) -> set[str]:
    """What an alternative may begin with, and perhaps more: two letters, or one character."""
    tokens, beginnings, depth, inside = [*_TOKEN.findall(words), "", ""], set(), 0, False
    for token, second, third in zip(tokens, tokens[1:], tokens[2:], strict=False):
        depth += token.startswith("(") - (token == ")")
        literal = token[0] not in "(){|?*+"
        if literal and not inside:
            sure = token.isalpha() and second.isalpha() and not third.startswith(_QUANTIFIERS)
            beginnings |= {token + second} if sure else set(string.digits if token == r"\d" else token.strip("\\[]"))
        if not depth and (literal or token == ")") and not second.startswith(_QUANTIFIERS):
            return beginnings
        inside = literal
    return beginnings


_QUANTIFIERS: Final = ("?", "*", "{")
_WHOLE: Final = r"(?!\B\w)"
"""Not within a word."""
_NAMES: Final = {f"f{number}": name for number, (name, _) in enumerate(_LEXICON)}


@functools.cache
def _parts() -> tuple[tuple[str, str, set[str]], ...]:
    """The alternatives for findings, cues and organs: group, words, how they may begin."""
    lexicon = zip(_NAMES, (words for _, words in _LEXICON), strict=True)
    return tuple(
        (group, one, _beginnings(one))
        for group, words in (*lexicon, *_CUES.items(), *_ORGANS.items())
        for one in _alternatives(words)
    )


@functools.cache
def _keys() -> frozenset[str]:
    return frozenset().union(*(beginnings for *_, beginnings in _parts()))


@functools.cache
def _beginning(key: str) -> re.Pattern[str]:
    """What begins with `key`. One pattern of everything would take several times as long to search."""
    table: dict[str, list[str]] = {}
    for group, one, beginnings in _parts():
        if key in beginnings or key[0] in beginnings or (len(key) == 1 and any(part[0] == key for part in beginnings)):
            table.setdefault(group, []).append(one)
    return re.compile(rf"(?:{_groups((group, '|'.join(words)) for group, words in table.items())}){_WHOLE}")


def _match(folded: str, word: re.Match[str], end: int) -> re.Match[str] | None:
    key = word[0][:2] if word[0][:2] in _keys() else word[0][0]
    return _beginning(key).match(folded, word.start(), end) if key in _keys() else None


_START: Final = re.compile(r"(?<!\w)\w++|[,;:?&=-]")

_BOTH_SIDES: Final = r"""(?P<bilateral>bilateral(?:ly)?|both|bi ?(?:basilar|basal|apical)|right and left|left and right
    |(?:left|right) (?:greater|more|larger|worse) than (?:the )?(?:left|right))"""
_SIDE_WORD: Final = _pattern(rf"{_WHOLE}(?:{_BOTH_SIDES}|(?P<left>left|lt)|(?P<right>right(?! clinical)|rt)){_WHOLE}")
_SIDE: Final = re.compile(_SIDE_WORD)
_SIDE_AFTER: Final = re.compile(
    rf"""[^,;]{{0,40}}?\b(?:(?:in|at|on|of|within|along|throughout|overlying|involving)\s
    (?:(?!(?:and|with)\b)\w+\W+){{0,3}}?|(?=bilateral)){_SIDE_WORD}""",
    re.VERBOSE,
)

_BARRED: Final = rf"(?:but|however|although|except|no|not|without|with|for|there|{_VERB})\b"
_FORWARD: Final = re.compile(
    rf"""{_WHOLE}(?:{_groups((f"a{number}", words) for number, (words, _, _) in enumerate(_ANATOMY))}){_WHOLE}
    (?=(?:[\s,/:()-]{{1,3}}+(?!{_BARRED})\w++){{0,5}}?[\s:,)-]{{0,3}}+(?:{_VERB}\s)?
    (?P<words>(?:(?!{_BARRED})\w++\s){{0,4}}?
    (?:(?P<doubtful>(?:upper[ ](?:limits?[ ](?:of[ ])?)?|top[ -])normal|borderline)
    |(?P<normal>normal|unremarkable|within[ ]normal[ ]limits|clear|intact|sharp|preserved
        |not[ ](?:\w+[ ])?(?:enlarged|widened|blunted))
    |(?P<changed>enlarged?(?:ment)?|widen(?:ed|ing)|prominent|dilated|blunted)))\b)""",
    re.VERBOSE,
)
_REVERSE: Final = re.compile(
    rf"""(?<!not[ ]){_WHOLE}(?:normal|unremarkable|clear|intact|sharp)\s(?:(?!{_BARRED}|of\s(?!the))\w++\s){{0,3}}?
    (?:{_groups((f"a{number}", words) for number, (words, _, _) in enumerate(_ANATOMY))}){_WHOLE}""",
    re.VERBOSE,
)
_HEDGE: Final = re.compile(r"\b(?:possibl[ey]|probabl[ey]|likely|questionabl[ey]|may|might|could|suspected)\b")


@functools.lru_cache(REMEMBERED)
def _findings(text: str, usual: str = "") -> tuple[Finding, ...]:
    """As `findings`; `usual` is the organ of a nodule, mass or lesion whose sentence names none."""
    parsed, hidden = _parsed(text), _background(text)
    usual = usual or _usual_organ(parsed)
    folded = _fold(text)
    found = list(_anatomy(folded))
    for sentence, items in parsed:
        found += _named(folded, sentence, items, usual)
    return tuple(sorted((one for one in found if not _inside(one.start, hidden)), key=lambda one: (one.start, one.end)))


def _fold(text: str) -> str:
    """Lower case with plain hyphens, blanks and quotes; as long as `text`."""
    # U+0130 is the only character whose lower case is longer.
    return text.translate(_PLAIN).lower()


_PLAIN: Final = str.maketrans("\u0130\u2010\u2011\u2012\u2013\u00a0\u2009\u202f\u2019", "I----   '")


def _background(text: str) -> list[tuple[int, int]]:
    """Where the text says why and how the study was done; each such section ends at a blank line."""
    result = []
    for part in sections(text):
        if part.name in ("exam", "indication", "technique", "comparison"):
            blank = _BLANK_LINE.search(text, part.body, part.end)
            result.append((part.start, blank.end() if blank else part.end))
    return result


_BLANK_LINE: Final = re.compile(r"\S[^\S\n]*+\n[^\S\n]*+\n")


@dataclass(frozen=True, slots=True)
class _Item:
    """A finding, an organ or a cue of a sentence."""

    kind: str
    name: str
    """Of a finding or an organ."""
    start: int
    end: int


@functools.lru_cache(REMEMBERED)
def _parsed(text: str) -> tuple[tuple[Sentence, list[_Item]], ...]:
    folded = _fold(text)
    return tuple((sentence, list(_items(folded, sentence))) for sentence in sentences(text))


def _items(folded: str, sentence: Sentence) -> Iterator[_Item]:
    at = sentence.start
    while start := _START.search(folded, at, sentence.end):
        found = _match(folded, start, sentence.end)
        at = found.end() if found else start.end()
        group = (found and found.lastgroup) or ""
        kind = "finding" if group in _NAMES else "organ" if group in _ORGANS else group
        name = _NAMES.get(group, group)
        if name:
            yield _Item(kind, name, start.start(), at)


def _usual_organ(parsed: Sequence[tuple[Sentence, list[_Item]]]) -> str:
    """The organ that a text names first, as that is what was examined; the lung if none."""
    named = (item.name for _, items in parsed for item in items if item.kind == "organ")
    return next(named, "lung").replace("chest", "lung")


def _named(folded: str, sentence: Sentence, items: list[_Item], usual: str) -> Iterator[Finding]:
    scoped = _scoped(items)
    if not scoped:
        return
    organs = [(item.start, item.name) for item in items if item.kind == "organ" and item.name != "chest"]
    for (number, state), side in zip(scoped.items(), _sided(folded, sentence, items), strict=True):
        item = items[number]
        if state != "past":
            for name in item.name.split("|"):
                if meant := _meant(name, state):
                    whole = _of_organ(name.strip("?!"), item.start, organs, usual)
                    yield Finding(whole, meant, side, item.start, item.end)


def _meant(name: str, state: _Scope) -> State | None:
    if name.startswith("!"):
        return "positive" if state == "negative" else None
    if state == "positive":
        return "uncertain" if name.endswith("?") else state
    return state if state in ("negative", "uncertain") else None


@dataclass(slots=True)
class _Clause:
    """What is denied or in doubt at a place of a sentence, read from left to right."""

    found: dict[int, _Scope] = field(default_factory=dict)
    """Findings so far, by their number among the items."""
    before: _Scope = "positive"
    """What the words before say of the findings that follow."""
    named: bool = False
    """A finding has followed them, and no `or` since."""
    joined: bool = False
    """A comma has followed that, and no `or` since."""
    verb: bool = False
    clause: list[int] = field(default_factory=list)
    """Findings that words after them may speak of."""
    recent: list[int] = field(default_factory=list)
    """Those since the last comma."""
    either: int | None = None
    """The finding before an `or`."""

    def finding(self, number: int, item: _Item, items: list[_Item]) -> None:
        if self.verb:
            self.close()
        self.found[number] = "positive" if self.before == "unchanged" else self.before
        if self.either is not None and self.before == "positive" and items[self.either].name != item.name:
            self.found[self.either] = self.found[number] = "uncertain"
        self.either, self.named = None, True
        self.clause.append(number)
        self.recent.append(number)

    def close(self) -> None:
        """Words that follow speak of what follows."""
        self.clause, self.recent, self.verb, self.either = [], [], False, None

    def turn(self, before: _Scope) -> None:
        """From here on another state holds."""
        self.before, self.named, self.joined = before, False, False

    def after(self, state: _Scope) -> None:
        """Words that say something of the findings before them, or, without any, of those that follow."""
        if self.before == "negative" and not self.joined and self.clause:
            return
        targets = self.recent if self.joined and self.before in ("negative", "uncertain") else self.clause
        self.found.update(dict.fromkeys(targets, state))
        self.turn("positive" if targets else state)
        self.close()

    def comma(self, listed: bool) -> None:
        """`listed` if an `or` follows before the next cue: then the comma is one of a list."""
        if self.verb:
            self.turn("positive")
            self.close()
        elif self.before == "past" or (self.before == "uncertain" and self.named and not listed):
            self.turn("positive")
        self.joined, self.recent, self.either = self.named, [], None


def _scoped(items: list[_Item]) -> dict[int, _Scope]:
    """The state of each finding, by its number among `items`."""
    at, listed = _Clause(), _listed(items)
    for number, item in enumerate(items):
        match item.kind:
            case "finding":
                at.finding(number, item, items)
            case "pseudo":
                at.turn("unchanged")
                at.close()
            case "stop":
                at.turn("positive")
                at.close()
            case "denial":
                at.turn("negative")
                at.close()
            case "doubt" if at.before not in ("negative", "past") or at.named:
                at.turn("uncertain")
            case "hint" if at.before == "positive":
                at.turn("uncertain")
            case "past":
                at.turn("past")
            case "absent":
                at.after("negative")
            case "doubted":
                at.after("uncertain")
            case "kept" if at.joined:
                at.after("positive")
            case "amount" if at.named and not listed[number]:
                at.turn("positive")
            case "verb":
                at.verb = bool(at.clause)
            case "comma":
                at.comma(listed[number])
            case "and" if at.verb:
                at.comma(False)
            case "or":
                at.either = at.clause[-1] if at.clause else None
                at.named = at.joined = False
            case "versus":
                at.found.update((one, "uncertain") for one in at.clause[-1:] if at.found[one] == "positive")
                at.turn("uncertain")
    return at.found


def _listed(items: list[_Item]) -> list[bool]:
    """For each item, whether an `or` follows before a cue that ends a list."""
    result, seen = [], False
    for item in reversed(items):
        result.append(seen)
        seen = item.kind == "or" or (seen and item.kind not in ("stop", "pseudo", "denial", "doubt"))
    return result[::-1]


def _sided(folded: str, sentence: Sentence, items: list[_Item]) -> Iterator[str]:
    """The side of each finding of a sentence: from it and the words just before, else from the place that follows."""
    bounds = [item.start for item in items if item.kind in _BOUNDS] + [sentence.end]
    begin, taken = sentence.start, False
    for item in items:
        if item.kind == "finding":
            # The bound keeps the work linear where a sentence is endless.
            before = {one.lastgroup for one in _SIDE.finditer(folded, max(begin, item.start - 120), item.end)}
            after = _SIDE_AFTER.match(folded, item.end, bounds[bisect.bisect(bounds, item.start)])
            sides = before or {after.lastgroup if after else ""}
            yield "bilateral" if len(sides) > 1 else str(*sides)
        if item.kind in _BOUNDS or (taken and item.kind in ("and", "or")):
            begin, taken = item.end, item.kind == "finding"


_BOUNDS: Final = {"finding", "comma", "stop", "pseudo", "denial", "versus"}


def _of_organ(name: str, start: int, organs: list[tuple[int, str]], usual: str) -> str:
    """`name` with the organ that stands nearest."""
    if name not in _OF_AN_ORGAN:
        return name
    at = bisect.bisect(organs, (start, ""))
    near = min(organs[max(0, at - 1) : at + 1], key=lambda organ: abs(organ[0] - start), default=None)
    organ = near[1] if near else usual if name in ("nodule", "mass", "lesion") else ""
    if organ == "lung" and name not in ("cyst", "metastasis"):
        return "Lung Lesion"
    return f"{organ} {name}".replace("_", " ").strip()


def _inside(at: int, spans: list[tuple[int, int]]) -> bool:
    """Whether one of the spans, which are in order and apart, holds `at`."""
    before = bisect.bisect(spans, at, key=lambda span: span[0])
    return before > 0 and at < spans[before - 1][1]


def _anatomy(folded: str) -> Iterator[Finding]:
    """What follows from anatomy being called normal, clear, enlarged or blunted."""
    for found in _FORWARD.finditer(folded):
        end = found.end("words")
        said = folded[found.start() : end]
        _, enlarged, free = _described(found)
        yield from _all(free if found["normal"] else enlarged, _degree(found, said), said, found.start(), end)
    for found in _REVERSE.finditer(folded):
        yield from _all(_described(found)[2], "negative", found[0], *found.span())


def _described(found: re.Match[str]) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    return next(entry for number, entry in enumerate(_ANATOMY) if found[f"a{number}"])


def _degree(found: re.Match[str], said: str) -> State:
    if found["normal"]:
        return "negative"
    # A blunted angle is a small effusion or a scar.
    return "uncertain" if found["doubtful"] or found["changed"] == "blunted" or _HEDGE.search(said) else "positive"


def _all(names: Iterable[str], state: State, said: str, start: int, end: int) -> Iterator[Finding]:
    side = _SIDE.search(said)
    return (Finding(name, state, (side and side.lastgroup) or "", start, end) for name in names)


def _sides(found: Sequence[Finding]) -> dict[tuple[str, State], set[str]]:
    """The sides of each finding and state; an empty one if no mention says any."""
    result: dict[tuple[str, State], set[str]] = {}
    for one in found:
        result.setdefault((one.name, one.state), set()).update(_each(one.side))
    return {key: sides - {""} or sides for key, sides in result.items()}


def _each(side: str) -> set[str]:
    return {"left", "right"} if side == "bilateral" else {side}


def _agreeing(one: set[str], other: set[str]) -> int:
    """How many sides two sets share; a finding without a side agrees with one on any."""
    return 1 if {""} in (one, other) else len(one & other)


# Conclusions held against a report.

_IMPLIED: Final = {
    "Lung Opacity": ("Consolidation", "Pneumonia", "Atelectasis", "Edema", "Lung Lesion"),
    "Consolidation": ("Pneumonia",),
    "Enlarged Cardiomediastinum": ("Cardiomegaly",),
}
"""What makes a finding true without its name, by the hierarchy of CheXpert's classes."""


def _doubt(claim: Finding, found: dict[str, list[Finding]]) -> str:
    """What speaks against a claim, given the findings of the report by name; nothing if nothing does."""
    same = found.get(claim.name, [])
    if claim.state == "negative":
        missed = bool(same) and all(one.state == "positive" and _on_one_side(claim, one) for one in same)
        return "denies what the report calls positive" if missed else ""
    names = (claim.name, *_IMPLIED.get(claim.name, ()))
    present = [one for name in names for one in found.get(name, ()) if one.state != "negative"]
    if not present:
        denied = same and claim.state == "positive"
        return "calls positive what the report denies" if denied else "names a finding that the report does not"
    sides = {side for one in present for side in _each(one.side)}
    differs = claim.side and "" not in sides and not _each(claim.side) <= sides
    return "a side differs from the report" if differs else ""


def _on_one_side(one: Finding, other: Finding) -> bool:
    return _agreeing(_each(one.side), _each(other.side)) > 0


_NUMERAL: Final = r"\d{1,6}(?:[.,]\d{1,2})?(?!\d)"
_MEASURE: Final = re.compile(
    rf"""(?<![\w.,])(?P<numbers>{_NUMERAL}(?:\s?(?:x|×|by|to|-|–|/)\s?{_NUMERAL}){{0,3}})
    \s?-?(?P<unit>mm|cm|ml|cc|hu|%)(?!\w)""",
    re.IGNORECASE | re.VERBOSE,
)
_UNITS: Final = {"cm": ("mm", 10), "cc": ("ml", 1)}


def _measures(text: str) -> set[tuple[float, str]]:
    """Lengths in mm, volumes in ml, densities in HU, shares in %."""
    result = set()
    for found in _MEASURE.finditer(text):
        unit, factor = _UNITS.get(found["unit"].lower(), (found["unit"].lower(), 1))
        for number in re.findall(_NUMERAL, found["numbers"]):
            result.add((round(float(number.replace(",", ".")) * factor, 3), unit))
    return result


def _sources(
    conclusion: str, claimed: Sequence[Finding], report: str, found: Sequence[Finding]
) -> tuple[Sentence, ...]:
    """The sentences that name what is claimed; for a claim without any finding those that share half of its words."""
    words, said, scored = _content(conclusion), sentences(report), []
    starts = [one.start for one in said]
    named: dict[int, list[Finding]] = {}
    for one in found:
        named.setdefault(bisect.bisect(starts, one.start) - 1, []).append(one)
    # An impression is what is to be supported; it supports only if nothing else does.
    final = [(part.start, part.end) for part in sections(report) if part.name in ("impression", "recommendation")]
    for number, sentence in enumerate(said):
        shared = len(words & _content(report[sentence.start : sentence.end])) / max(1, len(words))
        likeness = max((_likeness(claim, other) for claim in claimed for other in named.get(number, ())), default=0)
        if likeness or (not claimed and shared >= 0.5):
            scored.append((_inside(sentence.start, final), -likeness, -shared, number))
    return tuple(said[number] for *_, number in sorted(scored)[:3])


def _likeness(claim: Finding, other: Finding) -> int:
    if claim.name == "No Finding":
        return int(other.name == claim.name or other.state == "negative")
    if other.name != claim.name and other.name not in _IMPLIED.get(claim.name, ()):
        return 0
    return 1 + 2 * (other.state == claim.state) + _on_one_side(claim, other) + (other.name == claim.name)


def _content(text: str) -> set[str]:
    return set(re.findall(r"[a-z]{4,}|\d+", text.lower()))
