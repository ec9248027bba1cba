"""The routes, and the one form of an error."""

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import FastAPI, Header, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

import radlite
from radlite.server import wire
from radlite.server.desk import Place
from radlite.server.events import Events, all_of, event
from radlite.server.guard import App, Caller, Guard
from radlite.server.pages import Page, page, viewer
from radlite.server.service import Answered, Panel, Service
from radlite.server.wire import Refused, refusal
from radlite.tasks import known

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
    429: "Too much is asked at once; see Retry-After",
    500: "A defect of the server",
    503: "The server is loading, stopping, or cannot answer; see Retry-After",
}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": wire.Error, "description": why} for status, why in _CODES.items()
}
_STREAM = {"text/event-stream": {"schema": {"type": "string"}}}
_FHIR = "application/fhir+json"


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
        lifespan=life,
        responses=_PROBLEMS,
        # Nothing is told to a collector of traces, which would get what a request says.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    _errors(app)
    _state(app, service)
    _reading(app, service)
    _pages(app)
    return Guard(app, service.settings, service.log)


def _errors(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        return refusal(request.url.path, error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return refusal(request.url.path, _invalid(error))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        code = {400: "malformed", 404: "not_found", 405: "method"}.get(error.status_code, "refused")
        why = Refused(
            error.status_code, code, f"{_CODES.get(error.status_code, 'This is not possible')}; see /v1/docs."
        )
        why.headers = error.headers
        return refusal(request.url.path, why)


_FIELDS = {name for model in (wire.Detect, wire.Read) for name in model.model_fields}
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
        """Whether reports are answered now: 503 while the model is loaded, and once the server is being stopped."""
        now = service.desk.ready
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

    @app.get("/v1/models", response_model=wire.Models)
    async def models() -> Response:
        """The tasks, and free chat, as models in OpenAI's form; the model files in use, with what their cards say."""
        names = [*known(), *(["chat"] if service.settings.chat else [])]
        data = [
            {
                "id": name,
                "object": "model",
                "created": service.begun,
                "owned_by": "radlite",
                "radlite": {"inputs": known()[name].inputs, "metric": known()[name].metric} if name in known() else {},
            }
            for name in names
        ]
        return JSONResponse({"object": "list", "data": data, "loaded": service.readers.facts()})


def _reading(app: FastAPI, service: Service) -> None:
    @app.post("/v1/detect", response_model=wire.Proposal)
    def detect(asked: wire.Detect) -> Response:
        """The tasks that fit a report, and the RADS system that covers the study."""
        return JSONResponse(asdict(service.detect(asked.report)))

    @app.post(
        "/v1/read",
        response_model=wire.Answers,
        responses={200: {"content": {**_STREAM, _FHIR: {"schema": {"type": "object"}}}}},
    )
    async def read(asked: wire.Read, request: Request, accept: Annotated[str, Header()] = "") -> Response:
        """Ask a report one task or several.

        With `stream`, or if `text/event-stream` is accepted, the answers come as they are ready, as server-sent events:
        `begun` {"id", "tasks", "system"}, `queued` {"place"}, `answer` (as in `answers`), `done` {"seconds", "fhir"} or
        `error` {"code", "message"}. If `application/fhir+json` is accepted, the answer is a FHIR R4 Bundle.
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
            return Response(json.dumps(service.bundle(answers)), media_type=_FHIR)
        told = {
            "id": caller.request,
            "tasks": panel.tasks,
            "system": panel.system,
            "answers": [wire.told(one.reading, one.id) for one in answers],
            "seconds": round(time.monotonic() - begun, 3),
            "fhir": service.bundle(answers) if asked.fhir else None,
        }
        return JSONResponse(told)


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
    answers.sort(key=lambda one: one.number)
    bundle = service.bundle(answers) if fhir else None
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
