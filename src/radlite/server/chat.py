"""OpenAI's chat completions: a task by its name as the model, or free chat with the model itself."""

import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from radlite.chat import Turn
from radlite.runtime.model import Completion
from radlite.server.desk import Work
from radlite.server.service import Answered, Panel, Service
from radlite.server.wire import Read, Refused, demand_text, told
from radlite.tasks import named

_SECOND = {"radiology_qa": "question", "radiology_nli": "hypothesis"}
"""Tasks with a second text, and its name."""
_MOST = 64
"""Messages of a conversation."""


class Part(BaseModel):
    """A piece of a message. Only text is taken."""

    model_config = ConfigDict(extra="ignore", strict=True)

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One turn."""

    model_config = ConfigDict(extra="ignore", strict=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]

    @property
    def texts(self) -> list[str]:
        """Its text, or that of each part."""
        return [self.content] if isinstance(self.content, str) else [part.text for part in self.content]


class StreamOptions(BaseModel):
    """What a stream tells besides."""

    model_config = ConfigDict(extra="ignore", strict=True)

    include_usage: bool = False


class Chat(BaseModel):
    """A request in OpenAI's form. What it asks for besides is left aside: answers are always the likeliest ones."""

    model_config = ConfigDict(extra="ignore", strict=True)

    model: str
    messages: Annotated[list[Message], Field(min_length=1, max_length=_MOST)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    n: Literal[1] | None = None
    response_format: dict[str, Any] | None = None


class Said(BaseModel):
    """The answer."""

    role: Literal["assistant"]
    content: str


class Choice(BaseModel):
    """The one choice there is."""

    index: Literal[0]
    message: Said
    finish_reason: Literal["stop", "length"]
    logprobs: None


class Usage(BaseModel):
    """Tokens read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, int]


class ChatAnswer(BaseModel):
    """The answer in OpenAI's form. `radlite` is the answer to a task as /v1/read gives it."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    radlite: dict[str, Any] | None


FIELDS = {name for model in (Chat, Message, Part, StreamOptions) for name in model.model_fields}


def panel(asked: Chat, service: Service) -> Panel:
    """The one question of a request that names a task. Raises `Refused`.

    The last message of the user is the report; a task with a second text takes the last two, or two parts of one.
    """
    texts = [text for one in asked.messages if one.role == "user" for text in one.texts]
    second = _SECOND.get(asked.model)
    if len(texts) < (2 if second else 1):
        wanted = (
            f"a report and then a {second}, as two messages of the user or two parts of one" if second else "a report"
        )
        raise Refused(422, "empty", f"The task {asked.model} needs {wanted}.")
    given = {"report": texts[-2], second: texts[-1]} if second else {"report": texts[-1]}
    return service.panel(Read(tasks=[asked.model], **given))  # type: ignore[arg-type]


def turns(asked: Chat, service: Service) -> list[Turn]:
    """The conversation of a request for free chat. Raises `Refused`."""
    found = []
    for at, message in enumerate(asked.messages):
        text = "\n\n".join(message.texts)
        demand_text(text, f"messages[{at}]", service.settings.report_characters)
        found.append(Turn("system" if message.role == "developer" else message.role, text))
    if sum(len(turn.text) for turn in found) > service.settings.report_characters:
        raise Refused(413, "too_long", "The conversation is too long; shorten it, or raise report_characters.")
    return found


def demand_model(asked: Chat, service: Service) -> None:
    """Raise `Refused` for a model that there is not."""
    if asked.model not in service.names:
        raise Refused(404, "model_not_found", "There is no such model; GET /v1/models lists them.")


def limit(asked: Chat, service: Service) -> int:
    """Tokens of an answer in free chat."""
    return min(asked.max_completion_tokens or asked.max_tokens or 1 << 30, service.settings.chat_tokens)


def answer(items: list[Any], asked: Chat, id: str) -> dict[str, Any]:
    """What is sent of a piece of work that is done."""
    item = next(one for one in items if isinstance(one, Answered | Completion))
    text, reason, usage = _said(item, asked)
    return {
        **_head(id, asked, "chat.completion"),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": reason,
                "logprobs": None,
            }
        ],
        "usage": usage,
        "radlite": told(item.reading, item.id) if isinstance(item, Answered) else None,
    }


async def chunks(work: Work, asked: Chat, id: str) -> AsyncIterator[str]:
    """The answer as a stream: the role at once, the text when it is whole, since only then it is within its form."""
    head = _head(id, asked, "chat.completion.chunk")
    wants_usage = bool(asked.stream_options and asked.stream_options.include_usage)

    def chunk(delta: Mapping[str, Any], reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
        return _data({**head, "choices": [choice], **({"usage": None} if wants_usage else {})})

    yield chunk({"role": "assistant", "content": ""})
    async for item in work:
        if isinstance(item, Answered | Completion):
            text, reason, usage = _said(item, asked)
            yield chunk({"content": text})
            yield chunk({}, reason)
            if wants_usage:
                yield _data({**head, "choices": [], "usage": usage})
    yield "data: [DONE]\n\n"


def failed(why: Refused) -> str:
    """The end of a stream that cannot go on, in OpenAI's form."""
    return _data({"error": {"message": why.message, "type": "server_error", "code": why.code, "param": None}})


def _data(value: Any) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False, allow_nan=False)}\n\n"


def _head(id: str, asked: Chat, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{id}", "object": kind, "created": int(time.time()), "model": asked.model}


def _said(item: Answered | Completion, asked: Chat) -> tuple[str, str, dict[str, Any]]:
    """Text, finish reason and usage."""
    if isinstance(item, Completion):
        reason = "length" if item.stop_reason in ("length", "time") else "stop"
        return item.text, reason, _usage(item.prompt_tokens, item.cached_tokens, item.generated_tokens)
    reading, tokens = item.reading, item.reading.tokens
    usage = _usage(tokens.get("prompt", 0), tokens.get("cached", 0), tokens.get("generated", 0))
    if reading.answer is None:
        why = f": {reading.warnings[-1]}" if reading.warnings else ""
        return f"[no answer: {reading.status.replace('_', ' ')}{why}]", "stop", usage
    if (asked.response_format or {}).get("type") in ("json_object", "json_schema"):
        return json.dumps(told(reading, item.id)["answer"], ensure_ascii=False), "stop", usage
    return named(reading.task).render(reading.answer), "stop", usage


def _usage(prompt: int, cached: int, written: int) -> dict[str, Any]:
    details = {"cached_tokens": cached}
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
        "prompt_tokens_details": details,
    }
