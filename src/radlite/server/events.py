"""Answers as they come: server-sent events, and the wait for all of them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.responses import Response

from radlite.server.desk import Work
from radlite.server.guard import Receive, Scope, Send, gone
from radlite.server.wire import Refused

_ALIVE = 15.0
"""Seconds without an event after which a line without meaning is sent, which shows whether the client is there."""


def event(name: str, data: Any) -> str:
    """An event with a JSON value."""
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False, allow_nan=False)}\n\n"


class Events(Response):
    """A stream of texts, made of a piece of work, which is left when the client has gone.

    `ended` is called at the end, however it comes; `failed` makes the last text of a stream that cannot go on.
    """

    media_type = "text/event-stream"

    def __init__(
        self, work: Work, texts: AsyncIterator[str], failed: Callable[[Refused], str], ended: Callable[[], None]
    ) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._work, self._texts, self._failed, self._ended = work, texts, failed, ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events until there are no more, or nobody listens."""
        feeding = asyncio.create_task(self._feed(send))
        watching = asyncio.create_task(gone(receive))
        try:
            await asyncio.wait({feeding, watching}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._work.leave()
            feeding.cancel()
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            self._ended()
        if not feeding.cancelled():
            await asyncio.gather(feeding, return_exceptions=feeding.cancelling() > 0)

    async def _feed(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            async for text in _awake(self._texts):
                await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
        except Refused as why:
            await send({"type": "http.response.body", "body": self._failed(why).encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _awake(texts: AsyncIterator[str]) -> AsyncIterator[str]:
    """The texts, and a comment where none comes for a while."""

    async def following() -> str | None:
        return await anext(texts, None)

    coming = asyncio.create_task(following())
    try:
        while True:
            await asyncio.wait({coming}, timeout=_ALIVE)
            if not coming.done():
                yield ": \n\n"
            elif (text := coming.result()) is None:
                return
            else:
                yield text
                coming = asyncio.create_task(following())
    finally:
        coming.cancel()


async def all_of(work: Work, receive: Receive) -> list[Any] | None:
    """What a piece of work comes to; None if the client has gone. Raises `Refused` where it comes to no end."""

    async def gather() -> list[Any]:
        return [item async for item in work]

    gathering, watching = asyncio.create_task(gather()), asyncio.create_task(gone(receive))
    try:
        await asyncio.wait({gathering, watching}, return_when=asyncio.FIRST_COMPLETED)
        return gathering.result() if gathering.done() else None
    finally:
        work.leave()
        gathering.cancel()
        watching.cancel()
        await asyncio.gather(gathering, watching, return_exceptions=True)
