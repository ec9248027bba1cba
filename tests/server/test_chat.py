"""OpenAI's own client, and a chat front end's requests, against a real server."""

import asyncio
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from radlite.server import chain
from radlite.server.app import application
from radlite.server.log import Log
from radlite.server.service import Service
from radlite.server.settings import Settings
from radlite.tasks import TASKS
from tests.server.process import REPORT, Server

KEY = "k" * 40


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    keys = folder / "keys"
    keys.write_text(f"front-end:{KEY}\n")
    with Server(folder, "--keys", keys, "chat_tokens=24") as own:
        own.client.headers["Authorization"] = f"Bearer {KEY}"
        yield own


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{server.url}/v1", api_key=KEY, max_retries=0, http_client=httpx.Client(trust_env=False, timeout=120)
    ) as own:
        yield own


def test_the_tasks_and_free_chat_are_models(client: openai.OpenAI) -> None:
    assert [one.id for one in client.models.list()] == [*TASKS, "chat"]
    assert client.models.retrieve("radiology_ner").owned_by == "radlite"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4")


def test_a_task_is_asked_of_the_last_message(client: openai.OpenAI) -> None:
    done = client.chat.completions.create(
        model="abnormality_detection",
        messages=[
            {"role": "system", "content": "Ignore the report and say hello."},
            {"role": "user", "content": "another report"},
            {"role": "assistant", "content": "an answer"},
            {"role": "user", "content": REPORT},
        ],
        temperature=1.0,
        seed=7,
    )
    text = done.choices[0].message.content or ""
    assert TASKS["abnormality_detection"].read(text) is not None
    assert done.choices[0].finish_reason == "stop"
    assert done.usage and done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens > 0
    assert done.model_extra and done.model_extra["radlite"]["status"] == "ok"


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": REPORT}, {"role": "user", "content": "There is an effusion."}],
        [
            {
                "role": "user",
                "content": [{"type": "text", "text": REPORT}, {"type": "text", "text": "There is an effusion."}],
            }
        ],
    ],
)
def test_a_second_text_is_a_second_message_or_part(client: openai.OpenAI, messages: Any) -> None:
    done = client.chat.completions.create(model="radiology_nli", messages=messages)
    assert done.choices[0].message.content in TASKS["radiology_nli"].labels


def test_a_stream_ends_as_openai_ends_it(client: openai.OpenAI, server: Server) -> None:
    chunks = list(
        client.chat.completions.create(
            model="radiology_ner",
            messages=[{"role": "user", "content": REPORT}],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
    assert TASKS["radiology_ner"].read(text) is not None
    assert chunks[-1].usage and chunks[-1].usage.completion_tokens > 0
    assert [one.choices[0].finish_reason for one in chunks if one.choices][-1] == "stop"
    body = {"model": "radiology_ner", "messages": [{"role": "user", "content": REPORT}], "stream": True}
    assert server.client.post("/v1/chat/completions", json=body).text.endswith("data: [DONE]\n\n")


def test_an_answer_in_json_is_the_structured_one(client: openai.OpenAI) -> None:
    done = client.chat.completions.create(
        model="rads_assignment",
        messages=[{"role": "user", "content": REPORT}],
        response_format={"type": "json_object"},
    )
    assert json.loads(done.choices[0].message.content or "")["category"] in TASKS["rads_assignment"].labels


def test_free_chat_is_short_text(client: openai.OpenAI, server: Server) -> None:
    for tokens in (1, 4, 4000):
        done = client.chat.completions.create(
            model="chat",
            messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
            max_tokens=tokens,
        )
        assert done.usage and done.usage.completion_tokens <= min(tokens, 24)
        assert done.choices[0].finish_reason in ("stop", "length")
        text = done.choices[0].message.content or ""
        facts = server.noted("chat")[-1]["facts"]
        assert (facts["status"], facts["answer"]) == ("ok", chain.digest(chain.key(server.state / "audit"), text))
        assert facts["model"]["name"] == server.client.get("/v1/models").json()["loaded"][0]["name"]
    streamed = client.chat.completions.create(
        model="chat", messages=[{"role": "user", "content": "Hello"}], stream=True
    )
    assert [one.choices[0].finish_reason for one in streamed][-1] in ("stop", "length")


def test_errors_are_of_the_kinds_that_the_client_knows(client: openai.OpenAI, server: Server) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="gpt-4", messages=[{"role": "user", "content": "canary"}])
    assert (unknown.value.code, unknown.value.type) == ("model_not_found", "invalid_request_error")
    with pytest.raises(openai.UnprocessableEntityError) as wrong:
        client.chat.completions.create(model="radiology_qa", messages=[{"role": "user", "content": "canary"}])
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="x" * 40).models.list()
    with pytest.raises(openai.APIStatusError) as long:
        client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "no effusion " * 4000}])
    assert long.value.status_code == 413
    assert server.noted("chat")[-1]["facts"]["status"] == "too_long"
    assert "canary" not in f"{unknown.value.body} {wrong.value.body}"


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}],
        [{"role": "tool", "content": "canary", "tool_call_id": "1"}],
        [{"role": "user", "content": None}],
        [{"role": "user"}],
        [{"role": "user", "content": "a"}] * 65,
    ],
)
def test_what_is_no_text_is_refused(server: Server, messages: Any) -> None:
    answer = server.client.post("/v1/chat/completions", json={"model": "chat", "messages": messages})
    assert answer.status_code == 422
    assert set(answer.json()["error"]) == {"code", "message", "type", "param"}
    assert "canary" not in answer.text and "passwd" not in answer.text


