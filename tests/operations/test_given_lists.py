"""What a verb is given stays what it was, whatever its caller does to a list while the call waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias, cast

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith import Database, OptionalState, PurgeReport, SoftDelete
from rowsmith.operations import (
    BatchCreator,
    BatchPurger,
    BatchQuerier,
    BatchSoftDeleter,
    BatchUpdater,
    Operation,
    WherePurger,
)
from rowsmith.testing import WithTables
from tenants import CheckedScope, GroupCreate, GroupId, GroupPatch, GroupRow, groups_in

ONE, TWO, OTHER, GONE = map(GroupId, (1, 2, 3, 4))
CHECKED = CheckedScope("a")
SIZED = GroupPatch(size=OptionalState.update(7))
SPECS = [GroupCreate("a", "three"), GroupCreate("a", "four")]
PATCHES = {TWO: SIZED, ONE: SIZED}
SMALL = [GroupRow.size < 9]

Call: TypeAlias = Callable[[AsyncSession, Any], Awaitable[Any]]
entity = Operation[GroupRow, GroupRow](GroupRow, soft_delete=SoftDelete(GroupRow.deleted_at)).entity
reader = BatchQuerier[GroupRow, GroupRow](entity)
creator = BatchCreator[GroupRow, GroupRow](entity)
updater = BatchUpdater[GroupRow, GroupRow](entity)
deleter = BatchSoftDeleter[GroupRow, GroupRow](entity)
purger = BatchPurger[GroupRow, GroupRow](entity)
where_purger = WherePurger[GroupRow, GroupRow](entity)


async def chunks_of(db_sess: AsyncSession, filters: Any) -> Any:
    return [chunk async for chunk in reader.chunks(db_sess, CHECKED, filters)]


CALLS: dict[str, tuple[Callable[[], Any], Call]] = {
    "batch_get": (lambda: [TWO, ONE], lambda db_sess, ids: reader.query(db_sess, ids, scope=CHECKED)),
    "batch_get by name": (lambda: [TWO, ONE], lambda db_sess, ids: reader.query(db_sess, scope=CHECKED, ids=ids)),
    "batch_get of a deque": (lambda: deque([TWO, ONE]), lambda db_sess, ids: reader.query(db_sess, ids, scope=CHECKED)),
    "search": (lambda: [*SMALL], lambda db_sess, filters: reader.search(db_sess, CHECKED, filters)),
    "count": (lambda: [*SMALL], lambda db_sess, filters: reader.count(db_sess, CHECKED, filters)),
    "stream": (lambda: [*SMALL], chunks_of),
    "batch_create": (lambda: [*SPECS], lambda db_sess, specs: creator.create(db_sess, specs, scope=CHECKED)),
    "load": (lambda: [*SPECS], lambda db_sess, specs: creator.load(db_sess, specs, scope=CHECKED)),
    "batch_create_partial": (
        lambda: [*SPECS],
        lambda db_sess, specs: creator.create_partial(db_sess, specs, scope=CHECKED),
    ),
    "batch_update": (lambda: [TWO, ONE], lambda db_sess, ids: updater.update(db_sess, ids, SIZED, scope=CHECKED)),
    "batch_update_each": (
        lambda: dict(PATCHES),
        lambda db_sess, patches: updater.update_each(db_sess, patches, scope=CHECKED),
    ),
    "batch_update_partial": (
        lambda: dict(PATCHES),
        lambda db_sess, patches: updater.update_partial(db_sess, patches, scope=CHECKED),
    ),
    "update_where": (
        lambda: [*SMALL],
        lambda db_sess, filters: updater.update_where(db_sess, filters, SIZED, scope=CHECKED),
    ),
    "batch_delete": (lambda: [TWO, ONE], lambda db_sess, ids: deleter.delete(db_sess, ids, scope=CHECKED)),
    "batch_restore": (lambda: [GONE], lambda db_sess, ids: deleter.restore(db_sess, ids, scope=CHECKED)),
    "delete_where": (lambda: [*SMALL], lambda db_sess, filters: deleter.delete_where(db_sess, filters, scope=CHECKED)),
    "batch_purge": (lambda: [TWO, ONE], lambda db_sess, ids: purger.purge(db_sess, ids, scope=CHECKED)),
    "batch_purge_partial": (
        lambda: [TWO, ONE],
        lambda db_sess, ids: purger.purge_partial(db_sess, ids, scope=CHECKED),
    ),
    "purge_where": (
        lambda: [*SMALL],
        lambda db_sess, filters: where_purger.purge_at_once(db_sess, filters, scope=CHECKED),
    ),
}
"""Of each verb what it is given, and the call: its scope asks for the domain before the list is sent."""


@contextmanager
def changing(db: Database, given: Any) -> Iterator[None]:
    """Have a caller's list empty from the first statement on."""

    def empty(*_: object) -> None:
        given.clear()

    event.listen(db.engine.sync_engine, "before_cursor_execute", empty)
    try:
        yield
    finally:
        event.remove(db.engine.sync_engine, "before_cursor_execute", empty)


async def told(db: Database, call: Call, given: Any, *, is_changed: bool) -> tuple[object, object]:
    """Give what a call answers and what it leaves in the tables, of which nothing is kept."""
    async with db.engine.connect() as connection, AsyncSession(connection) as db_sess:
        if is_changed:
            with changing(db, given):
                answer = await call(db_sess, given)
        else:
            answer = await call(db_sess, given)
        rows = await db_sess.execute(
            sa.select(GroupRow.domain_name, GroupRow.name, GroupRow.size, GroupRow.deleted_at.is_(None))
        )
        return _without_moments(answer), sorted(map(tuple, rows))


def _without_moments(answer: object) -> object:
    """Give the names of rows that are given, whose ids and times are others in each transaction."""
    if isinstance(answer, PurgeReport):
        return answer.rows
    given: Any = getattr(answer, "succeeded", getattr(answer, "items", answer))
    if isinstance(given, (list, tuple)):
        return [_without_moments(each) for each in cast("list[Any]", given)]
    row = getattr(given, "data", given)
    return getattr(row, "name", row)


@pytest.mark.parametrize("name", CALLS)
async def test_a_list_may_change_while_the_call_waits(any_tables: WithTables, name: str) -> None:
    """By a task beside it: the call sends and tells what it was given, in a session of the caller's, too."""
    make, call = CALLS[name]
    async with groups_in(any_tables) as groups:
        wanted = await told(groups.db, call, make(), is_changed=False)
        assert await told(groups.db, call, make(), is_changed=True) == wanted
