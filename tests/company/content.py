"""What is in the tables of teams and rooms."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import sqlalchemy as sa

from company.rooms import RoomRow, SeatRow
from company.teams import BadgeRow, RegionRow, TagRow, TeamRow, TeamTagRow, UserRow
from rowsmith import Database
from rowsmith.testing import WithTables

ROWS = (RegionRow, TeamRow, UserRow, TagRow, TeamTagRow, BadgeRow, RoomRow, SeatRow)

CONTENT: dict[Any, list[dict[str, Any]]] = {
    RegionRow: [{"code": "eu", "title": "Europe"}, {"code": "us", "title": None}],
    TeamRow: [
        {"id": 1, "region_code": "eu", "name": "core", "parent_id": None, "size": 5},
        {"id": 2, "region_code": "eu", "name": "web", "parent_id": 1, "size": 3},
        {"id": 3, "region_code": "us", "name": "ops", "parent_id": 1, "size": 8},
        {"id": 4, "region_code": "us", "name": "lone", "parent_id": None, "size": 0},
    ],
    UserRow: [
        {"id": 11, "team_id": 1, "name": "ann", "nickname": None},
        {"id": 12, "team_id": 1, "name": "bob", "nickname": "b"},
        {"id": 13, "team_id": 2, "name": "cid", "nickname": None},
        {"id": 14, "team_id": None, "name": "dee", "nickname": None},
    ],
    TagRow: [{"id": 21, "word": "red"}, {"id": 22, "word": "blue"}],
    TeamTagRow: [{"team_id": 1, "tag_id": 22}, {"team_id": 1, "tag_id": 21}, {"team_id": 3, "tag_id": 22}],
    BadgeRow: [{"id": 31, "team_id": 2, "motto": "ship"}],
    RoomRow: [{"building": "a", "number": 1}, {"building": "a", "number": 2}, {"building": "b", "number": 1}],
    SeatRow: [
        {"building": "a", "number": 1, "place": 2},
        {"building": "a", "number": 1, "place": 1},
        {"building": "b", "number": 1, "place": 1},
    ],
}


@asynccontextmanager
async def company(made: WithTables) -> AsyncGenerator[Database]:
    """Give a database with the tables of this world and its content; teams 1 and 2 are led by users 11 and 13."""
    async with made(*ROWS) as db:
        async with db.begin_session() as db_sess:
            for row, content in CONTENT.items():
                await db_sess.execute(sa.insert(row), content)
            for team, lead in ((1, 11), (2, 13)):
                await db_sess.execute(sa.update(TeamRow).where(TeamRow.id == team).values(lead_id=lead))
            if db.engine.dialect.name == "postgresql":  # the ids above went past the sequence
                await db_sess.execute(sa.text("SELECT setval('teams_id_seq', 100)"))
        yield db
