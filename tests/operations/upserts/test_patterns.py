"""The statements of batch upserts, compiled once for each pattern of a call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import BatchUpserter, Condition, Conflict, Repository, ScopeMismatch, SearchScope, Spec
from rowsmith.operations.upserts import patterns
from rowsmith.testing import WithTables

TOLD: Iterator[int] = count(100)


class Base(DeclarativeBase):
    pass


class PartRow(Base):
    __tablename__ = "parts"
    __table_args__ = (
        sa.UniqueConstraint("domain", "name", name="uq_parts"),
        sa.Index("ix_parts_slug", "slug", unique=True, postgresql_where=sa.text("slug IS NOT NULL")),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    domain: Mapped[str]
    name: Mapped[str]
    slug: Mapped[str | None]
    size: Mapped[int] = mapped_column(default=0)
    told: Mapped[int] = mapped_column(default=0, onupdate=lambda: next(TOLD))


@dataclass(frozen=True)
class Part:
    domain: str
    name: str
    slug: str | None
    size: int
    told: int


@dataclass(frozen=True)
class Sized(Spec[PartRow], filled={"domain"}):
    name: str
    size: int


@dataclass(frozen=True)
class Slugged(Spec[PartRow], filled={"domain"}):
    name: str
    slug: str


@dataclass(frozen=True)
class Named(Spec[PartRow], filled={"domain"}):
    name: str


@dataclass(frozen=True)
class DomainScope(SearchScope):
    domain: str

    def to_conditions(self) -> Sequence[Condition]:
        return [PartRow.domain == self.domain]


@dataclass(frozen=True)
class SizeScope(SearchScope):
    """Reaches parts of a domain that are of some sizes."""

    domain: str
    sizes: tuple[int, ...]

    def to_conditions(self) -> Sequence[Condition]:
        return [PartRow.domain == self.domain, PartRow.size.in_(self.sizes)]


class Parts(Repository[PartRow, Part, int]):
    conflict = Conflict(columns=[PartRow.domain, PartRow.name])


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The statements that were compiled to be kept."""
    made = list[object]()
    compile_statement = patterns.compile_statement

    def watched(statement: Any, dialect: Any) -> Any:
        made.append(statement)
        return compile_statement(statement, dialect)

    Parts.entity.worked_out.clear()  # by other tests
    monkeypatch.setattr(patterns, "compile_statement", watched)
    return made


async def test_what_differs_between_calls_of_one_shape_is_sent_anew(
    with_tables: WithTables, compiled: list[object]
) -> None:
    """The scope's values, those of the rows, their number, and what an ``onupdate`` of Python's gives."""
    async with with_tables(PartRow) as db:
        parts = Parts(db)
        for domain in "aba":
            done = await parts.batch_upsert([Sized("x", ord(domain)), Sized("y", 1)], scope=DomainScope(domain))
            assert {item.data.domain for item in done.succeeded} == {domain}
        changed = await parts.batch_upsert([Sized("x", 98), Sized("y", 1)], scope=DomainScope("b"))
        more = await parts.batch_upsert([Sized(name, 7) for name in "zyx"], scope=DomainScope("b"))
        assert [(item.data.size, item.inserted) for item in more.succeeded] == [(7, True), (7, False), (7, False)]
        told = [item.data.told for item in [*changed.succeeded, *more.succeeded]]
        assert told[0] == told[1] < told[3] == told[4]
        assert told[2] == 0
        assert [part.size for part in (await parts.search(DomainScope("a"))).items] == [97, 1]
        assert len(compiled) == 1


async def test_other_shapes_are_other_statements(with_tables: WithTables, compiled: list[object]) -> None:
    """Other fields, another key, rows that are left as they are: each does what it says, the second time too."""
    slugs = Conflict(columns=[PartRow.slug], where=PartRow.slug.is_not(None))
    kept = Conflict(columns=[PartRow.domain, PartRow.name], update=False)
    async with with_tables(PartRow) as db:
        parts, scope = Parts(db), DomainScope("a")

        async def upserted(*specs: Spec[PartRow], conflict: Conflict | None = None) -> list[tuple[str, int, bool]]:
            done = (await parts.batch_upsert(specs, scope=scope, conflict=conflict)).succeeded
            return [(item.data.name, item.data.size, item.inserted) for item in done]

        for _ in range(2):
            assert await upserted(Sized("x", 1), Sized("y", 2)) == [("x", 1, True), ("y", 2, True)]
            assert await upserted(Slugged("x", "1"), Slugged("y", "2")) == [("x", 1, False), ("y", 2, False)]
            assert await upserted(Named("x"), Named("y")) == [("x", 1, False), ("y", 2, False)]
            renamed = await upserted(Slugged("u", "1"), Slugged("v", "2"), conflict=slugs)
            assert renamed == [("u", 1, False), ("v", 2, False)]
            left = await upserted(Sized("u", 9), Sized("v", 9), conflict=kept)
            assert left == [("u", 1, False), ("v", 2, False)]
            assert (await parts.purge_where([PartRow.domain == "a"])).rows == 2
        assert len(compiled) == 5


async def test_a_scope_that_lists_values_is_compiled_each_time(with_tables: WithTables) -> None:
    """As many as there are parameters; who is outside is not reached."""
    async with with_tables(PartRow) as db:
        parts = Parts(db)
        specs = [Sized("x", 1), Sized("y", 2)]
        await parts.batch_upsert(specs, scope=DomainScope("a"))
        for sizes in ((1, 2), (1, 2, 3)):
            done = await parts.batch_upsert(specs, scope=SizeScope("a", sizes))
            assert [item.data.size for item in done.succeeded] == [1, 2]
        with pytest.raises(ScopeMismatch):
            await parts.batch_upsert(specs, scope=SizeScope("a", (1,)))


async def test_a_translated_schema_is_written_to(with_tables: WithTables, compiled: list[object]) -> None:
    """By the same operation object that has written to the tables where they are."""
    async with with_tables(PartRow) as db:
        upserter = BatchUpserter(PartRow, into=Part, conflict=Parts.conflict)
        specs = [Sized("x", 1), Sized("y", 2)]
        async with AsyncSession(db.engine) as db_sess:
            await db_sess.execute(sa.text("CREATE SCHEMA shapes_other"))
            await db_sess.execute(sa.text("CREATE TABLE shapes_other.parts (LIKE parts INCLUDING ALL)"))
            await upserter.upsert(db_sess, specs, scope=DomainScope("a"))
            connection = await db_sess.connection()
            await connection.execution_options(schema_translate_map={None: "shapes_other"})
            done = await upserter.upsert(db_sess, specs, scope=DomainScope("a"))
            assert [item.inserted for item in done.succeeded] == [True, True]
            await db_sess.rollback()
        assert len(compiled) == 1
