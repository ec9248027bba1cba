"""The routes, and the one form of an error."""

import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Header, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

import radlite
from radlite.errors import UserError
from radlite.server import chat, fhir, reviews, wire
from radlite.server.desk import Place, Work
from radlite.server.events import Events, all_of, event
from radlite.server.guard import App, Caller, Guard
from radlite.server.jobs import full
from radlite.server.metrics import KIND
from radlite.server.pages import Page, page, viewer
from radlite.server.service import FREE, Answered, Panel, Service
from radlite.server.wire import Refused
from radlite.tasks import known, named

_CODES = {
    400: "The request is no HTTP or JSON",
    401: "There is no key, or a wrong one",
    403: "Called by a name that is not the server's, or from a page of another site",
    404: "There is no such thing",
    405: "Another method is needed",
    408: "The body came too slowly",
    413: "The body or a text in it is too large",
    415: "The body is of another kind than is taken here",
    422: "A field is wrong, or lacks",
    431: "The head of the request is too large",
    429: "Too much is asked at once; see Retry-After",
    500: "A defect of the server",
    503: "The server is loading, stopping, or cannot answer; see Retry-After",
}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": wire.Error, "description": why} for status, why in _CODES.items()
}
_EVENT = {
    "type": "object",
    "required": ["data"],
    "properties": {name: {"type": "string"} for name in ("event", "data")},
}
_STREAM = {"text/event-stream": {"schema": _EVENT}}
_FHIR = fhir.MEDIA_TYPE
_TEXT = {"schema": {"type": "string"}}
_FORMATS = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/jsonl",
    "parquet": "application/vnd.apache.parquet",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
_FILES = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in _FORMATS.values()}
_EXPORTS = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in reviews.FORMATS.values()}


