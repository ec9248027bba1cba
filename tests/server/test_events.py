"""A stream shows whether somebody listens, and ends when nobody does."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from radlite.server import events
from radlite.server.desk import Work
from radlite.server.wire import Refused


class Listener:
    """A client that hears what is sent and leaves when `leave` is set."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.leave = asyncio.Event()

    async def send(self, message: Any) -> None:
        self.heard.append(message)

    async def receive(self) -> Any:
        await self.leave.wait()
        return {"type": "http.disconnect"}

    @property
    def text(self) -> str:
        return b"".join(one.get("body", b"") for one in self.heard).decode()


def streamed(texts: AsyncIterator[str], listener: Listener, work: Work) -> tuple[events.Events, list[bool]]:
    ended: list[bool] = []
    return events.Events(work, texts, lambda why: f"error {why.code}", lambda: ended.append(True)), ended


async def play(texts: AsyncIterator[str], leave_after: float | None = None) -> tuple[Listener, Work, list[bool]]:
    listener, work = Listener(), Work("a", lambda stop: iter(()), 60)
    stream, ended = streamed(texts, listener, work)
    if leave_after is not None:
        asyncio.get_running_loop().call_later(leave_after, listener.leave.set)
    await asyncio.wait_for(stream({}, listener.receive, listener.send), 30)
    return listener, work, ended


def test_silence_is_filled_with_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    async def slow() -> AsyncIterator[str]:
        yield "one"
        await asyncio.sleep(0.2)
        yield "two"

    monkeypatch.setattr(events, "_ALIVE", 0.02)
    listener, work, ended = asyncio.run(play(slow()))
    assert listener.text.startswith("one: \n\n: \n\n") and listener.text.endswith("two")
    assert listener.heard[0]["status"] == 200
    assert listener.heard[-1] == {"type": "http.response.body", "body": b""}
    assert work.left and ended == [True]


def test_who_leaves_ends_the_stream_and_the_work() -> None:
    async def endless() -> AsyncIterator[str]:
        try:
            while True:
                yield "more"
                await asyncio.sleep(0.01)
        finally:
            closed.append(True)

    closed: list[bool] = []
    listener, work, ended = asyncio.run(play(endless(), leave_after=0.1))
    assert work.left and ended == [True] and closed == [True]
    assert "more" in listener.text


def test_what_cannot_go_on_ends_with_an_error_event_and_a_defect_is_not_hidden() -> None:
    async def refused() -> AsyncIterator[str]:
        yield "one "
        raise Refused(503, "stopping", "It stops.")

    async def broken() -> AsyncIterator[str]:
        yield "one "
        raise ValueError("secret")

    assert asyncio.run(play(refused()))[0].text == "one error stopping"
    with pytest.raises(ValueError):
        asyncio.run(play(broken()))


def test_an_event_is_one_line_of_json() -> None:
    text = events.event("answer", {"text": "a\n\nevent: done\rdata: {}\u2028é"})
    assert text.count("\n") == 3 and "\r" not in text and text.endswith("\n\n")
    with pytest.raises(ValueError):
        events.event("answer", float("nan"))
