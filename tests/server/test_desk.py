"""Callers take turns before the one engine; what cannot wait is told so; who leaves holds nothing."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radlite.errors import UserError
from radlite.server.desk import Desk, Place, Run, Work
from radlite.server.wire import Refused


class Engine:
    """Work that begins when `go` is set, and what was done in which order."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.done: list[str] = []
        self.stopped: list[str] = []

    def work(self, name: str, steps: int = 1) -> Run:
        def run(stop: Callable[[], bool]) -> Iterator[str]:
            for step in range(steps):
                while not self.go.wait(0.005):
                    if stop():
                        break
                if stop():
                    self.stopped.append(name)
                    return
                yield f"{name} {step}"
            self.done.append(name)

        return run


@asynccontextmanager
async def opened(queue: int = 8, each: int = 8, seconds: float = 60.0, **hooks: Any) -> AsyncIterator[Desk]:
    desk = Desk(hooks.pop("open_", lambda: None), hooks.pop("close", lambda: None), queue, each, seconds, **hooks)
    desk.start()
    while not (desk.ready or desk.failed):
        await asyncio.sleep(0.001)
    try:
        yield desk
    finally:
        await asyncio.to_thread(desk.close, 5)


async def items(work: Work) -> list[Any]:
    return [item async for item in work if not isinstance(item, Place)]


async def taken_up(desk: Desk) -> None:
    while not desk.busy:
        await asyncio.sleep(0.001)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


def test_callers_take_turns_and_each_is_served_in_order() -> None:
    async def test() -> None:
        engine = Engine()
        async with opened() as desk:
            first = desk.put("a", engine.work("a0"))
            await taken_up(desk)
            waiting = [desk.put(name[0], engine.work(name)) for name in ("a1", "a2", "a3", "b1", "b2", "c1")]
            engine.go.set()
            await asyncio.gather(*(items(one) for one in (first, *waiting)))
        assert engine.done == ["a0", "a1", "b1", "c1", "a2", "b2", "a3"]

    run(test)


def test_each_is_told_its_place_whenever_that_changes() -> None:
    async def test() -> None:
        engine = Engine()
        async with opened() as desk:
            first = desk.put("a", engine.work("a0"))
            await taken_up(desk)
            second, third = desk.put("a", engine.work("a1")), desk.put("a", engine.work("a2"))
            fourth = desk.put("b", engine.work("b0"))
            engine.go.set()
            places = []
            for one in (first, second, third, fourth):
                places.append([item.number async for item in one if isinstance(item, Place)])
        # b's only one comes before a's third one
        assert places == [[0], [1, 0], [2, 3, 2, 1, 0], [2, 1, 0]]

    run(test)


def test_beyond_the_queue_a_caller_is_told_when_to_come_again() -> None:
    async def test() -> None:
        engine = Engine()
        async with opened(queue=3, each=2) as desk:
            desk.put("a", engine.work("a0"))
            await taken_up(desk)
            desk.put("a", engine.work("a1"))
            desk.put("a", engine.work("a2"))
            with pytest.raises(Refused) as own:
                desk.put("a", engine.work("a3"))
            desk.put("b", engine.work("b0"))
            with pytest.raises(Refused) as all_:
                desk.put("c", engine.work("c0"))
            assert [(one.value.status_code, one.value.code) for one in (own, all_)] == [(429, "busy")] * 2
            assert (own.value.retry_after or 0) >= 1
            assert desk.waiting == 3
            engine.go.set()

    run(test)


def test_who_leaves_while_waiting_makes_room_and_is_never_worked_for() -> None:
    async def test() -> None:
        engine = Engine()
        async with opened(queue=1) as desk:
            first = desk.put("a", engine.work("a0"))
            await taken_up(desk)
            desk.put("b", engine.work("b0")).leave()
            second = desk.put("c", engine.work("c0"))
            engine.go.set()
            assert await items(first) == ["a0 0"]
            assert await items(second) == ["c0 0"]
        assert engine.done == ["a0", "c0"]

    run(test)


def test_who_leaves_while_worked_for_frees_the_engine_within_a_step() -> None:
    async def test() -> None:
        engine, other = Engine(), Engine()
        other.go.set()
        async with opened() as desk:
            first = desk.put("a", engine.work("a0", steps=1000))
            await taken_up(desk)
            second = desk.put("b", other.work("b0"))
            first.leave()
            assert await items(second) == ["b0 0"]
        assert engine.stopped == ["a0"]
        assert engine.done == []

    run(test)


def test_a_request_that_takes_too_long_is_ended_whether_it_waits_or_is_worked_on() -> None:
    async def test() -> None:
        engine = Engine()
        async with opened(seconds=0.05) as desk:
            both = [desk.put("a", engine.work("a0")), desk.put("b", engine.work("b0"))]
            for one in both:
                with pytest.raises(Refused) as told:
                    await items(one)
                assert (told.value.status_code, told.value.code) == (503, "timeout")
        assert engine.done == []

    run(test)