def application(service: Service) -> App:
    """The whole ASGI application."""

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            await run_in_threadpool(service.close)

    app = FastAPI(
        title="RadLite",
        version=radlite.__version__,
        description="Small language models as a radiology assistant. Research software, not a medical device.",
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would repeat the Host and the query of the request
        lifespan=life,
        responses=_PROBLEMS,
        # Nothing is told to a collector of traces, which would get what a request says.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    _errors(app, service)
    _state(app, service)
    _reading(app, service)
    _chatting(app, service)
    _batches(app, service)
    _reviews(app, service)
    _pages(app)
    if service.settings.keys:
        document = app.openapi()  # made once, here
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
    return Guard(app, service.settings, service.log, service.metrics.request, service.metrics.refused)


def _errors(app: FastAPI, service: Service) -> None:
    def refusal(path: str, why: Refused) -> Response:
        service.metrics.refused(why.code)
        return wire.refusal(path, why)

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        return refusal(request.url.path, error)

    @app.exception_handler(UserError)
    async def unable(request: Request, error: UserError) -> Response:
        return refusal(request.url.path, Refused(503, "unable", str(error), 10))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return refusal(request.url.path, _invalid(error))

    @app.exception_handler(Exception)
    async def defect(request: Request, _: Exception) -> Response:
        return refusal(request.url.path, wire.defect(_caller(request).request))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        code = {400: "malformed", 404: "not_found", 405: "method"}.get(error.status_code, "refused")
        why = Refused(
            error.status_code, code, f"{_CODES.get(error.status_code, 'This is not possible')}; see /v1/docs."
        )
        why.headers = error.headers
        return refusal(request.url.path, why)


_FIELDS = {name for model in (wire.Detect, wire.Read, wire.Review) for name in model.model_fields} | chat.FIELDS
_WRONG = {"missing": "is missing", "extra_forbidden": "is not known here", "string_unicode": "is no Unicode text"}


def _invalid(error: RequestValidationError) -> Refused:
    """Names the field, if it is one of ours, and never quotes a value."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return Refused(400, "malformed", "The body is not JSON; send what /v1/docs shows.")
    # The rest of the place is the caller's: names of fields that are not ours, keys of mappings.
    place = [str(one) for one in first["loc"][1:] if isinstance(one, int) or one in _FIELDS]
    where = ".".join(place) or "The body"
    if first["type"] == "extra_forbidden":
        where = f"A field of {'.'.join(place)}" if place else "A field of the body"
    why = _WRONG.get(first["type"]) or first["msg"].removeprefix("Input ").removeprefix("Value error, ")
    return Refused(422, "invalid", f"{where} {why}; see /v1/docs.")


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


def _state(app: FastAPI, service: Service) -> None:
    @app.get("/health", response_model=wire.Health)
    async def health() -> Response:
        """Whether the process lives."""
        return JSONResponse({"status": "ok"})

    @app.get("/ready", response_model=wire.Ready, responses={503: {"model": wire.Ready}})
    async def ready() -> Response:
        """Whether reports are answered now: 503 while the model is loaded, while its engine cannot be started again,
        and once the server is being stopped."""
        now = service.ready
        return JSONResponse({"ready": now, "models": service.readers.names}, 200 if now else 503)

    @app.get("/v1/tasks", response_model=wire.Tasks)
    async def tasks() -> Response:
        """The tasks, the schemas of their answers, and the RADS systems."""
        found = [
            {
                "name": task.name,
                "inputs": task.inputs,
                "labels": task.labels,
                "metric": task.metric,
                "schema": task.schema(),
                "description": task.cue,
            }
            for task in known().values()
        ]
        return JSONResponse({"tasks": found, "rads": wire.rads()})

    def entry(name: str) -> dict[str, Any]:
        task = known().get(name)
        about = {"inputs": task.inputs, "metric": task.metric} if task else {}
        return {"id": name, "object": "model", "created": service.begun, "owned_by": "radlite", "radlite": about}

    @app.get("/v1/models", response_model=wire.Models)
    async def models() -> Response:
        """The tasks, and free chat, as models in OpenAI's form; the model files in use, with what their cards say."""
        data = [entry(name) for name in service.names]
        return JSONResponse({"object": "list", "data": data, "loaded": service.readers.facts()})

    @app.get("/v1/models/{name}", response_model=wire.ModelEntry)
    async def model(name: str) -> Response:
        """One of them."""
        if name not in service.names:
            raise Refused(404, "model_not_found", "There is no such model; GET /v1/models lists them.")
        return JSONResponse(entry(name))

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(service.metrics.text(), headers={"Content-Type": KIND})


def _reading(app: FastAPI, service: Service) -> None:
    @app.post("/v1/detect", response_model=wire.Proposal)
    def detect(asked: wire.Detect) -> Response:
        """The tasks that fit a report, and the RADS system that covers the study."""
        return JSONResponse(asdict(service.detect(asked.report)))

    @app.post(
        "/v1/read",
        response_model=wire.Answers,
        responses={200: {"content": {**_STREAM, _FHIR: {"schema": {"type": "object"}}, "text/csv": _TEXT}}},
    )
    async def read(asked: wire.Read, request: Request, accept: Annotated[str, Header()] = "") -> Response:
        """Ask a report one task or several.

        With `stream`, or if `text/event-stream` is accepted, the answers come as they are ready, as server-sent events:
        `begun` {"id", "tasks", "system"}, `queued` {"place"}, `answer` (as in `answers`), `done` {"seconds", "fhir"} or
        `error` {"code", "message"}. If `application/fhir+json` is accepted, the answer is a FHIR R4 Bundle; if
        `text/csv`, a table.
        """
        panel = await run_in_threadpool(service.panel, asked)
        caller, begun = _caller(request), time.monotonic()
        if asked.stream or "text/event-stream" in accept:
            release = service.take_stream()
            try:
                work = service.ask(caller, panel)
            except Refused:
                release()
                raise
            texts = _stream(caller, panel, work, asked.fhir, service, begun)
            return Events(work, texts, _failed, release)
        items = await all_of(service.ask(caller, panel), request.receive)
        if items is None:
            return Response(status_code=499)  # nobody is there to see it but the log
        answers: list[Answered] = sorted(
            (one for one in items if isinstance(one, Answered)), key=lambda one: one.number
        )
        if _FHIR in accept:
            return Response(json.dumps(service.bundle(panel, answers)), media_type=_FHIR)
        if "text/csv" in accept:
            return Response(wire.table((one.reading, one.id) for one in answers), media_type=_FORMATS["csv"])
        told = {
            "id": caller.request,
            "tasks": panel.tasks,
            "system": panel.system,
            "answers": [wire.told(one.reading, one.id) for one in answers],
            "seconds": round(time.monotonic() - begun, 3),
            "fhir": service.bundle(panel, answers) if asked.fhir else None,
        }
        return JSONResponse(told)


def _chatting(app: FastAPI, service: Service) -> None:
    @app.post("/v1/chat/completions", response_model=chat.ChatAnswer, responses={200: {"content": _STREAM}})
    async def completions(asked: chat.Chat, request: Request) -> Response:
        """OpenAI's chat completions. A task's name as `model` asks that task of the last message of the user; `chat` is
        free chat with the model itself, text only."""
        chat.demand_model(asked, service)
        caller = _caller(request)

        async def begin() -> Work:
            if asked.model == FREE:
                return service.talk(caller, chat.turns(asked, service), chat.limit(asked, service))
            return service.ask(caller, await run_in_threadpool(chat.panel, asked, service))

        if asked.stream:
            release = service.take_stream()
            try:
                work = await begin()
            except BaseException:
                release()
                raise
            return Events(work, chat.chunks(work, asked, caller.request), chat.failed, release)
        items = await all_of(await begin(), request.receive)
        if items is None:
            return Response(status_code=499)
        return JSONResponse(chat.answer(items, asked, caller.request))


_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "tasks"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "tasks": {"type": "string", "description": "Tasks, separated by commas, or all."},
                        "column": {"type": "string", "default": "report", "description": "Column with the reports."},
                        "question": {"type": "string", "description": "Column with questions."},
                        "hypothesis": {"type": "string", "description": "Column with hypotheses."},
                        "id": {"type": "string", "description": "Column that tells reports apart."},
                        "keep": {"type": "array", "items": {"type": "string"}, "description": "Columns to carry."},
                        "wide": {"type": "string", "enum": ["true", "false"], "default": "false"},
                        "format": {"type": "string", "enum": [*_FORMATS], "default": "csv"},
                    },
                }
            }
        },
    }
}


