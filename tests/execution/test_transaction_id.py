"""A transaction's id comes with what it writes, and what is known of one transaction is not taken for another's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith import (
    CommitOutcome,
    Database,
    DatabaseUnavailable,
    OptionalState,
    TransactionAborted,
    TransactionError,
    commit_outcome,
)
from rowsmith.execution import connections_of
from rowsmith.execution.pool import has_word
from rowsmith.execution.transaction_id import ID, _ends_in_returning
from rowsmith.testing import FaultProxy, WithFaults
from tenants import DomainRow, DomainScope, GroupCreate, GroupId, GroupPatch, GroupRepository, GroupRow

Pair = tuple[GroupRepository, FaultProxy]

SIZED = GroupPatch(size=OptionalState.update(1))


@pytest.fixture
async def pair(with_faults: WithFaults) -> AsyncIterator[Pair]:
    async with with_faults(DomainRow, GroupRow, pool_size=2, max_overflow=0) as (db, proxy):
        groups = GroupRepository(db, resilience=None)
        await groups.batch_create([GroupCreate("a", f"group {n}") for n in range(3)])
        proxy.seen.clear()
        yield groups, proxy


def verbs(proxy: FaultProxy) -> list[str]:
    """What was sent, by its first word; what asks for an id by itself is ``ID``."""
    sent = ["ID" if text.startswith(f"SELECT {ID}") else text.split()[0].rstrip(";") for text in proxy.seen]
    proxy.seen.clear()
    return sent


async def test_a_unit_of_work_asks_for_nothing_before_it_commits(pair: Pair) -> None:
    """Whichever of its statements is the first that writes, and in savepoints; what gives no row back is asked for."""
    groups, proxy = pair
    await groups.get(GroupId(2))
    verbs(proxy)
    async with groups.db.unit_of_work():
        await groups.create(GroupCreate("a", "new"))
        await groups.update(GroupId(1), SIZED)
    assert verbs(proxy) == ["BEGIN", "INSERT", "UPDATE", "COMMIT"]
    async with groups.db.unit_of_work():
        async with groups.db.unit_of_work():
            await groups.update(GroupId(1), SIZED)
        await groups.get(GroupId(2))
    assert verbs(proxy) == ["BEGIN", "SAVEPOINT", "UPDATE", "RELEASE", "SELECT", "COMMIT"]
    async with groups.db.begin_session() as session:
        await session.execute(sa.update(GroupRow).values(size=3))
    assert verbs(proxy)[:4] == ["BEGIN", "UPDATE", "ID", "COMMIT"]


async def test_it_is_believed_where_the_answer_is_lost(pair: Pair) -> None:
    """As one that was asked for: committed or not, the truth is told."""
    groups, proxy = pair
    proxy.drop_answer("COMMIT")
    async with groups.db.unit_of_work():
        await groups.create(GroupCreate("a", "new"))
    proxy.drop_request("COMMIT")
    with pytest.raises(DatabaseUnavailable):
        async with groups.db.unit_of_work():
            await groups.create(GroupCreate("a", "newer"))
    assert await groups.count(DomainScope("a")) == 4


async def by_text(session: AsyncSession, statement: str) -> None:
    await session.execute(sa.text(statement))


async def by_exec_driver_sql(session: AsyncSession, statement: str) -> None:
    await (await session.connection()).exec_driver_sql(statement)


async def by_the_driver(session: AsyncSession, statement: str) -> None:
    driver: Any = (await (await session.connection()).get_raw_connection()).driver_connection
    await driver.execute(statement)


async def by_a_cursor(session: AsyncSession, statement: str) -> None:
    await (await session.connection()).run_sync(lambda sync: sync.connection.cursor().execute(statement))


WAYS = pytest.mark.parametrize("send", [by_text, by_exec_driver_sql, by_the_driver, by_a_cursor])


@WAYS
async def test_another_transaction_in_its_place_is_not_taken_for_it(pair: Pair, send: Any) -> None:
    """Of two in one block, the first is committed; COMMIT is not sent for the second, and it is told."""
    groups, proxy = pair
    with pytest.raises(TransactionError, match="not known here") as lost:
        async with groups.db.begin_session() as session:
            await groups.create(GroupCreate("a", "new"))
            await send(session, "COMMIT AND CHAIN")
            await send(session, "UPDATE groups SET size = 7")
            proxy.drop_request("COMMIT")
    assert commit_outcome(lost.value) is CommitOutcome.UNKNOWN
    assert await groups.count(DomainScope("a"), [GroupRow.size == 7]) == 0
    assert await groups.count(DomainScope("a")) == 4


@WAYS
async def test_a_failure_underneath_is_no_commit_still(pair: Pair, send: Any) -> None:
    """What failed after the id was known, and was swallowed."""
    groups, _ = pair
    with pytest.raises(TransactionAborted):
        async with groups.db.begin_session() as session:
            await groups.create(GroupCreate("a", "new"))
            with pytest.raises(Exception, match="zero"):
                await send(session, "SELECT 1 / 0")


async def test_what_is_known_to_be_over_is_not_sent_for(pair: Pair) -> None:
    """A connection that was lost before COMMIT is told as such, with nobody there to be asked."""
    groups, proxy = pair
    with pytest.raises(DatabaseUnavailable) as lost:
        async with groups.db.unit_of_work() as unit:
            await groups.create(GroupCreate("a", "new"))
            await proxy.refuse()
            proxy.cut()
            while not any(map(has_word, connections_of(unit.db_sess))):  # noqa: ASYNC110
                await asyncio.sleep(0)
    assert commit_outcome(lost.value) is CommitOutcome.NOT_COMMITTED
    assert not any("COMMIT" in text for text in proxy.seen)


async def test_nobody_else_is_asked(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an application's session on the same engine; nor a server that takes no such function in RETURNING."""
    groups, proxy = pair
    returning = sa.insert(GroupRow).values(domain_name="a", name="new").returning(GroupRow.id)
    async with groups.db.begin_session() as session:
        await session.execute(returning)
    assert any("RETURNING" in text and ID in text for text in proxy.seen)
    proxy.seen.clear()
    async with AsyncSession(groups.db.engine) as session, session.begin():
        await session.execute(returning.values(name="other"))
    assert not any(ID in text for text in proxy.seen)
    monkeypatch.setattr("rowsmith.execution.pool._PROCESS", "pg_backend_pid(), true")
    spread = Database.from_url(groups.db.engine.url)
    async with spread.begin_session() as session:
        await session.execute(returning.values(name="third"))
    await spread.dispose()
    assert verbs(proxy)[-3:-1] == ["ID", "COMMIT"]  # what the application may have left is taken away after it