def test_a_stop_finishes_what_is_in_hand_and_gives_the_rest_back() -> None:
    async def test() -> None:
        engine, closed = Engine(), list[bool]()
        async with opened(close=lambda: closed.append(True)) as desk:
            first = desk.put("a", engine.work("a0", steps=3))
            await taken_up(desk)
            waiting = desk.put("a", engine.work("a1"))
            desk.stop(30)
            with pytest.raises(Refused) as told:
                await items(waiting)
            assert told.value.code == "stopping"
            with pytest.raises(Refused) as refused:
                desk.put("a", engine.work("a2"))
            assert refused.value.code == "stopping"
            engine.go.set()
            assert await items(first) == ["a0 0", "a0 1", "a0 2"]
        assert engine.done == ["a0"]
        assert closed == [True]

    run(test)


def test_a_stop_cuts_off_what_does_not_end_in_time_and_says_so() -> None:
    async def test() -> None:
        engine = Engine()
        async with opened() as desk:
            first = desk.put("a", engine.work("a0"))
            await taken_up(desk)
            desk.stop(0.01)
            with pytest.raises(Refused) as told:
                await items(first)
            assert told.value.code == "stopping"
        assert engine.stopped == ["a0"]

    run(test)


def test_an_error_costs_its_own_work_and_tells_nothing_of_it() -> None:
    async def test() -> None:
        def broken(stop: Callable[[], bool]) -> Iterator[str]:
            yield "one"
            raise ValueError("secret text")

        def unable(stop: Callable[[], bool]) -> Iterator[str]:
            raise UserError("The disk is full; free some space.")
            yield

        engine, seen = Engine(), list[BaseException]()
        engine.go.set()
        async with opened(defect=seen.append) as desk:
            works = [desk.put("a", one) for one in (broken, unable, engine.work("a0"))]
            with pytest.raises(Refused) as internal:
                await items(works[0])
            with pytest.raises(Refused) as told:
                await items(works[1])
            assert await items(works[2]) == ["a0 0"]
        assert (internal.value.status_code, internal.value.code) == (500, "internal")
        assert "secret" not in internal.value.message
        assert (told.value.status_code, told.value.message) == (503, "The disk is full; free some space.")
        assert [type(one) for one in seen] == [ValueError]

    run(test)


@pytest.mark.parametrize("error", [UserError("x is no model; get another."), ValueError("secret")])
def test_an_engine_that_cannot_be_opened_is_told_and_nothing_is_taken(error: Exception) -> None:
    async def test() -> None:
        def open_() -> None:
            raise error

        failing, seen = list[bool](), list[BaseException]()
        async with opened(open_=open_, failing=lambda: failing.append(True), defect=seen.append) as desk:
            assert failing == [True]
            assert not desk.ready
            assert "secret" not in str(desk.failed)
            assert seen == ([] if isinstance(error, UserError) else [error])
            with pytest.raises(Refused):
                desk.put("a", Engine().work("a0"))

    run(test)


def test_before_the_engine_is_open_a_caller_is_told_to_come_again() -> None:
    async def test() -> None:
        may_open = threading.Event()
        desk = Desk(lambda: may_open.wait(30) and None, lambda: None, 1, 1, 60.0)
        desk.start()
        with pytest.raises(Refused) as told:
            desk.put("a", Engine().work("a0"))
        assert (told.value.status_code, told.value.code) == (503, "loading")
        may_open.set()
        await asyncio.to_thread(desk.close, 5)

    run(test)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["stay", "leave"])), max_size=12))
def test_nothing_is_lost_or_done_twice(asked: list[tuple[str, str]]) -> None:
    async def test() -> None:
        engine = Engine()
        async with opened(queue=20, each=20) as desk:
            works = []
            for number, (caller, what) in enumerate(asked):
                work = desk.put(caller, engine.work(f"{caller}{number}", steps=2))
                if what == "leave":
                    work.leave()
                else:
                    works.append((work, f"{caller}{number}"))
            engine.go.set()
            for work, name in works:
                assert await items(work) == [f"{name} 0", f"{name} 1"]
            done = [name for name in engine.done if name in {name for _, name in works}]
            assert sorted(done) == sorted(name for _, name in works)
            assert len(set(engine.done)) == len(engine.done)
            for caller in "abc":
                own = [int(name[1:]) for name in done if name[0] == caller]
                assert own == sorted(own)

    run(test)


def test_a_client_that_reads_slowly_does_not_hold_the_engine() -> None:
    async def test() -> None:
        engine = Engine()
        engine.go.set()
        async with opened() as desk:
            slow = desk.put("a", engine.work("a0", steps=50))
            quick = desk.put("b", engine.work("b0"))
            assert await items(quick) == ["b0 0"]
            assert len(await items(slow)) == 50

    run(test)


def test_a_desk_that_was_never_opened_can_be_closed() -> None:
    desk = Desk(lambda: None, lambda: None, 1, 1, 60.0)
    desk.close(0.1)
    assert not desk.ready


def test_whoever_waits_for_work_that_was_left_is_let_go() -> None:
    async def run() -> list[Any]:
        engine = Engine()
        async with opened() as desk:
            work = desk.put("a", engine.work("a"))
            waiting = asyncio.create_task(items(work))
            await taken_up(desk)
            work.leave()
            return await waiting  # and not until the time of the request is over

    assert asyncio.run(run()) == []
