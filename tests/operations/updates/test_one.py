"""Changing one row."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from rowsmith import (
    EntityNotFound,
    InvalidValue,
    MappingError,
    OptionalState,
    Patch,
    Querier,
    Repository,
    Spec,
    StaleVersion,
    TriState,
    Updater,
)
from rowsmith.scope import NO_LIMITS
from rowsmith.testing import WithTables
from support import count_statements
from tenants import (
    Base,
    DomainScope,
    GroupData,
    GroupId,
    GroupNotFound,
    GroupPatch,
    GroupRepository,
    GroupRow,
    MemberCreate,
    MemberPatch,
    MemberRepository,
    TokenCreate,
    TokenPatch,
    TokenRepository,
    TokenRow,
    groups_in,
    stored,
)


def test_a_statement_can_be_looked_at_without_a_database() -> None:
    """Only what is set is written; key, scope and liveness stand in one WHERE."""
    updater = Updater(GroupRow, into=GroupData, soft_delete=GroupRepository.soft_delete)
    sql = " ".join(str(updater.statement(1, GroupPatch(name=OptionalState.update("x")), NO_LIMITS)).split())
    assert sql.startswith(
        "UPDATE groups SET name=:name WHERE (groups.id = :id_1) AND (groups.deleted_at IS NULL) RETURNING"
    )


@pytest.fixture
async def groups(any_tables: WithTables) -> AsyncIterator[GroupRepository]:
    async with groups_in(any_tables) as made:
        yield made


async def test_only_what_is_set_is_written(groups: GroupRepository) -> None:
    """A nop keeps, update sets, nullify makes NULL, and the data is what the database holds."""
    first = await groups.update(GroupId(1), GroupPatch(size=OptionalState.update(7), note=TriState.update("n")))
    assert (first.name, first.size, first.note) == ("one", 7, "n")
    second = await groups.update(GroupId(1), GroupPatch(note=TriState.nullify()))
    assert (second.size, second.note) == (7, None)
    assert await groups.get(GroupId(1)) == second


async def test_a_patch_with_nothing_set_sends_no_update(groups: GroupRepository) -> None:
    """One SELECT gives the row as it is; an absent or deleted one is not found."""
    with count_statements(groups.db) as sent:
        data = await groups.update(GroupId(1), GroupPatch())
    assert data == await groups.get(GroupId(1))
    assert [statement.split()[0] for statement in sent] == ["SELECT"]
    for absent in (4, 99):
        with pytest.raises(GroupNotFound):
            await groups.update(GroupId(absent), GroupPatch())


async def test_one_statement(groups: GroupRepository) -> None:
    """An update is one UPDATE, under a scope too."""
    for scope in (None, DomainScope("a")):
        with count_statements(groups.db) as sent:
            await groups.update(GroupId(1), GroupPatch(size=OptionalState.update(1)), scope=scope)
        assert [statement.split()[0] for statement in sent] == ["UPDATE"]


async def test_expressions(groups: GroupRepository) -> None:
    """The database works the value out, and the result comes back."""
    for wanted in (3, 6):
        patch = GroupPatch(size=OptionalState.expression(lambda: GroupRow.size + 3))
        assert (await groups.update(GroupId(1), patch)).size == wanted
    upper = GroupPatch(note=TriState.expression(lambda: sa.func.upper(GroupRow.name)))
    assert (await groups.update(GroupId(1), upper)).note == "ONE"


async def test_absent_and_deleted_rows(groups: GroupRepository) -> None:
    """Neither is touched, and both are the same error."""
    before = await stored(groups.db)
    for absent in (4, 99):
        with pytest.raises(GroupNotFound) as caught:
            await groups.update(GroupId(absent), GroupPatch(size=OptionalState.update(9)))
        assert caught.value.missing == (absent,)
    assert await stored(groups.db) == before


async def test_odd_values_reach_no_statement(groups: GroupRepository) -> None:
    """A value of no use is refused before anything is sent."""
    with count_statements(groups.db) as sent:
        for patch in (GroupPatch(size=OptionalState.update(2**31)), GroupPatch(note=TriState.update("\x00"))):
            with pytest.raises(InvalidValue):
                await groups.update(GroupId(1), patch)
    assert sent == []


async def test_composite_keys_and_changing_a_key(groups: GroupRepository) -> None:
    """A row is found by its tuple, and may be moved to another key."""
    members = MemberRepository(groups.db)
    await members.create(MemberCreate(1, "x"))
    moved = await members.update((1, "x"), MemberPatch(group_id=OptionalState.update(2)))
    assert moved.group_id == 2
    assert await members.find((1, "x")) is None


async def test_objects_in_the_session_follow(groups: GroupRepository) -> None:
    """An object that the session holds shows the new values, through any operation object."""
    async with groups.db.begin_session() as db_sess:
        row = await Querier(GroupRow).query(db_sess, 1)
        await Updater(GroupRow, into=GroupData).update(db_sess, 1, GroupPatch(name=OptionalState.update("new")))
        assert row.name == "new"
        row.note = "pending"  # flushed before the next statement, not lost
        again = await Updater(GroupRow).update(db_sess, 1, GroupPatch(size=OptionalState.update(2)))
        assert again is row
        assert (row.note, row.size) == ("pending", 2)
    assert (await groups.get(GroupId(1))).note == "pending"


class VersionedRow(Base):
    __tablename__ = "versioned"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    touched: Mapped[int] = mapped_column(server_default="0", onupdate=lambda: 5)
    version: Mapped[int] = mapped_column()
    __mapper_args__ = {"version_id_col": version}


@dataclass(frozen=True)
class VersionedCreate(Spec[VersionedRow]):
    name: str


@dataclass(frozen=True)
class VersionedPatch(Patch[VersionedRow]):
    name: OptionalState[str] = OptionalState.nop()


class VersionedRepository(Repository[VersionedRow]):
    pass


async def test_versions(any_tables: WithTables) -> None:
    """Each update makes the next version and fires onupdate; a lost race is StaleVersion, told from absence."""
    new = VersionedPatch(name=OptionalState.update("new"))
    async with any_tables(VersionedRow) as db:
        rows = VersionedRepository(db)
        assert (await rows.create(VersionedCreate("old"))).version == 1
        updated = await rows.update(1, new, expected_version=1)
        assert (updated.version, updated.touched) == (2, 5)
        for patch in (new, VersionedPatch()):
            with pytest.raises(StaleVersion) as caught:
                await rows.update(1, patch, expected_version=1)
            assert caught.value.error_code == "versioned_update_stale-version"
            with pytest.raises(EntityNotFound):
                await rows.update(9, patch, expected_version=1)
        assert (await rows.update(1, new)).version == 3
        assert (await rows.update(1, VersionedPatch(), expected_version=3)).version == 3


async def test_of_many_racers_one_wins(any_tables: WithTables) -> None:
    """Ten updates that expect the same version: one is written, nine are told."""
    new = VersionedPatch(name=OptionalState.update("new"))
    async with any_tables(VersionedRow) as db:
        rows = VersionedRepository(db)
        await rows.create(VersionedCreate("old"))
        racers = (rows.update(1, new, expected_version=1) for _ in range(10))
        results = await asyncio.gather(*racers, return_exceptions=True)
        assert [type(result) for result in results].count(StaleVersion) == 9
        assert (await rows.get(1)).version == 2


async def test_versions_of_another_kind(any_tables: WithTables) -> None:
    """A generator of the mapper's own makes the versions."""
    async with any_tables(TokenRow) as db:
        rows = TokenRepository(db)
        first = (await rows.create(TokenCreate("old"))).token
        second = (await rows.update(1, TokenPatch(label=OptionalState.update("new")), expected_version=first)).token
        assert first != second
        with pytest.raises(StaleVersion):
            await rows.update(1, TokenPatch(label=OptionalState.update("x")), expected_version=first)


async def test_a_row_without_versions(groups: GroupRepository) -> None:
    """expected_version on a row that keeps none is a mistake, and says what to map."""
    with pytest.raises(MappingError, match="version_id_col"):
        await groups.update(GroupId(1), GroupPatch(), expected_version=1)


async def test_another_rows_patch(groups: GroupRepository) -> None:
    """A patch for another row is refused with both names."""
    wrong: Any = MemberPatch(weight=OptionalState.update(2))
    with pytest.raises(MappingError, match="MemberPatch is for MemberRow, not for GroupRow"):
        await groups.update(GroupId(1), wrong)
