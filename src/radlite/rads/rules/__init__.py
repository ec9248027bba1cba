"""The guidelines' decision tables as code: a small record of findings in, a category and the rule that fired out.

One file a system. Each has a record, or several told apart by their field `study`, and a function `decide`.
"""

import functools
import importlib
import types
import typing
from typing import Any

from radlite.errors import UserError
from radlite.rads.rules.ruling import Ruling
from radlite.rads.table import systems

__all__ = ["Ruling", "decide", "schema"]


def decide(system: str, features: Any) -> Ruling:
    """The ruling on JSON `features`, which have to fit the record of `system` (see `schema`).

    Raises `UserError` for an unknown system, an unknown or missing field, or a value that the record does not allow.
    """
    import pydantic

    try:
        record = _adapter(system).validate_python(features)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the record"
        # The library's sentence on a wrong `study` quotes it.
        what = "Input has another study" if first["type"] == "union_tag_invalid" else first["msg"]
        raise UserError(f"These are no {system} features: {where}: {what}; see the schema.") from error
    ruling: Ruling = _module(system).decide(record)
    return ruling


def schema(system: str) -> dict[str, Any]:
    """The JSON schema of the record of `system`."""
    found: dict[str, Any] = _adapter(system).json_schema()
    return found


def _module(system: str) -> Any:
    if system not in systems():
        raise UserError(f"There is no system {system!r}; choose from {', '.join(systems())}.")
    return importlib.import_module(f"{__name__}.{system.lower().replace('-', '_')}")


@functools.cache
def _adapter(system: str) -> Any:
    import pydantic

    Features = _module(system).Features
    several = isinstance(Features, types.UnionType)
    for record in typing.get_args(Features) if several else (Features,):
        record.__pydantic_config__ = pydantic.ConfigDict(extra="forbid", allow_inf_nan=False)
    # The study says which record is meant, so that an error is about that one.
    known: Any = typing.Annotated[Features, pydantic.Discriminator("study")] if several else Features
    return pydantic.TypeAdapter(known)
