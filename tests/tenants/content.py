"""What is in the tables of groups, and a look at it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import sqlalchemy as sa

from rowsmith import Database
from rowsmith.testing import WithTables
from tenants.groups import DomainRow, GroupCreate, GroupId, GroupRepository, GroupRow
from tenants.members import MemberRow


@asynccontextmanager
async def groups_in(made: WithTables) -> AsyncGenerator[GroupRepository]:
    """Give a repository over four groups: ids 1 and 2 in domain a, 3 in b, and 4 in a, deleted."""
    async with made(DomainRow, GroupRow, MemberRow) as db:
        async with db.begin_session() as db_sess:
            await db_sess.execute(sa.insert(DomainRow), [{"name": "a"}, {"name": "b"}])
        groups = GroupRepository(db)
        for domain, name in [("a", "one"), ("a", "two"), ("b", "one"), ("a", "gone")]:
            await groups.create(GroupCreate(domain, name))
        await groups.delete(GroupId(4))
        yield groups


async def stored(db: Database, statement: sa.Select[Any] | None = None) -> list[tuple[Any, ...]]:
    """Give what the database holds, past every repository: by default each group's domain, name and size."""
    wanted = sa.select(GroupRow.id, GroupRow.domain_name, GroupRow.name, GroupRow.size, GroupRow.deleted_at)
    async with db.engine.connect() as connection:
        rows = await connection.execute(wanted.order_by(GroupRow.id) if statement is None else statement)
        return [tuple(row) for row in rows]
