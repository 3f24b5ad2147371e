"""Many keys in one statement."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import BatchPurger, BatchQuerier, InvalidValue, OptionalState, Patch, TriState
from rowsmith.mapping import row_info
from rowsmith.operations.arrays.keys import SQLITE_PARAMETERS, distinct_keys, key_chunks, keys_condition
from rowsmith.testing import WithTables
from tenants import GroupNotFound, GroupPatch, GroupRepository, GroupRow

PG, SQLITE = postgresql.dialect(), sqlite.dialect()


class Base(DeclarativeBase):
    pass


class Prefixed(sa.TypeDecorator[str]):
    """Stores more than it is given."""

    impl = sa.String(6)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else f"id-{value}"

    def process_result_value(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else value.removeprefix("id-")


class SingleRow(Base):
    __tablename__ = "singles"

    id: Mapped[int] = mapped_column(primary_key=True)


class PairRow(Base):
    __tablename__ = "pairs"

    left: Mapped[int] = mapped_column(primary_key=True)
    right: Mapped[uuid.UUID] = mapped_column(primary_key=True)


class PrefixedRow(Base):
    __tablename__ = "prefixed"

    id: Mapped[str] = mapped_column(Prefixed(), primary_key=True)


@given(ids=st.lists(st.integers(-(2**31) - 2, 2**31 + 1) | st.sampled_from([None, True, "1", 1.0, 2**31]), max_size=20))
def test_ids_are_keys_each_once_or_refused(ids: list[Any]) -> None:
    """Looking at all together says the same as looking at one after the other."""
    fits = all(type(id_) is int and -(2**31) <= id_ < 2**31 for id_ in ids) and len(set(ids)) == len(ids)
    if fits:
        assert distinct_keys(row_info(SingleRow), ids) == [(id_,) for id_ in ids]
    else:
        with pytest.raises(InvalidValue):
            distinct_keys(row_info(SingleRow), ids)


@pytest.mark.parametrize("make", [lambda: [1, 2, 3, 2], lambda: [1, 2, 3, 2.0]])
def test_a_duplicate_is_named_by_its_places(make: Callable[[], list[Any]]) -> None:
    """By index, not by value; something that only equals an id is no id."""
    with pytest.raises(InvalidValue, match=r"index 3 stands at index 1|holds integers"):
        distinct_keys(row_info(SingleRow), make())


@pytest.mark.parametrize("wrong", ["1", None, 2**31, 1.5], ids=str)
async def test_an_id_that_is_none_is_told_by_its_index(any_tables: WithTables, wrong: Any) -> None:
    """In every verb over ids, outside of a session and in one, before a row is touched."""
    async with any_tables(GroupRow) as db:
        groups, patch = GroupRepository(db), GroupPatch(note=TriState.update("x"))
        ids: list[Any] = [1, wrong]
        verbs: list[Any] = [
            *(groups.batch_get, groups.batch_delete, groups.batch_restore, groups.batch_purge),
            lambda ids: groups.batch_update(ids, patch),
            lambda ids: groups.batch_update_each(dict.fromkeys(ids, patch)),
        ]

        async def refused(verb: Any) -> None:
            with pytest.raises(InvalidValue, match=r"the id at index 1: GroupRow\.id ") as caught:
                await verb(ids)
            assert (caught.value.index, caught.value.facts.columns) == (1, ("id",))

        for verb in verbs:
            await refused(verb)
            async with db.begin_session():
                await refused(verb)
        for result in (
            await groups.batch_purge_partial(ids),
            await groups.batch_update_partial(dict.fromkeys(ids, patch)),
        ):
            absent, refusal = result.failed
            assert (absent.index, type(absent.error)) == (0, GroupNotFound)
            assert "the id at index 1: GroupRow.id " in str(refusal.error)


async def test_the_patch_of_several_that_sets_the_key_is_told_by_its_index(any_tables: WithTables) -> None:
    """One patch for all rows, and for all that match, has none."""

    @dataclass(frozen=True)
    class Moving(Patch[GroupRow]):
        id: OptionalState[int] = OptionalState.nop()

    still, moving = GroupPatch(note=TriState.update("x")), Moving(OptionalState.update(9))
    complaint = "GroupRow.id is part of the key, which a batch cannot change: update those rows singly"
    async with any_tables(GroupRow) as db:
        groups = GroupRepository(db)
        for patches in ({1: still, 2: moving}, {1: Moving(), 2: moving}):
            with pytest.raises(InvalidValue, match=f"the patch at index 1: {complaint}") as caught:
                await groups.batch_update_each(patches)
            assert caught.value.index == 1
            failed = (await groups.batch_update_partial(patches)).failed
            assert f"the patch at index 1: {complaint}" in str(failed[1].error)
        for call in (groups.batch_update([1, 2], moving), groups.update_where([GroupRow.id > 0], moving)):
            with pytest.raises(InvalidValue, match=f"(?<!: ){complaint}") as caught:
                await call
            assert caught.value.index is None


def test_keys_are_one_parameter_a_column() -> None:
    """Arrays on PostgreSQL, however many keys there are."""
    pairs = [(i, uuid.UUID(int=i)) for i in range(5)]
    single = str(keys_condition(row_info(SingleRow), [(1,), (2,)], PG).compile(dialect=PG))
    both = str(keys_condition(row_info(PairRow), pairs, PG).compile(dialect=PG))
    assert single.count("%(") == 1
    assert both.count("%(") == 2
    assert "unnest(" in both


@given(size=st.integers(0, 100_000), width=st.integers(1, 3))
def test_chunks_are_what_one_statement_takes(size: int, width: int) -> None:
    """Together they are all keys in order; on SQLite none has too many parameters."""
    keys = [(0,) * width] * size
    for dialect in (PG, SQLITE):
        chunks = list(key_chunks(keys, dialect))
        assert sum(map(len, chunks)) == size
        assert dialect is PG or all(len(chunk) * width <= SQLITE_PARAMETERS for chunk in chunks)
    assert len(list(key_chunks(keys, PG))) == (1 if size else 0)


async def test_a_key_that_is_too_long_meets_no_other_row(any_tables: WithTables) -> None:
    """It is not cut to the length of its column on its way."""
    async with any_tables(PrefixedRow) as db, db.begin_session() as db_sess:
        await db_sess.execute(sa.insert(PrefixedRow), [{"id": "abc"}])
        assert (await BatchPurger(PrefixedRow).purge(db_sess, ["abcdef"])).missing == ["abcdef"]
        assert [row.id for row in await BatchQuerier(PrefixedRow).query(db_sess, ["abc"])] == ["abc"]