def _batches(app: FastAPI, service: Service) -> None:
    @app.post("/v1/batch", status_code=202, response_model=wire.Job, openapi_extra=_FORM)
    async def add(request: Request) -> Response:
        """Queue a table of reports: .csv, .jsonl, .parquet or .xlsx. It is read as `radlite batch` reads it."""
        if re.search(r";\s*charset\b", request.headers.get("content-type", ""), re.IGNORECASE):
            raise Refused(415, "content_type", "The fields of a form are UTF-8; leave charset out of Content-Type.")
        try:
            async with request.form(max_files=1, max_fields=80, max_part_size=4096) as form:
                file, asked = form.get("file"), _asked(form)
                if not isinstance(file, UploadFile):
                    raise Refused(422, "invalid", "file is missing; send the table as a form's file.")
                facts = await run_in_threadpool(
                    service.jobs.add, file.file, file.filename or "", _caller(request).user, **asked
                )
        except OSError as error:
            raise full() from error
        return JSONResponse(facts.told(), 202, {"Location": f"/v1/batch/{facts.id}"})

    @app.get("/v1/batch", response_model=wire.JobList)
    async def jobs(request: Request) -> Response:
        """Your jobs, the newest first."""
        return JSONResponse({"jobs": [one.told() for one in service.jobs.all(_caller(request).user)]})

    @app.get("/v1/batch/{id}", response_model=wire.Job)
    async def job(id: str, request: Request) -> Response:
        """One of your jobs."""
        return JSONResponse(service.jobs.one(id, _caller(request).user).told())

    @app.get("/v1/batch/{id}/result", response_class=FileResponse, responses={200: {"content": _FILES}})
    async def result(id: str, request: Request) -> Response:
        """The table of answers of a job that is done."""
        path, facts = service.jobs.result(id, _caller(request).user)
        name = f"{facts.name.partition('.')[0] or 'answers'}-answers{path.suffix}"
        return FileResponse(path, media_type=_FORMATS[path.suffix[1:]], filename=name)

    @app.delete("/v1/batch/{id}", response_model=wire.Job)
    async def remove(id: str, request: Request) -> Response:
        """End a job, and remove it with its table and its answers."""
        facts = await run_in_threadpool(service.jobs.remove, id, _caller(request).user)
        return JSONResponse(facts.told())


