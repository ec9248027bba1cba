"""NI-RADS 2018: surveillance of a treated head and neck cancer by CT, with or without PET.

Source: Aiken et al., J Am Coll Radiol 2018;15:1097-1108.
"""

from dataclasses import dataclass
from typing import Literal

from radlite.errors import UserError
from radlite.rads.rules.ruling import Ruling

Uptake = Literal["none", "mild", "intense"]
"""Focal FDG uptake; `mild` includes intermediate."""


@dataclass(frozen=True, slots=True)
class Primary:
    """The site of the treated tumor."""

    finding: Literal["expected change", "mucosal abnormality", "ill-defined tissue", "discrete mass"] | None = None
    """None only where nothing is to be judged: recurrence, site not assessable, priors awaited.

    Expected change: diffuse edema, non-masslike distortion, diffuse linear mucosal enhancement. A mucosal abnormality
    is focal and superficial, ill-defined tissue is deep."""
    uptake: Uptake | None = None
    """None: no PET."""
    intense_enhancement: bool = False
    """Intense differential enhancement of a discrete mass."""
    progressing: bool = False
    """A discrete mass is new or enlarging."""
    recurrence: bool = False
    """Proven by pathology, or definite progression by imaging and clinically."""
    assessable: bool = True


@dataclass(frozen=True, slots=True)
class Neck:
    """The lymph nodes of the neck."""

    finding: Literal["normal", "residual", "enlarging"] | None = None
    """None as for the primary site. `residual`: tissue of a treated node, not larger than before; `enlarging`: new or
    enlarging."""
    uptake: Uptake | None = None
    """None: no PET."""
    abnormal: bool = False
    """New necrosis or gross extranodal extension."""
    recurrence: bool = False
    """Proven by pathology, or definite progression by imaging and clinically."""
    assessable: bool = True


@dataclass(frozen=True, slots=True)
class Surveillance:
    """A study after treatment."""

    primary: Primary
    neck: Neck
    priors_awaited: bool = False
    """Earlier studies exist and have yet to be compared."""


Features = Surveillance


def decide(features: Surveillance) -> Ruling:
    """The pair of categories.

    Raises `UserError` for a site without finding, or an unremarkable one with abnormal features.
    """
    primary, why_primary = _site(features.primary, features.priors_awaited) or _primary(features.primary)
    neck, why_neck = _site(features.neck, features.priors_awaited) or _neck(features.neck)
    return Ruling(
        f"NI-RADS primary {primary}, neck {neck}",
        f"Primary {primary}: {why_primary}. Neck {neck}: {why_neck}.",
    )


def _site(site: Primary | Neck, priors_awaited: bool) -> tuple[str, str] | None:
    """What goes before the descriptors, for either site."""
    if site.recurrence:
        return "4", "recurrence by pathology, or definite by imaging and clinically"
    if not site.assessable:
        return "X", "cannot be assessed"
    if priors_awaited:
        return "0", "earlier studies are awaited"
    if site.finding is None:
        raise UserError("A site has no finding; give one for primary and neck, or say that it cannot be assessed.")
    return None


def _primary(site: Primary) -> tuple[str, str]:
    if site.finding == "expected change":
        if site.uptake == "intense" or site.intense_enhancement or site.progressing:
            raise UserError(
                "Expected change is neither intense nor progressing; check the finding at the primary site."
            )
        return "1", "expected change after treatment"
    if site.uptake == "intense":
        return "3", "intense focal FDG uptake"
    if site.finding == "mucosal abnormality":
        return "2a", "focal superficial mucosal abnormality without intense uptake"
    if site.finding == "ill-defined tissue":
        return "2b", "deep ill-defined tissue without discrete mass or intense uptake"
    if site.uptake is not None:
        return "2b", "discrete mass with little or no FDG uptake: CT and PET disagree"
    if site.progressing or site.intense_enhancement:
        return "3", "discrete mass, new, enlarging or intensely enhancing"
    return "2b", "discrete mass, neither progressing nor intensely enhancing"


def _neck(nodes: Neck) -> tuple[str, str]:
    if nodes.finding == "normal":
        if nodes.uptake in ("mild", "intense") or nodes.abnormal:
            raise UserError(
                "Normal neck nodes have no FDG uptake, necrosis or extranodal extension; check the finding."
            )
        return "1", "no abnormal lymph node"
    if nodes.uptake == "intense":
        return "3", "intense focal FDG uptake"
    if nodes.abnormal:
        if nodes.uptake is None:
            return "3", "new necrosis or gross extranodal extension"
        return "2", "new necrosis or extranodal extension with little or no FDG uptake: CT and PET disagree"
    if nodes.finding == "enlarging":
        return "2", "new or enlarging node without necrosis, extranodal extension or intense uptake"
    if nodes.uptake == "none":
        return "1", "residual node without FDG uptake"
    return "2", "residual node with mild uptake, or without PET"
