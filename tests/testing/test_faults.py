"""The proxy does to a connection what it is told, at the statement that it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from rowsmith import Database, DatabaseUnavailable, InvalidValue
from rowsmith.testing import FaultProxy, WithFaults, kill_backend
from tenants import DomainRow

Pair = tuple[Database, FaultProxy]


@pytest.fixture
async def pair(with_faults: WithFaults) -> AsyncIterator[Pair]:
    async with with_faults(DomainRow) as made:
        yield made


async def write(db: Database, name: str) -> None:
    async with db.begin_session() as session:
        await session.execute(sa.insert(DomainRow).values(name=name))


async def names(db: Database) -> list[str]:
    async with db.begin_readonly_session() as session:
        return list((await session.execute(sa.select(DomainRow.name).order_by(DomainRow.name))).scalars())


async def test_traffic_passes(pair: Pair) -> None:
    """Without a fault a database behind the proxy works, and every statement is seen."""
    db, proxy = pair
    await write(db, "a")
    assert await names(db) == ["a"]
    assert any("INSERT INTO" in statement for statement in proxy.seen)
    assert [statement for statement in proxy.seen if "COMMIT" in statement] == ["COMMIT;"]


async def test_a_request_is_dropped(pair: Pair) -> None:
    """The server never has it; the next connection is served again."""
    db, proxy = pair
    await write(db, "a")
    proxy.drop_request("COMMIT")
    with pytest.raises(DatabaseUnavailable):
        await write(db, "b")
    assert await names(db) == ["a"]


async def test_an_answer_is_dropped(pair: Pair) -> None:
    """The server did it, which is found out, though the client meets the same as with a dropped request."""
    db, proxy = pair
    proxy.drop_answer("COMMIT")
    await write(db, "b")
    assert await names(db) == ["b"]


async def test_an_answer_is_held_back(pair: Pair) -> None:
    """The statement is done, the connection stays, and nothing more comes."""
    db, proxy = pair
    proxy.hold_answer("SELECT 42")
    async with db.begin_session() as session:
        waiting = asyncio.ensure_future(session.execute(sa.text("SELECT 42")))
        done, _ = await asyncio.wait([waiting], timeout=0.3)
        assert not done
        assert "SELECT 42" in proxy.seen
        proxy.cut()
        with pytest.raises(Exception, match="closed"):
            await waiting
        await session.invalidate()


async def test_a_statement_is_delayed(pair: Pair) -> None:
    """It goes on after the seconds given, and is answered as ever."""
    db, proxy = pair
    proxy.delay("INSERT INTO", 0.2)
    started = asyncio.get_running_loop().time()
    await write(db, "a")
    assert asyncio.get_running_loop().time() - started >= 0.2
    assert await names(db) == ["a"]


async def test_a_frozen_network_thaws(pair: Pair) -> None:
    """Nothing passes while frozen, and all that waited passes afterwards."""
    db, proxy = pair
    await write(db, "a")
    proxy.freeze()
    reading = asyncio.ensure_future(names(db))
    await asyncio.sleep(0.1)
    assert not reading.done()
    proxy.thaw()
    assert await reading == ["a"]


async def test_connections_are_refused_and_taken_again(pair: Pair) -> None:
    """While refused no new connection is made; afterwards the same URL works."""
    db, proxy = pair
    await write(db, "a")
    await proxy.refuse()
    proxy.cut()
    with pytest.raises(DatabaseUnavailable):
        await names(db)
    await proxy.accept()
    assert await names(db) == ["a"]


async def test_a_backend_is_killed(pair: Pair) -> None:
    """Its client meets a lost connection; nothing of its transaction is kept."""
    db, _ = pair
    with pytest.raises(DatabaseUnavailable):
        async with db.begin_session() as session:
            await session.execute(sa.insert(DomainRow).values(name="a"))
            pid = (await session.execute(sa.text("SELECT pg_backend_pid()"))).scalar_one()
            await kill_backend(db, pid)
            await session.execute(sa.text("SELECT 1"))
    assert await names(db) == []


def test_a_fault_without_a_statement_is_refused() -> None:
    """What is no pattern, or never happens, is told."""
    proxy = FaultProxy("postgresql://somebody@localhost/db")
    with pytest.raises(InvalidValue, match="COMMIT"):
        proxy.drop_answer("")
    with pytest.raises(InvalidValue, match="times=1"):
        proxy.drop_answer("COMMIT", times=0)
