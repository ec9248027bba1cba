"""All that a server can be told: defaults, below a TOML file, below the environment, below the command line."""

import ipaddress
import json
import os
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from radlite.errors import UserError, shown
from radlite.files import read_toml
from radlite.runtime.engine import Engine

PREFIX = "RADLITE_"
"""Of environment variables: `RADLITE_PORT`."""

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Headings = Literal["Models", "Address and access", "Limits", "Records"]


def _said(heading: Headings, text: str, default: Any = None) -> Any:
    return Field(default, description=text, json_schema_extra={"in": heading})


class Settings(BaseModel):
    """Every setting of `radlite serve`. Its description is the comment that `--print-config` puts above it."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    model: tuple[Path, ...] = _said(
        "Models", "GGUF files; several need a router. The demonstration model, which is fit for no use, if empty.", ()
    )
    adapter: Path | None = _said("Models", "LoRA adapter over the one model, from radlite export --adapter-only.")
    router: Path | None = _said("Models", "Which model answers which task, and when none does; from radlite route.")
    any_model: bool = _said("Models", "Accept GGUF files that radlite did not make.", False)
    engine: Engine = _said("Models", "native, wheel, or auto: native where it is installed.", "auto")
    context: Annotated[int, Field(ge=64)] | None = _said("Models", "Window in tokens; the model's own if not set.")
    threads: Count | None = _said("Models", "CPU threads; as measured or the machine's cores if not set.")
    prompt_style: str = _said("Models", "report-first or task-first; the pack's, else report-first, if empty.", "")
    prompts: Path | None = _said("Models", "Prompt pack for a model of others: docs/other-models.md.")
    remembered: Annotated[int, Field(ge=0)] = _said(
        "Models", "Reports whose state the native engine keeps in memory for a second question.", 8
    )

    host: str = _said("Address and access", "Address to listen at. All but loopback need a key file.", "127.0.0.1")
    port: Annotated[int, Field(ge=0, le=65535)] = _said("Address and access", "Port; 0 takes a free one.", 8000)
    keys: Path | None = _said(
        "Address and access", "File of API keys, a line each: name:KEY, KEY of 32 or more characters."
    )
    tls_cert: Path | None = _said("Address and access", "Certificate chain in PEM; the server then speaks HTTPS only.")
    tls_key: Path | None = _said("Address and access", "Private key of the certificate in PEM, without a password.")
    hosts: tuple[str, ...] = _said(
        "Address and access",
        "Names besides localhost, IP addresses and this machine's by which the server is called.",
        (),
    )
    origins: tuple[str, ...] = _said(
        "Address and access", "Other sites whose pages may use the API (CORS), such as https://ris.example.", ()
    )

    queue: Count = _said("Limits", "Reports that may wait for the engine; beyond: 429.", 32)
    caller_queue: Count = _said("Limits", "Reports of one caller (key, else address) that may wait.", 16)
    connections: Count = _said("Limits", "Connections at once.", 256)
    streams: Count = _said("Limits", "Streamed answers at once.", 64)
    body_bytes: Count = _said("Limits", "Bytes of a request, but for an uploaded table.", 1 << 20)
    report_characters: Count = _said("Limits", "Characters of a report, a question or a hypothesis.", 100_000)
    header_bytes: Annotated[int, Field(ge=1024)] = _said("Limits", "Bytes of a request's head.", 16 << 10)
    body_seconds: Seconds = _said("Limits", "Time in which the head, and then the body, of a request has to come.", 30)
    slow_seconds: Seconds = _said("Limits", "Time after which a client that does not read its answer is cut off.", 30)
    request_seconds: Seconds = _said("Limits", "Time that a request may wait and be worked on.", 600)
    answer_seconds: Seconds = _said("Limits", "Work on one answer after which it is cut.", 120)
    stop_seconds: Seconds = _said("Limits", "Time that work in hand has left when the server is told to stop.", 30)
    chat: bool = _said("Limits", 'Offer free chat with the model as "chat".', True)
    chat_tokens: Count = _said("Limits", "Tokens of an answer in free chat at most.", 512)
    upload_bytes: Count = _said("Limits", "Bytes of an uploaded table.", 256 << 20)
    upload_seconds: Seconds = _said("Limits", "Time in which an uploaded table has to come.", 600)
    upload_rows: Count = _said("Limits", "Rows of an uploaded table.", 100_000)
    jobs: Count = _said("Limits", "Batch jobs that may be kept.", 64)
    jobs_bytes: Count = _said("Limits", "Bytes that the tables and results of all jobs may take.", 4 << 30)
    job_threads: Count | None = _said("Limits", "CPU threads of a batch job; as for single reports if not set.")
    job_nice: Annotated[int, Field(ge=0, le=19)] = _said(
        "Limits", "How much batch jobs stand back for single reports: 0 not at all, 19 most.", 19
    )
    keep_jobs_hours: Seconds = _said("Limits", "Hours after which a job that has ended is removed.", 72)

    state: Path | None = _said(
        "Records",
        "Folder of audit log, reviews and jobs; $XDG_STATE_HOME/radlite or ~/.local/state/radlite if not set.",
    )
    keep_reviews: Literal["text", "answers", "off"] = _said(
        "Records", "What is kept of a review: with the report (text), without it (answers), or nothing (off).", "text"
    )
    audit_bytes: Annotated[int, Field(ge=4096)] = _said("Records", "Bytes of one file of the audit log.", 16 << 20)

    @field_validator("model", "hosts", "origins", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        """From the environment and the command line a list comes as one text, with commas between."""
        return [one.strip() for one in value.split(",") if one.strip()] if isinstance(value, str) else value

    @field_validator("adapter", "router", "context", "threads", "prompts", "keys", "tls_cert", "tls_key", "job_threads",
                     "state", mode="before")  # fmt: skip
    @classmethod
    def _unset(cls, value: Any) -> Any:
        return None if value == "" else value

    @model_validator(mode="after")
    def _together(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together")
        if not (self.keys or self.loopback):
            raise ValueError(f"{self.host} is reached from other machines, which needs a key file: set keys")
        return self

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches the server."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def folder(self) -> Path:
        """The state folder. Raises `UserError` if none is set for an account that has no home."""
        if self.state:
            return self.state
        try:
            return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "radlite"
        except RuntimeError as error:
            raise UserError("This account has no home for the state folder; set state.") from error


def load(path: Path | None = None, given: Mapping[str, Any] | None = None) -> Settings:
    """The settings of a TOML file, over which the environment goes, over which goes what is `given`.

    Raises `UserError` that names the setting and where it was set.
    """
    names = Settings.model_fields
    layers: list[tuple[str, Mapping[str, Any]]] = [
        *([(str(path), read_toml(path, "settings file"))] if path else []),
        (
            "the environment",
            {name: os.environ[key] for name in names if (key := f"{PREFIX}{name.upper()}") in os.environ},
        ),
        ("the command line", given or {}),
    ]
    merged: dict[str, Any] = {}
    source: dict[str, str] = {}
    for where, values in layers:
        for name, value in values.items():
            if name not in names:
                raise UserError(
                    f"{where} sets {shown(name)!r}, which is no setting; radlite serve --print-config lists them."
                )
            merged[name], source[name] = value, where
    try:
        return Settings(**merged)
    except ValidationError as error:
        first = error.errors()[0]
        why = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
        if not first["loc"]:
            raise UserError(f"The settings do not go together: {why}.") from error
        name = str(first["loc"][0])
        raise UserError(
            f"The setting {name}, set in {source.get(name, 'the defaults')}, {why}; see radlite serve --print-config."
        ) from error


def assigned(texts: Sequence[str]) -> dict[str, str]:
    """Settings given as `name=value`. Raises `UserError` for a text without `=`."""
    found = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign:
            raise UserError(f"{shown(text)!r} is no setting; give it as name=value.")
        found[name.strip()] = value
    return found


def printed(settings: Settings) -> str:
    """All settings as a TOML file with comments; what has no value is commented out."""
    lines = [
        "# Settings of radlite serve. Each can also be set in the environment (RADLITE_PORT=8000) or on the command",
        "# line (port=8000), which go before this file.",
    ]
    heading = ""
    for name, field in Settings.model_fields.items():
        extra = field.json_schema_extra
        assert isinstance(extra, dict)
        if extra["in"] != heading:
            heading = str(extra["in"])
            lines += ["", f"## {heading}"]
        lines.append(f"\n# {field.description}")
        value = getattr(settings, name)
        lines.append(f"# {name} = {_example(name)}" if value is None else f"{name} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _example(name: str) -> str:
    """What a setting without a value might be."""
    wanted = typing.get_args(Settings.model_fields[name].annotation)
    return '"PATH"' if Path in wanted else "4096" if name == "context" else "1"


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    # A JSON text is a TOML text; numbers and truth values are written alike.
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
