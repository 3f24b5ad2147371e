"""What only the database knows to be equal: keys that it has in two spellings, and scopes whose values a type makes."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from typing_extensions import override

from rowsmith import Condition, Database, DatabaseUnavailable, MappingError, Repository, SearchScope, Spec
from rowsmith.cache import MemoryCacheSource
from rowsmith.testing import WithTables

WHO: ContextVar[str] = ContextVar("who", default="a")


class Blind(sa.TypeDecorator[str]):
    """A digest under the key of whoever asks."""

    impl = sa.String
    cache_ok = True

    @override
    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return None if value is None else f"{WHO.get()}:{value}"


class Base(DeclarativeBase):
    pass


class CodeRow(Base):
    __tablename__ = "codes"

    code: Mapped[str] = mapped_column(sa.String, primary_key=True)
    number: Mapped[int]
    digest: Mapped[str] = mapped_column(Blind)


@dataclass(frozen=True)
class Code:
    code: str
    number: int


@dataclass(frozen=True)
class CodeCreate(Spec[CodeRow]):
    code: str
    number: int
    digest: str


@dataclass(frozen=True)
class ByDigest(SearchScope):
    digest: str

    @override
    def to_conditions(self) -> Sequence[Condition]:
        return [CodeRow.digest == self.digest]


@dataclass(frozen=True)
class ByNumber(SearchScope):
    number: int

    @override
    def to_conditions(self) -> Sequence[Condition]:
        return [CodeRow.number == self.number]


class Codes(Repository[CodeRow, Code, str]):
    pass


def cached(db: Database) -> Codes:
    return Codes(db, cache_source=MemoryCacheSource(Code, ttl=60, max_entries=100))


DOMAIN = "CREATE DOMAIN padded AS char(5)"
CHANGED = {
    "char": "ALTER TABLE codes ALTER code TYPE char(5)",
    "a domain of it": "ALTER TABLE codes ALTER code TYPE padded",
}


@pytest.mark.parametrize("kind", CHANGED)
async def test_a_key_that_the_database_folds_is_refused(with_tables: WithTables, kind: str) -> None:
    """Though the mapping has it as a text: one row would be kept twice, and a write would end one of the copies."""
    async with with_tables(CodeRow) as db:
        await cached(db).create(CodeCreate("a", 1, "x"))
        assert (await cached(db).get("a")).number == 1
        async with db.engine.begin() as connection:
            await connection.exec_driver_sql(DOMAIN)
            await connection.exec_driver_sql(CHANGED[kind])
        await db.engine.dispose()
        try:
            codes = cached(db)
            for work in (lambda: codes.get("a"), lambda: codes.find("a "), lambda: codes.batch_get(["a"])):
                with pytest.raises(MappingError, match=r"CodeRow\.code is no key for a cache"):
                    await work()
            async with db.begin_session():
                assert (await codes.get("a ")).number == 1
        finally:
            async with db.engine.begin() as connection:
                await connection.exec_driver_sql("DROP DOMAIN padded CASCADE")


async def test_a_scope_whose_values_a_type_makes_is_not_kept(any_tables: WithTables) -> None:
    """Equal values may be others in the database each time: it is asked."""
    async with any_tables(CodeRow) as db:
        cache = MemoryCacheSource[str, Code](Code, ttl=60, max_entries=100)
        codes, plain = Codes(db, cache_source=cache), Codes(db)
        for who, code in (("a", "1"), ("b", "2")):
            WHO.set(who)
            await plain.create(CodeCreate(code, 1, "x"))
        for who, own in (("a", "1"), ("b", "2"), ("a", "1")):
            WHO.set(who)
            found = [await codes.find(code, ByDigest("x")) for code in ("1", "2")]
            assert [code.code for code in found if code is not None] == [own]
            assert [code.code for code in await codes.batch_get([own], scope=ByDigest("x"))] == [own]
        WHO.set("a")
        assert [await codes.find("1", ByNumber(1)) for _ in range(2)] == [Code("1", 1)] * 2
        assert cache.counts.hits == 1


async def test_a_database_that_is_away_is_told_in_its_own_words() -> None:
    """Also by what is asked first."""
    db = Database.from_url("postgresql+asyncpg://nobody@127.0.0.1:1/nowhere")
    try:
        for work in (lambda: cached(db).get("a"), lambda: cached(db).batch_get(["a"])):
            with pytest.raises(DatabaseUnavailable):
                await work()
    finally:
        await db.engine.dispose()
