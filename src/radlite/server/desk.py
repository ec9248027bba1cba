"""Where reports wait for the one engine: a bounded queue that is fair between callers."""

import asyncio
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from radlite.errors import UserError
from radlite.server.wire import Refused

Run = Callable[[Callable[[], bool]], Iterator[Any]]
"""Does the work in the engine's thread, step by step; ends early once what it is given says so."""

_LONGEST_WAIT = 600
"""Seconds that a caller is told to wait at most."""


@dataclass(frozen=True, slots=True)
class Place:
    """How many reports are read before this one."""

    number: int


class Work:
    """Something to ask of the engine. Iterating gives `Place`s while it waits, then what the engine gives, in its
    order; raises `Refused` where it comes to no end.

    Results wait in memory for whoever asked, so that a client which reads slowly never holds the engine.
    """

    def __init__(self, caller: str, run: Run, seconds: float) -> None:
        self.caller = caller
        self.asked = self.begun = time.monotonic()
        self._run = run
        self._end = self.asked + seconds
        self._why: Refused | None = None
        self.left = False
        """Whether the caller has gone."""
        self._place = -1
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Any] = asyncio.Queue()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._told()

    async def _told(self) -> AsyncIterator[Any]:
        while True:
            try:  # a second more than the engine's thread, which tells it where it works on this
                event = await asyncio.wait_for(self._events.get(), max(0.0, self._end - time.monotonic()) + 1)
            except TimeoutError:
                self.leave()
                raise _late() from None
            if event is _DONE:
                return
            if isinstance(event, Refused):
                raise event
            yield event

    def leave(self) -> None:
        """The caller has gone: nothing is worked on for him any more, and what waits for it in the loop is let go."""
        if not self.left:
            self.left = True
            self._events.put_nowait(_DONE)  # a cancelled wait may have returned an event instead, and would wait on

    def cut(self, why: Refused) -> None:
        """End it within a step, and say why."""
        self._why = self._why or why

    def over(self) -> bool:
        """Whether nobody wants it, or wants it any longer."""
        if time.monotonic() > self._end:
            self.cut(_late())
        return self.left or self._why is not None

    def do(self) -> None:
        """In the engine's thread: do it, to its end or until it is over."""
        self.begun = time.monotonic()
        for item in self._run(self.over):
            self.tell(item)
        self.finish()

    def finish(self) -> None:
        """Say that this is the end, and why, if it was not to be."""
        if self.over():
            self.tell(self._why)
        self.tell(_DONE)

    def tell_place(self, number: int) -> None:
        """Say how many are before it, unless it knows."""
        if number != self._place:
            self._place = number
            self.tell(Place(number))

    def tell(self, event: Any) -> None:
        """Hand something over, from any thread."""
        if not (self.left or self._loop.is_closed()):
            try:
                self._loop.call_soon_threadsafe(self._events.put_nowait, event)
            except RuntimeError:  # the loop was closed just now
                self.left = True


_DONE = object()


def _stopping() -> Refused:
    return Refused(503, "stopping", "The server is being stopped; ask again in a minute.", 60)


def _late() -> Refused:
    return Refused(503, "timeout", "The time for this request is over; ask for less, or raise request_seconds.", 1)


