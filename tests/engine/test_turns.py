import asyncio

import pytest

from aegis.core.errors import BusyError
from aegis.engine.turns import Turns


async def begin(turns, name, begun, end):
    async with turns:
        begun.append(name)
        await end.wait()


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_newcomers_wait_in_line_while_as_much_moves_as_may():
    turns, begun, end = Turns(2, line=10), [], asyncio.Event()
    turns.began()
    async with asyncio.TaskGroup() as group:
        for name in "abc":
            group.create_task(begin(turns, name, begun, end))
        await settle()
        assert begun == ["a"]
        turns.ended()
        await settle()
        assert begun == ["a", "b"]
        end.set()
    assert begun == ["a", "b", "c"]


async def test_what_ends_and_goes_on_within_one_turn_of_the_loop_lets_nobody_in():
    turns, begun, end = Turns(1, line=10), [], asyncio.Event()
    turns.began()
    waiting = asyncio.create_task(begin(turns, "a", begun, end))
    await settle()
    turns.ended()
    turns.began()
    await settle()
    assert begun == []
    turns.ended()
    await settle()
    assert begun == ["a"]
    end.set()
    await waiting


@pytest.mark.parametrize("turn_came", [False, True])
async def test_who_gives_up_in_the_line_keeps_no_turn(turn_came):
    turns, begun, end = Turns(1, line=10), [], asyncio.Event()
    turns.began()
    quitter = asyncio.create_task(begin(turns, "quitter", begun, end))
    next_one = asyncio.create_task(begin(turns, "next", begun, end))
    await settle()
    if turn_came:
        turns.ended()
        await asyncio.sleep(0)  # its turn is given, but it has not run yet
    quitter.cancel()
    if not turn_came:
        turns.ended()
    await settle()
    assert begun == ["next"]
    end.set()
    await next_one
    assert quitter.cancelled()


async def test_a_line_that_is_too_long_is_refused():
    turns, begun, end = Turns(1, line=1), [], asyncio.Event()
    turns.began()
    waiting = asyncio.create_task(begin(turns, "a", begun, end))
    await settle()
    with pytest.raises(BusyError):
        await begin(turns, "b", begun, end)
    turns.ended()
    end.set()
    await waiting
    assert begun == ["a"]
