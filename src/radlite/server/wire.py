"""What goes over HTTP: the requests and answers of the OpenAPI document, and the one form of an error."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from radlite.rads import category, systems
from radlite.serving.tables import guarded
from radlite.tasks import Reading, known, named
from radlite.tasks.task import Status

Id = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]

_TEXT = r"^[^\x00]*[^\x00\s][^\x00]*$"
"""Not blank, and without NULs, which are in binary files only."""


class Refused(HTTPException):
    """A request that is not carried out: status, a code for programs, one sentence for people.

    The sentence never holds anything that the request said. FastAPI lets pass no other kind of error from the middle of
    a body.
    """

    def __init__(self, status: int, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(status, message)
        self.code, self.message, self.retry_after = code, message, retry_after


def refusal(path: str, why: Refused) -> JSONResponse:
    """The answer to a request for `path` that was refused; below /v1/chat in OpenAI's form."""
    error: dict[str, Any] = {"code": why.code, "message": why.message}
    if path.startswith("/v1/chat/"):
        error |= {"type": "server_error" if why.status_code >= 500 else "invalid_request_error", "param": None}
    headers = {} if why.retry_after is None else {"Retry-After": str(why.retry_after)}
    if why.status_code == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"error": error}, why.status_code, {**headers, **(why.headers or {})})


def defect(request: str) -> Refused:
    """What is told where the fault is ours."""
    return Refused(500, "internal", f"This is a defect of the server; its log describes it under {request}.")


class Failure(BaseModel):
    """Why a request was not carried out."""

    code: str
    message: str


class Error(BaseModel):
    """The body of every answer that is none."""

    error: Failure


def _one_of(names: Callable[[], Any], inside: str = "") -> Callable[[dict[str, Any]], None]:
    """Puts the names, which are known only when the server runs, into a JSON schema."""

    def extra(schema: dict[str, Any]) -> None:
        for place in schema.get("anyOf", [schema]):
            if place.get("type") == "array":
                place["items"]["enum"] = list(names())
            elif place.get("type") == "string":
                place["enum"] = list(names())

    return extra


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Detect(_Request):
    """A text of which the tasks that fit are asked."""

    report: Annotated[str, Field(json_schema_extra={"minLength": 1, "pattern": _TEXT})]


class Proposal(BaseModel):
    """The tasks that fit a report, the most specific first, and why, without any of its text."""

    tasks: list[str]
    system: str | None
    why: list[str]


class Read(_Request):
    """One report, and what to ask of it."""

    report: Annotated[str, Field(json_schema_extra={"minLength": 1, "pattern": _TEXT})]
    tasks: Annotated[
        Annotated[list[str], Field(min_length=1, max_length=64)] | None,
        Field(description="Names of tasks; those that fit if null.", json_schema_extra=_one_of(known)),
    ] = None
    system: Annotated[
        str | None,
        Field(
            description="Holds a RADS answer to this system's categories and `No applicable RADS`.",
            json_schema_extra=_one_of(systems),
        ),
    ] = None
    question: Annotated[str, Field(description="For radiology_qa.")] = ""
    hypothesis: Annotated[str, Field(description="For radiology_nli; the report is its premise.")] = ""
    stream: Annotated[bool, Field(description="Answers as they come, as server-sent events.")] = False
    fhir: Annotated[bool, Field(description="Add a FHIR R4 Bundle of the answers.")] = False
    subject: Annotated[str, Field(max_length=200, description="Whom the Bundle is about, such as Patient/123.")] = ""


class Quote(BaseModel):
    """Exactly `report[start:end]`, counted in Unicode code points of the report as it was sent."""

    quote: str
    start: int
    end: int


class Answer(BaseModel):
    """What the model said of one report in one task. `answer` is null unless `status` is `ok`."""

    id: Annotated[Id, Field(description="Of its entry in the audit log.")]
    task: str
    status: Status
    answer: Annotated[Any, Field(description="Structured; its schema is in /v1/tasks.")]
    rendered: Annotated[str | None, Field(description="The answer as plain text.")]
    text: Annotated[str, Field(description="What the model wrote.")]
    confidence: float | None
    probabilities: dict[str, Any]
    evidence: list[Quote]
    warnings: list[str]
    model: str
    wording: str
    stop_reason: str
    tokens: dict[str, int]
    seconds: float


class Answers(BaseModel):
    """The answers to one report, in the order of `tasks`."""

    id: Id
    tasks: list[str]
    system: str | None
    answers: list[Answer]
    seconds: float
    fhir: dict[str, Any] | None


class TaskFacts(BaseModel):
    """A task, and the JSON schema of its answers."""

    name: str
    inputs: list[str]
    labels: list[str]
    metric: str
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    description: str


class Category(BaseModel):
    """A RADS category: ranks compare within one scale; tier is what is done next, 0 (incomplete) to 4."""

    code: str
    rank: int | None
    tier: int
    risk: str
    management: str


