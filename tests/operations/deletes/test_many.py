"""Removing many rows by their keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import sqlalchemy as sa

from company.things import LabelRow
from company.things import ThingRow as LabelledRow
from rowsmith import BatchPurger, EntityNotFound, InvalidValue, Repository, StillReferenced
from rowsmith.testing import WithTables
from support import comes_late, count_statements
from tenants import (
    CounterRepository,
    CounterRow,
    GroupId,
    GroupRepository,
    MemberCreate,
    MemberRepository,
    TenantScope,
    counters_in,
    groups_in,
    stored,
)

A = TenantScope("a")


@pytest.fixture
async def counters(any_tables: WithTables) -> AsyncIterator[CounterRepository]:
    async with counters_in(any_tables) as made:
        yield made


@pytest.fixture
async def groups(any_tables: WithTables) -> AsyncIterator[GroupRepository]:
    async with groups_in(any_tables) as made:
        yield made


async def test_rows_go_and_are_given_as_they_were(counters: CounterRepository) -> None:
    """In input order, deleted ones too; ids of none are missing."""
    await counters.batch_delete([("b", 2)])
    result = await counters.batch_purge([("b", 2), ("x", 0), ("a", 0)])
    assert ([(d.tenant, d.place) for d in result.succeeded], result.missing) == ([("b", 2), ("a", 0)], [("x", 0)])
    assert await counters.count(include_deleted=True) == 6


async def test_another_tenants_rows_stay(counters: CounterRepository) -> None:
    """And are answered as if they were nowhere, by the partial form too."""
    assert (await counters.batch_purge([("b", 0), ("b", 77)], scope=A)).missing == [("b", 0), ("b", 77)]
    result = await counters.batch_purge_partial([("b", 0), ("b", 77), ("a", 1)], scope=A)
    assert [(failure.index, failure.error.error_code) for failure in result.failed] == [
        (0, "counter_batch-purge-partial_not-found"),
        (1, "counter_batch-purge-partial_not-found"),
    ]
    assert [str(failure.error) for failure in result.failed] == ["the counter was not found"] * 2
    assert [success.index for success in result.succeeded] == [2]
    assert await counters.count(TenantScope("b")) == 4


@pytest.mark.parametrize("size", [1, 3000])
async def test_a_purge_is_one_statement(any_tables: WithTables, size: int) -> None:
    """However many rows; one more where some are not there."""
    async with counters_in(any_tables, size) as counters:
        with count_statements(counters.db) as sent:
            assert len((await counters.batch_purge([("a", place) for place in range(size)])).succeeded) == size
        assert len(sent) == 1
        with count_statements(counters.db) as sent:
            await counters.batch_purge([("a", 0), ("b", 0)])
        assert len(sent) == 2


async def test_a_referenced_row_keeps_the_whole_batch(groups: GroupRepository) -> None:
    """The error is the one of the referenced end, and nothing is removed."""
    await MemberRepository(groups.db).create(MemberCreate(1, "x@example.org"))
    before = await stored(groups.db)
    with pytest.raises(StillReferenced) as caught:
        await groups.batch_purge([GroupId(3), GroupId(1)])
    assert caught.value.error_code == "group_batch-purge_still-referenced"
    assert "example.org" not in repr(caught.value)
    assert await stored(groups.db) == before


async def test_a_referenced_row_is_the_fault_of_one_item(groups: GroupRepository) -> None:
    """The others go; ids that are none or stand twice fail by themselves."""
    await MemberRepository(groups.db).create(MemberCreate(1, "x"))
    ids = [GroupId(2), GroupId(1), GroupId(99), GroupId(3), GroupId(2), GroupId(2**40)]
    result = await groups.batch_purge_partial(ids)
    assert [success.index for success in result.succeeded] == [0, 3]
    assert [failure.index for failure in result.failed] == [1, 2, 4, 5]
    kinds = [StillReferenced, GroupRepository.not_found, InvalidValue, InvalidValue]
    assert all(isinstance(failure.error, kind) for failure, kind in zip(result.failed, kinds, strict=True))
    assert [row[0] for row in await stored(groups.db)] == [1, 4]


async def test_a_session_forgets_objects_that_are_gone(any_tables: WithTables) -> None:
    """Operations without data give the rows as objects that no session holds."""
    async with counters_in(any_tables) as counters, counters.db.begin_session() as db_sess:
        held = await db_sess.get_one(CounterRow, ("a", 1))
        (given,) = (await BatchPurger(CounterRow).purge(db_sess, [("a", 1)])).succeeded
        assert given.place == 1
        assert not {given, held} & set(db_sess)


@dataclass(frozen=True)
class LabelData:
    name: str


@dataclass(frozen=True)
class LabelledData:
    id: int
    labels: tuple[LabelData, ...]


class LabelledRepository(Repository[LabelledRow, LabelledData, int]):
    pass


async def test_a_row_that_comes_once_the_others_are_locked_is_not_waited_for(
    with_tables: WithTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what is left of a batch once one item failed, nor by the look at data that RETURNING cannot give."""
    async with with_tables(LabelledRow, LabelRow) as db, db.engine.connect() as other:
        async with db.begin_session() as db_sess:
            db_sess.add_all([LabelledRow(id=1), LabelledRow(id=2, labels=[LabelRow(id=1, name="x")])])
        comes_late(monkeypatch, other, sa.insert(LabelledRow).values(id=-1))
        async with db.unit_of_work() as unit:
            await unit.session.execute(sa.text("SET LOCAL lock_timeout = 1"))
            done = await LabelledRepository(db).batch_purge_partial([1, 2, -1])
        assert [item.index for item in done.succeeded] == [0]
        assert [type(item.error) for item in done.failed] == [StillReferenced, EntityNotFound]