async def test_statements_that_end_otherwise_are_left_as_they_are(pair: Pair) -> None:
    """A listener's comment, and what a default of a column asks for first."""
    groups, proxy = pair
    sync = groups.db.engine.sync_engine

    @sa.event.listens_for(sync, "before_cursor_execute", retval=True)
    def marked(_: Any, __: Any, statement: str, given: Any, *___: Any) -> tuple[str, Any]:
        return f"{statement} -- mark", given

    async with groups.db.unit_of_work():
        made = await groups.create(GroupCreate("a", "new"))
    sa.event.remove(sync, "before_cursor_execute", marked)
    assert made.name == "new"
    assert verbs(proxy)[-2:] == ["ID", "COMMIT"]


@pytest.mark.parametrize(
    "sent, is_it",
    [
        ("INSERT INTO t (a) VALUES ($1) RETURNING t.b, t.c", True),
        ("INSERT INTO t (a) SELECT p0 FROM (VALUES ($1), ($2)) AS s (p0) RETURNING t.b, t.c", True),
        ("SELECT max(t.c) FROM t", False),  # what a default of a column asks for first
        ("INSERT INTO t (a) VALUES ($1) RETURNING t.b, t.c -- mark", False),
        ("INSERT INTO t (a) VALUES ($1) RETURNING t.b, t.c;", False),
    ],
)
def test_only_the_end_of_returning_is_added_to(sent: str, is_it: bool) -> None:
    """A statement that ends as the one that SQLAlchemy has compiled."""
    assert _ends_in_returning(sent, "INSERT INTO t (a) VALUES ($1) RETURNING t.b, t.c") is is_it


async def test_rows_of_many_come_without_it(pair: Pair) -> None:
    """One round trip is cheaper than an id a row."""
    groups, proxy = pair
    returning = sa.insert(GroupRow).returning(GroupRow.name, sort_by_parameter_order=True)
    for count, asked in ((2, 0), (600, 1)):
        given = [{"domain_name": "a", "name": f"{count} {n}"} for n in range(count)]
        async with groups.db.unit_of_work() as unit:
            made = (await unit.db_sess.execute(returning, given)).scalars().all()
        assert made == [each["name"] for each in given]
        assert verbs(proxy).count("ID") == asked