class Desk:
    """One thread that opens the engine and does one piece of work after the other.

    Callers take turns; each one's work is done in its order. `open_` and `close` are called in that thread; an error
    that `open_` raises is kept in `failed`, and `failing` is called. `waited` is told how long each waited, `defect` of
    errors that are ours.
    """

    def __init__(
        self,
        open_: Callable[[], None],
        close: Callable[[], None],
        queue: int,
        caller_queue: int,
        seconds: float,
        failing: Callable[[], None] = lambda: None,
        waited: Callable[[float], None] = lambda _: None,
        defect: Callable[[BaseException], None] = lambda _: None,
    ) -> None:
        self.failed: UserError | None = None
        self.ready = False
        self._open, self._close, self._failing, self._defect = open_, close, failing, defect
        self._waited = waited
        self._queue, self._caller_queue, self._seconds = queue, caller_queue, seconds
        self._waiting: OrderedDict[str, deque[Work]] = OrderedDict()
        self._in_hand: Work | None = None
        self._mean = 1.0
        self._stopping = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)

    def start(self) -> None:
        """Begin to open the engine."""
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many pieces of work wait, the one in hand not counted."""
        with self._changed:
            return self._count()

    @property
    def busy(self) -> bool:
        """Whether one is in hand."""
        return self._in_hand is not None

    def put(self, caller: str, run: Run) -> Work:
        """Queue something for a caller. Raises `Refused` if there is no room, or no engine yet or any longer."""
        with self._changed:
            if self._stopping or self.failed:
                raise _stopping()
            if not self.ready:
                raise Refused(503, "loading", "The model is being loaded; ask again in some seconds.", 5)
            own = self._waiting.get(caller, deque())
            if sum(not work.left for work in own) >= self._caller_queue:
                raise Refused(429, "busy", "You have too many reports waiting here; ask again later.", self._wait())
            if self._count() >= self._queue:
                raise Refused(429, "busy", "Too many reports wait to be read; ask again later.", self._wait())
            work = Work(caller, run, self._seconds)
            self._waiting.setdefault(caller, own).append(work)
            self._tell_places()
            self._changed.notify()
            return work

    def stop(self, seconds: float) -> None:
        """Take no more work, give back what waits, and end what is in hand after so many seconds.

        Safe in a signal handler, which may interrupt the very thread that holds the lock.
        """
        if not self._stopping:
            self._stopping = True
            threading.Thread(target=self._end, args=(seconds,), daemon=True).start()

    def close(self, seconds: float) -> None:
        """`stop`, and wait until the engine is closed."""
        self.stop(seconds)
        if self._thread.ident is not None:
            self._thread.join(seconds + 10)

    def _end(self, seconds: float) -> None:
        with self._changed:
            for work in self._order():
                work.tell(_stopping())
            self._waiting.clear()
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        if work_in_hand := self._in_hand:
            work_in_hand.cut(_stopping())

    def _work(self) -> None:
        try:
            self._open()
        except UserError as error:
            self.failed = error
        except Exception as error:
            self._defect(error)
            self.failed = UserError("The model could not be opened; the log says where.")
        if self.failed:
            self._failing()
            return
        self.ready = True
        try:
            while work := self._next():
                self._do(work)
                self._in_hand = None
        finally:
            self.ready = False
            self._close()

    def _do(self, work: Work) -> None:
        try:
            work.do()
        except Refused as why:
            work.tell(why)
        except UserError as error:
            work.tell(Refused(503, "unable", str(error), 10))
        except Exception as error:
            self._defect(error)
            work.tell(Refused(500, "internal", "This is a defect of the server, which its log describes."))
        self._mean += 0.2 * (time.monotonic() - work.begun - self._mean)

    def _next(self) -> Work | None:
        with self._changed:
            while True:
                while not self._waiting:
                    if self._stopping:
                        return None
                    self._changed.wait()
                caller, own = self._waiting.popitem(last=False)
                work = own.popleft()
                if own:
                    self._waiting[caller] = own  # behind the others
                if work.over():
                    work.finish()
                    continue
                self._in_hand = work
                self._waited(time.monotonic() - work.asked)
                work.tell_place(0)
                self._tell_places()
                return work

    def _order(self) -> list[Work]:
        """What waits, in the order in which it will be done."""
        lines = [[work for work in own if not work.left] for own in self._waiting.values()]
        return [line[at] for at in range(max(map(len, lines), default=0)) for line in lines if at < len(line)]

    def _tell_places(self) -> None:
        ahead = int(self._in_hand is not None)
        for number, work in enumerate(self._order(), start=ahead):
            work.tell_place(number)

    def _count(self) -> int:
        return sum(not work.left for own in self._waiting.values() for work in own)

    def _wait(self) -> int:
        """Seconds until there is likely to be room again."""
        return min(_LONGEST_WAIT, max(1, math.ceil(self._mean * (self._count() + 1) / 2)))