class System(BaseModel):
    """A RADS system with the categories that may be answered."""

    system: str
    name: str
    categories: list[Category]


class Tasks(BaseModel):
    """What can be asked."""

    tasks: list[TaskFacts]
    rads: list[System]


class ModelEntry(BaseModel):
    """A task, or free chat, as a model in OpenAI's list."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: Literal["radlite"]
    radlite: dict[str, Any]


class Score(BaseModel):
    """A row of a model's card: a metric of a task with its 95 % interval on `n` items."""

    task: str
    metric: str
    value: float
    low: float | None
    high: float | None
    n: int | None


class Loaded(BaseModel):
    """A model file in use."""

    name: str
    base: str | None
    kind: str | None
    bytes: int
    sha256: str
    context_tokens: int
    engine: str
    card: list[Score] | None


class Models(BaseModel):
    """OpenAI's list of models, and the files behind it."""

    object: Literal["list"]
    data: list[ModelEntry]
    loaded: list[Loaded]


class Health(BaseModel):
    """The process lives."""

    status: Literal["ok"]


class Ready(BaseModel):
    """Whether reports are answered now."""

    ready: bool
    models: list[str]


class Job(BaseModel):
    """A batch job. `rows` of `total` are complete; `statuses` counts the answers."""

    id: Id
    name: Annotated[str, Field(description="Of the file that was uploaded.")]
    status: Literal["waiting", "running", "done", "failed", "cancelled"]
    rows: int
    total: int | None
    statuses: dict[str, int]
    created: str
    begun: str | None
    ended: str | None
    message: str


class JobList(BaseModel):
    """The jobs of a caller, the newest first."""

    jobs: list[Job]


class Review(_Request):
    """What a reviewer says of an answer: `corrected` is the right one in the task's plain form."""

    answer_id: Id
    task: Annotated[str, Field(json_schema_extra=_one_of(known))]
    action: Literal["accept", "correct", "reject"]
    answer: Annotated[str, Field(description="What was shown (`rendered`); needed to accept.")] = ""
    corrected: str | None = None
    note: Annotated[str, Field(max_length=4000)] = ""
    inputs: Annotated[
        dict[Literal["report", "premise", "hypothesis", "question"], str] | None,
        Field(description="The texts that were asked about, if they may be kept."),
    ] = None


class Reviewed(BaseModel):
    """A review was taken."""

    id: Id


class ReviewCounts(BaseModel):
    """How many reviews are kept, and what of them."""

    count: int
    actions: dict[str, int]
    keep: Literal["text", "answers", "off"]


def told(reading: Reading, id: str) -> dict[str, Any]:
    """A reading as it is sent."""
    rendered = None if reading.answer is None else named(reading.task).render(reading.answer)
    return {"id": id, **asdict(reading), "rendered": rendered}


def table(answers: Iterable[tuple[Reading, str]]) -> str:
    """Readings and their ids as CSV, with the columns that `radlite batch` has."""
    page = io.StringIO()
    writer = csv.writer(page, lineterminator="\n")
    writer.writerow(["id", "task", "status", "answer", "confidence", "warnings", "model", "seconds"])
    for one, id in answers:
        answer = told(one, id)["rendered"]
        cells = [id, one.task, one.status, answer, one.confidence, "; ".join(one.warnings), one.model, one.seconds]
        writer.writerow(map(guarded, cells))
    return page.getvalue()


def rads() -> list[dict[str, Any]]:
    """The RADS systems for `/v1/tasks`."""
    facts = ("code", "rank", "tier", "risk", "management")
    return [
        {
            "system": system.name,
            "name": system.title,
            "categories": [
                {fact: getattr(one, fact) for fact in facts} for code in system.answers if (one := category(code))
            ],
        }
        for system in systems().values()
    ]


def demand_text(text: str, field: str, most: int, needed: bool = False) -> None:
    """Raise `Refused` for a text that is too long, binary, no Unicode, or lacks where it is needed."""
    if len(text) > most:
        raise Refused(
            413, "too_long", f"{field} has more than {most:,} characters; shorten it, or raise report_characters."
        )
    if "\0" in text:
        raise Refused(422, "binary", f"{field} holds NUL characters; send plain text.")
    if any("\ud800" <= one <= "\udfff" for one in text):
        raise Refused(422, "not_unicode", f"{field} holds half of a surrogate pair; send Unicode text.")
    if needed and not text.strip():
        raise Refused(422, "empty", f"{field} is empty; send a text.")


def demand_named(names: Mapping[str, Any], name: str, field: str, where: str) -> None:
    """Raise `Refused` for a name that is not among `names`."""
    if name not in names:
        raise Refused(422, f"unknown_{field.partition('[')[0].rstrip('s')}", f"{field} names nothing known; {where}.")