def _asked(form: FormData) -> dict[str, Any]:
    """What a form asks of its table. Raises `Refused`."""
    known_fields = _FORM["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    if unknown := [name for name in form if name not in known_fields]:
        raise Refused(422, "invalid", f"The form has {len(unknown)} fields that are not known here; see /v1/docs.")
    values = {name: str(form.get(name, "")).strip() for name in known_fields if name not in ("file", "keep")}
    if not values["tasks"].strip(", "):
        raise Refused(422, "invalid", "tasks is missing; send names of tasks, separated by commas, or all.")
    tasks = [] if values["tasks"] == "all" else [one.strip() for one in values["tasks"].split(",") if one.strip()]
    for at, name in enumerate(tasks):
        wire.demand_named(known(), name, f"tasks[{at}]", "GET /v1/tasks lists the tasks")
    wide, format = values["wide"] or "false", values["format"] or "csv"
    if wide not in ("true", "false") or format not in _FORMATS:
        raise Refused(422, "invalid", f"wide is true or false, and format one of {', '.join(_FORMATS)}.")
    columns = {"report": values["column"] or "report", **{one: values[one] for one in ("question", "hypothesis")}}
    carried = [values["id"], *(str(one) for one in form.getlist("keep"))]
    for name in tasks:
        if lacking := [one for one in named(name).inputs if one != "premise" and not columns.get(one)]:
            raise Refused(422, "invalid", f"The task {name} needs a {lacking[0]}; name its column.")
    return {
        "tasks": list(dict.fromkeys(tasks)),
        "texts": {name: column for name, column in columns.items() if column},
        "carried": list(dict.fromkeys(one for one in carried if one)),
        "wide": wide == "true",
        "format": format,
    }


def _reviews(app: FastAPI, service: Service) -> None:
    @app.post("/v1/reviews", status_code=201, response_model=wire.Reviewed)
    def review(asked: wire.Review, request: Request) -> Response:
        """Keep what a reviewer says of an answer."""
        return JSONResponse({"id": service.review(_caller(request), asked)}, 201)

    @app.get("/v1/reviews", response_model=wire.ReviewCounts)
    async def counts() -> Response:
        """How many reviews are kept, and what is kept of them."""
        return JSONResponse(service.reviews.counts())

    @app.get("/v1/reviews/export", response_class=StreamingResponse, responses={200: {"content": _EXPORTS}})
    def export(request: Request, format: Literal["csv", "jsonl", "zip"] = "csv") -> Response:
        """Accepted and corrected answers as a table: CSV for a spreadsheet, the zip for `radlite data build`. Your own,
        or those of all with a key that may."""
        headers = {"Content-Disposition": f'attachment; filename="reviews.{format}"'}
        caller = _caller(request)
        table = service.reviews.export(format, None if caller.reviewer else caller.user)
        return StreamingResponse(table, media_type=reviews.FORMATS[format], headers=headers)


async def _stream(
    caller: Caller, panel: Panel, work: Any, fhir: bool, service: Service, begun: float
) -> AsyncIterator[str]:
    yield event("begun", {"id": caller.request, "tasks": panel.tasks, "system": panel.system})
    answers: list[Answered] = []
    async for item in work:
        if isinstance(item, Place):
            yield event("queued", {"place": item.number})
        else:
            answers.append(item)
            yield event("answer", wire.told(item.reading, item.id))
    bundle = service.bundle(panel, answers) if fhir else None
    yield event("done", {"seconds": round(time.monotonic() - begun, 3), "fhir": bundle})


def _failed(why: Refused) -> str:
    return event("error", {"code": why.code, "message": why.message})


def _pages(app: FastAPI) -> None:
    files, docs = page(), viewer()

    def sent(pages: Mapping[str, Page], name: str, request: Request) -> Response:
        found = pages.get(name)
        if not found:
            raise Refused(404, "not_found", "There is no such file here.")
        headers = {"ETag": found.tag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == found.tag:
            return Response(status_code=304, headers=headers)
        return Response(found.content, media_type=found.kind, headers=headers)

    def route(path: str, pages: Mapping[str, Page], name: str = "") -> None:
        if name:

            async def fixed(request: Request) -> Response:
                return sent(pages, name, request)

            app.add_api_route(path, fixed, include_in_schema=False)
            return

        async def named(request: Request, file: str) -> Response:
            return sent(pages, file, request)

        app.add_api_route(path, named, include_in_schema=False)

    route("/", files, "index.html")
    route("/page/{file}", files)
    route("/v1/docs", docs, "index.html")
    route("/v1/docs/{file}", docs)
