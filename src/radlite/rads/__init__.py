"""The ten RADS systems: their table, how reports spell them, how grave an error is, and the guidelines' rules."""

from radlite.rads.table import NO_RADS, Category, Scale, System, category, labels, scale, spelled, system_of, systems

__all__ = ["NO_RADS", "Category", "Scale", "System", "category", "labels", "scale", "spelled", "system_of", "systems"]
