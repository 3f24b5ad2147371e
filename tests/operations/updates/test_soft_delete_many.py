"""Marking many rows as deleted, and bringing them back."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from rowsmith import MappingError
from rowsmith.testing import WithTables
from support import count_statements
from tenants import (
    CounterPatch,
    CounterRepository,
    GroupCreate,
    GroupId,
    GroupNameTaken,
    MemberRepository,
    TenantScope,
    counters_in,
    groups_in,
    stored,
    uses,
)

A = TenantScope("a")


@pytest.fixture
async def counters(any_tables: WithTables) -> AsyncIterator[CounterRepository]:
    async with counters_in(any_tables) as made:
        yield made


async def test_rows_are_marked_and_brought_back(counters: CounterRepository) -> None:
    """Each verb reports what it did in input order; what is in that state already is missing."""
    ids = [("a", 2), ("b", 9), ("b", 1)]
    deleted = await counters.batch_delete(ids)
    assert ([(data.tenant, data.place) for data in deleted.succeeded], deleted.missing) == ([ids[0], ids[2]], [ids[1]])
    assert await counters.count() == 6
    assert (await counters.batch_delete(ids)).missing == ids
    restored = await counters.batch_restore([*ids, ("a", 0)])
    assert ([data.place for data in restored.succeeded], restored.missing) == ([2, 1], [ids[1], ("a", 0)])
    assert await counters.count() == 8


async def test_versions_go_up_and_columns_write_themselves(counters: CounterRepository) -> None:
    """A deletion is an update like any other."""
    (deleted,) = (await counters.batch_delete([("a", 0)])).succeeded
    (restored,) = (await counters.batch_restore([("a", 0)])).succeeded
    assert [(data.version, data.touched) for data in (deleted, restored)] == [(2, "yes"), (3, "yes")]


async def test_another_tenants_rows_are_absent(counters: CounterRepository) -> None:
    """Neither deleted nor restored, and answered as if they were nowhere."""
    await counters.batch_delete([("b", 1)])
    assert (await counters.batch_delete([("b", 0), ("b", 77)], scope=A)).missing == [("b", 0), ("b", 77)]
    assert (await counters.batch_restore([("b", 1), ("b", 77)], scope=A)).missing == [("b", 1), ("b", 77)]
    assert [data.place for data in (await counters.search(TenantScope("b"))).items] == [0, 2, 3]


@pytest.mark.parametrize("size", [1, 500])
async def test_each_is_one_statement(any_tables: WithTables, size: int) -> None:
    """However many rows; one more where some are not there."""
    async with counters_in(any_tables, size) as counters:
        ids = [("a", place) for place in range(size)]
        with count_statements(counters.db) as sent:
            await counters.batch_delete(ids)
            await counters.batch_restore(ids)
        assert len(sent) == 2
        with count_statements(counters.db) as sent:
            await counters.batch_delete([*ids, ("x", 1)])
        assert len(sent) == 2


async def test_a_place_taken_meanwhile_undoes_the_whole_restoration(any_tables: WithTables) -> None:
    """With the domain's own error; nothing is restored."""
    async with groups_in(any_tables) as groups:
        await groups.batch_delete([GroupId(1), GroupId(2)])
        await groups.create(GroupCreate("a", "one"))
        before = await stored(groups.db)
        with pytest.raises(GroupNameTaken) as caught:
            await groups.batch_restore([GroupId(1), GroupId(2)])
        assert caught.value.error_code == "group_batch-restore_already-exists"
        assert await stored(groups.db) == before


async def test_without_soft_deletion_there_is_nothing_to_mark(any_tables: WithTables) -> None:
    """The error says what to declare."""
    async with groups_in(any_tables) as groups:
        members = MemberRepository(groups.db)
        for call in (members.batch_delete([(1, "x")]), members.batch_restore([(1, "x")])):
            with pytest.raises(MappingError, match="SoftDelete"):
                await call


async def test_deleted_rows_can_be_updated_once_they_are_back(counters: CounterRepository) -> None:
    """Deletion hides a row from updates, and restoring shows it again."""
    await counters.batch_delete([("a", 0)])
    assert (await counters.batch_update([("a", 0)], CounterPatch())).missing == [("a", 0)]
    await counters.batch_restore([("a", 0)])
    assert (await counters.batch_update([("a", 0)], uses(3))).missing == []