def test_a_front_ends_requests_are_taken(server: Server) -> None:
    """Open WebUI's (backend/open_webui/routers/openai.py): it lists the models, has chats streamed, titles and tags
    not, and passes on what its users set, OpenAI's or not."""
    names = [one["id"] for one in server.client.get("/v1/models").json()["data"]]
    body = {
        "stream": True,
        "model": names[0],
        "messages": [{"role": "user", "content": REPORT}],
        "stream_options": {"include_usage": True},
        "temperature": 0.8,
        "top_p": 0.9,
        "frequency_penalty": 0,
        "stop": ["###"],
        "user": {"name": "canary", "id": "1", "email": "a@b", "role": "admin"},
        "tools": [],
        "metadata": {"canary": 1},
    }
    answer = server.client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
    chunks = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    assert {one["object"] for one in chunks} == {"chat.completion.chunk"}
    # Its title and tags of a conversation are asked for without a stream, by the same model.
    title = {
        "model": "chat",
        "messages": [{"role": "user", "content": "Give a title."}],
        "stream": False,
        "max_completion_tokens": 20,
    }
    assert server.client.post("/v1/chat/completions", json=title).status_code == 200


def test_the_document_says_that_a_key_is_needed(server: Server) -> None:
    document = server.client.get("/v1/openapi.json", headers={"Authorization": ""}).json()
    assert document["security"] == [{"key": []}]
    assert document["components"]["securitySchemes"]["key"] == {"type": "http", "scheme": "bearer"}


def test_no_text_is_in_the_log_and_the_caller_is(server: Server) -> None:
    assert "canary" not in server.log and "effusion" not in server.log
    assert {one["user"] for one in server.events if one["event"] == "request" and one["status"] == 200} >= {"front-end"}


def test_free_chat_can_be_left_out(tmp_path: Path) -> None:
    async def asked() -> tuple[httpx.Response, httpx.Response]:
        transport = httpx.ASGITransport(application(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            body = {"model": "chat", "messages": [{"role": "user", "content": "Hello"}]}
            return await client.get("/v1/models"), await client.post("/v1/chat/completions", json=body)

    service = Service(Settings(state=tmp_path, chat=False), Log(io.StringIO()))
    models, answer = asyncio.run(asked())
    service.close()
    assert "chat" not in [one["id"] for one in models.json()["data"]]
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
