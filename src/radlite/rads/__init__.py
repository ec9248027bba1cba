"""The ten RADS systems and their categories, from `systems.json`."""

import functools
import json
from importlib import resources

NO_RADS = "No applicable RADS"
"""The answer where no system applies to the study."""


@functools.cache
def systems() -> dict[str, tuple[str, ...]]:
    """System name to its categories in canonical spelling, in order of suspicion."""
    table = json.loads((resources.files(__name__) / "systems.json").read_text("utf-8"))
    return {system: tuple(codes) for system, codes in table["systems"].items()}


@functools.cache
def labels() -> tuple[str, ...]:
    """Every category of every system, and `No applicable RADS`."""
    return (*(code for codes in systems().values() for code in codes), NO_RADS)


def system_of(category: str) -> str:
    """The system a canonical category belongs to; `none` for `No applicable RADS`."""
    return next((system for system, codes in systems().items() if category in codes), "none")
