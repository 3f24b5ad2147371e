"""Many keys in one statement."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import BatchPurger, BatchQuerier, InvalidValue
from rowsmith.mapping import row_info
from rowsmith.operations.arrays.keys import SQLITE_PARAMETERS, distinct_keys, key_chunks, keys_condition
from rowsmith.testing import WithTables

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
