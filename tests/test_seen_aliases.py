"""Relationships to an alias, or with subqueries of their own: what decides there which rows they lead to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, foreign, mapped_column, relationship
from typing_extensions import override

from rowsmith import PUBLIC, Condition, Database, Expr, MappingError, Repository, SearchScope, related
from rowsmith.filters import Filter, NumberFilter, Related
from rowsmith.testing import WithTables
from says import Says
from support import share


class Base(DeclarativeBase):
    pass


class FirmRow(Base):
    __tablename__ = "aliases_firms"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]


class DocRow(Base):
    __tablename__ = "aliases_docs"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    title: Mapped[str]
    is_shown: Mapped[bool] = mapped_column(server_default=sa.true())
    firm_id: Mapped[int] = mapped_column(sa.ForeignKey("aliases_firms.id"))
    boss_id: Mapped[int | None] = mapped_column(sa.ForeignKey("aliases_firms.id"))
    boss: Mapped[FirmRow | None] = relationship(viewonly=True, foreign_keys=boss_id)


class MarkRow(Base):
    __tablename__ = "aliases_marks"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str]
    tenant: Mapped[str]
    doc_id: Mapped[int] = mapped_column(sa.ForeignKey("aliases_docs.id"))

    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "mark"}


class StarRow(MarkRow):
    __mapper_args__ = {"polymorphic_identity": "star"}


DOCS: Any = DocRow.__table__
MARKS: Any = MarkRow.__table__
MARKED = sa.select(MarkRow.id).where(MarkRow.doc_id == DocRow.id).exists()
BEFORE = DOCS.alias("before")
Firm: Any = FirmRow


def to_alias(name: str, made: Any, condition: Any = None, **options: Any) -> None:
    """Have firms lead to an alias of docs over something."""
    alias: Any = aliased(DocRow, made, **options)
    on = FirmRow.id == foreign(alias.firm_id)
    joined = on if condition is None else sa.and_(on, condition)
    setattr(Firm, name, relationship(alias, primaryjoin=joined, viewonly=True, uselist=True))


def to_docs(name: str, *conditions: Any, order_by: Any = None) -> None:
    """Have firms lead to docs by further conditions, or in an order."""
    joined = sa.and_(FirmRow.id == foreign(DocRow.firm_id), *conditions)
    order = DocRow.id if order_by is None else order_by
    made: Any = relationship(DocRow, primaryjoin=joined, order_by=order, viewonly=True, uselist=True)
    setattr(Firm, name, made)


def short(*columns: Any) -> Any:
    return sa.select(*columns).subquery()


ALL = [DOCS.c.id, DOCS.c.tenant, DOCS.c.title, DOCS.c.is_shown, DOCS.c.firm_id]
ranked = sa.select(DocRow, sa.func.row_number().over(partition_by=DOCS.c.firm_id, order_by=DOCS.c.id).label("rank"))
RANKED = ranked.subquery()
newest = sa.select(*(sa.func.max(column).label(column.name) for column in ALL if column is not DOCS.c.is_shown))
EARLIER = sa.select(sa.func.min(BEFORE.c.id)).where(BEFORE.c.firm_id == FirmRow.id).correlate(FirmRow)

to_alias("plain", None)
to_alias("whole", short(DocRow))
to_alias("filtered", sa.select(DocRow).where(DOCS.c.is_shown).subquery())
to_alias("keyed", short(DocRow.id, DocRow.firm_id, DocRow.title))
to_alias("named", short(DocRow.id, DocRow.firm_id, sa.literal("a").label("tenant")), adapt_on_names=True)
to_alias("keyless", short((DOCS.c.id + 0).label("id"), DocRow.firm_id, DocRow.title), adapt_on_names=True)
to_alias("ranked", RANKED, RANKED.c.rank < 2)
to_alias("first_two", sa.select(DocRow).order_by(DocRow.id).limit(2).subquery())
to_alias("later", sa.select(DocRow).order_by(DocRow.id).offset(1).subquery())
to_alias("grouped", newest.group_by(DOCS.c.firm_id).subquery(), adapt_on_names=True)
to_alias("united", sa.union(sa.select(DocRow), sa.select(DocRow).where(DocRow.id > 2)).subquery())
to_alias("inner", sa.select(sa.select(DocRow).limit(2).subquery()).subquery())
to_alias("without", sa.select(DocRow).where(~sa.exists().where(BEFORE.c.id < DOCS.c.id)).subquery())
to_alias("marked", sa.select(DocRow).where(MARKED).subquery())
to_alias("by_marks", sa.select(DocRow).join(MARKS, MARKS.c.doc_id == DOCS.c.id).subquery())
to_alias("joined", sa.join(DocRow, MarkRow, MARKS.c.doc_id == DOCS.c.id), flat=True)
to_alias("outer", sa.outerjoin(DocRow, MarkRow, MARKS.c.doc_id == DOCS.c.id), flat=True)
to_alias("twice", sa.select(DocRow).join(BEFORE, BEFORE.c.id == DOCS.c.id - 1).subquery())
to_docs("least", DocRow.id == EARLIER.scalar_subquery())
to_docs("has_mark", sa.exists().where(MARKS.c.doc_id == DocRow.id).correlate_except(MARKS))
to_docs("in_marks", DocRow.id.in_(sa.select(MarkRow.doc_id)))
to_docs("sorted", order_by=sa.select(sa.func.count(MARKS.c.id)).where(MARKS.c.doc_id == DOCS.c.id).scalar_subquery())
between = sa.join(DOCS, BEFORE, sa.and_(BEFORE.c.id == DOCS.c.id, sa.exists().where(MARKS.c.doc_id == BEFORE.c.id)))
STARS: Any = aliased(StarRow)
Doc: Any = DocRow
Doc.stars = relationship(STARS, primaryjoin=DocRow.id == foreign(STARS.doc_id), viewonly=True, uselist=True)
Firm.over = relationship(
    FirmRow,
    secondary=between,
    primaryjoin=FirmRow.id == foreign(DOCS.c.firm_id),
    secondaryjoin=FirmRow.id == foreign(BEFORE.c.firm_id),
    viewonly=True,
    uselist=True,
)


@dataclass(frozen=True)
class Leaf:
    id: int


@dataclass(frozen=True)
class Ids:
    ids: tuple[int, ...]


class Leaves(Filter[DocRow]):
    id: NumberFilter | None = None


class Docs(Repository[DocRow, Leaf, int]):
    pass


class Firms(Repository[FirmRow, Leaf, int]):
    pass


def ways(name: str) -> tuple[Any, Any, Any]:
    """Give a data class, a repository that loads the same with whole rows, and a filter."""
    attribute = getattr(FirmRow, name)
    row = attribute.property.mapper.class_

    class Loading(Repository[FirmRow, Ids, int]):
        loads = (attribute,)

        @override
        def to_data(self, row: FirmRow) -> Ids:
            return Ids(tuple(sorted(each.id for each in getattr(row, name))))

    below: Any = Leaves if row is DocRow else Filter[FirmRow]

    class Leading(Filter[FirmRow]):
        __annotations__ = {name: Related[below] | None}

    setattr(Leading, name, None)
    into: Any = dataclass(frozen=True)(type("Data", (), {"__annotations__": {"id": int, name: tuple[Leaf, ...]}}))
    return into, Loading, Leading


@pytest.fixture
async def db(any_tables: WithTables) -> AsyncIterator[Database]:
    """Two firms of a's; the first has docs of b's, 1 and 3, and of a's, 2 and 4; those but 4 have b's marks, 4 a's."""
    async with any_tables(FirmRow, DocRow, MarkRow) as db:
        async with db.begin_session() as db_sess:
            db_sess.add_all([FirmRow(id=id, tenant="a") for id in (1, 2)])
            await db_sess.flush()
            for id in (1, 2, 3, 4):
                db_sess.add(DocRow(id=id, tenant="ba"[id % 2 - 1], title=f"t{id}", firm_id=1, is_shown=id != 2))
            await db_sess.flush()
            db_sess.add_all([MarkRow(id=id, tenant="a" if id == 4 else "b", doc_id=id) for id in (1, 2, 3, 4)])
        yield db


OWN = FirmRow.tenant == "a"
IN_A: list[Condition] = [DocRow.tenant == "a"]
BY_SUBQUERY: list[Condition] = [DocRow.id.in_(sa.select(DocRow.id).where(DocRow.tenant == "a"))]
OF_DOCS, OF_MARKS = Says(OWN, {DocRow: IN_A}), Says(OWN, {MarkRow: [MarkRow.tenant == "a"]})
SILENT, FREE = Says(OWN), Says(OWN, {DocRow: PUBLIC, MarkRow: PUBLIC})
ALLOWED: dict[str, tuple[str, SearchScope | None, tuple[int, ...]]] = {
    **{f"{name} alone": (name, OF_DOCS, (2, 4)) for name in ("plain", "whole", "keyed", "named", "marked", "by_marks")},
    **{f"{name} by subquery": (name, Says(OWN, {DocRow: BY_SUBQUERY}), (2, 4)) for name in ("plain", "keyed", "named")},
    **{f"{name} alone": (name, OF_DOCS, (2, 4)) for name in ("joined", "outer", "has_mark", "in_marks", "sorted")},
    "filtered": ("filtered", OF_DOCS, (4,)),
    **{f"{name} of marks": (name, OF_MARKS, (1, 2, 3, 4)) for name in ("plain", "whole", "keyed", "keyless", "united")},
    **{f"{name} of marks": (name, OF_MARKS, (1,)) for name in ("least", "without")},
    **{f"{name} of marks": (name, OF_MARKS, (1, 2)) for name in ("first_two", "inner")},
    **{f"{name} silent": (name, SILENT, (1,)) for name in ("least", "without")},
    **{
        f"{name} silent": (name, SILENT, (1, 2, 3, 4))
        for name in ("marked", "joined", "has_mark", "in_marks", "sorted")
    },
    **{f"{name} free": (name, FREE, (1,)) for name in ("least", "without")},
    **{f"{name} unscoped": (name, None, (1,)) for name in ("ranked", "least")},
    "later": ("later", SILENT, (2, 3, 4)),
    "twice": ("twice", OF_MARKS, (2, 3, 4)),
    "grouped": ("grouped", SILENT, (4,)),
}


@pytest.mark.parametrize("case", share(ALLOWED))
async def test_rows_inside_are_come_to(db: Database, case: str) -> None:
    """Nested data, what is loaded with whole rows and filters come to the same rows, those inside, each once."""
    name, scope, seen = ALLOWED[case]
    into, loading, leading = ways(name)
    firms, rows = Firms(db, resilience=None), loading(db, resilience=None)
    step, row = getattr(FirmRow, name), getattr(FirmRow, name).property.mapper.class_
    for _ in range(2):
        nested = await firms.get(1, scope, into=into)
        assert tuple(sorted(each.id for each in getattr(nested, name))) == seen
        assert await rows.get(1, scope) == Ids(seen)
        for id in (1, 2, 3, 4):
            is_led = (id in seen) if row is DocRow else id == 1
            assert await firms.count(scope, [FirmRow.id == 1, related(step, row.id == id)]) == is_led
            if row is DocRow:
                led = leading.model_validate({name: {"exists": {"id": {"equals": id}}}})
                assert await firms.count(scope, led) == (id in seen)


@pytest.mark.parametrize("scope", [SILENT, FREE, OF_MARKS], ids=["silent", "free", "marks"])
async def test_ranks_are_as_they_were(db: Database, scope: SearchScope) -> None:
    """Where nothing is said of the rows that are ranked."""
    firms, step = Firms(db, resilience=None), Firm.ranked
    nested: Any = await firms.get(1, scope, into=ways("ranked")[0])
    assert nested.ranked == (Leaf(1),)
    assert [await firms.count(scope, [related(step, DocRow.id == id)]) for id in (1, 2)] == [1, 0]


REFUSED: dict[str, tuple[str, SearchScope, str]] = {
    **{
        name: (name, OF_DOCS, "DocRow")
        for name in ("ranked", "first_two", "later", "grouped", "united", "inner", "without", "twice", "least")
    },
    **{name: (name, OF_MARKS, "MarkRow") for name in ("marked", "by_marks", "joined", "outer", "has_mark", "in_marks")},
}


async def each_refuses(db: Database, name: str, scope: SearchScope, words: str) -> None:
    """Read in every way, to a refusal of these words."""
    into, loading, leading = ways(name)
    firms, step = Firms(db, resilience=None), getattr(FirmRow, name)
    with pytest.raises(MappingError, match=words):
        await firms.get(1, scope, into=into)
    with pytest.raises(MappingError, match=words):
        await firms.search(scope, into=into)
    with pytest.raises(MappingError, match=words):
        await loading(db, resilience=None).get(1, scope)
    with pytest.raises(MappingError, match=words):
        await firms.count(scope, leading.model_validate({name: {"exists": {}}}))
    with pytest.raises(MappingError, match=words):
        await firms.search(scope, orders=[related(step)])
    with pytest.raises(MappingError, match=words):
        await firms.get(1, scope, into=asking(step))
    assert await firms.get(1, scope) == Leaf(1)


def asking(step: Any) -> Any:
    """Give a data class that computes whether there is any such row."""
    is_led: Any = Annotated[bool, Expr(related(step))]
    return dataclass(frozen=True)(type("Asking", (), {"__annotations__": {"id": int, "is_led": is_led}}))


@pytest.mark.parametrize("case", share(REFUSED))
async def test_rows_that_nothing_limits(db: Database, case: str) -> None:
    """What is decided by rows of which the scope says something is an error that says what to write, in every way."""
    name, scope, row = REFUSED[case]
    await each_refuses(
        db, name, scope, rf"FirmRow\.{name} finds or sorts its rows by those of {row}, of which.*lead to the"
    )


async def test_rows_that_are_sorted_by_others(db: Database) -> None:
    """They are found by none, so that filters ask about them, but where they are shown in that order."""
    into, loading, leading = ways("sorted")
    firms, words = Firms(db, resilience=None), r"FirmRow\.sorted finds or sorts its rows by those of MarkRow"
    with pytest.raises(MappingError, match=words):
        await firms.get(1, OF_MARKS, into=into)
    with pytest.raises(MappingError, match=words):
        await loading(db, resilience=None).get(1, OF_MARKS)
    assert await firms.count(OF_MARKS, leading.model_validate({"sorted": {"exists": {}}})) == 1
    assert await firms.count(OF_MARKS, [related(Firm.sorted)]) == 1


async def test_a_join_between_by_a_subquery(db: Database) -> None:
    """Of which the scope says something is no table between."""
    await each_refuses(db, "over", OF_MARKS, r"FirmRow\.over goes over MarkRow, of which.*inner join of tables")


async def test_an_alias_without_the_key(db: Database) -> None:
    """Of which nothing can be said by a column that it has is an error that names what to select."""
    await each_refuses(db, "keyless", OF_DOCS, r"alias of DocRow .*has no aliases_docs\.id.*select that column")


@dataclass(frozen=True)
class Whose:
    id: int
    tenant: str


@dataclass(frozen=True)
class WithBoss:
    id: int
    boss: Leaf | None


@dataclass(frozen=True)
class OfTenants:
    keyed: tuple[Whose, ...]


@dataclass(frozen=True)
class OfBosses:
    keyed: tuple[WithBoss, ...]


@pytest.mark.filterwarnings("ignore:Did not locate an expression")
@pytest.mark.parametrize("into, column", [(OfTenants, "tenant"), (OfBosses, "boss_id")])
@pytest.mark.parametrize("scope", [None, SILENT, OF_DOCS], ids=["none", "silent", "says"])
async def test_a_field_of_what_the_alias_has_not(
    db: Database, into: Any, column: str, scope: SearchScope | None
) -> None:
    """It is no column of some other row, but an error that names it."""
    with pytest.raises(MappingError, match=rf"alias that has no aliases_docs\.{column}: select that column"):
        await Firms(db, resilience=None).get(1, scope, into=into)


@pytest.mark.parametrize("scope", [SILENT, OF_DOCS], ids=["silent", "says"])
async def test_asking_about_what_the_alias_has_not(db: Database, scope: SearchScope) -> None:
    """It is asked of the row by its key, and of no other row."""
    firms, step = Firms(db, resilience=None), Firm.keyed
    seen = (2, 4) if scope is OF_DOCS else (1, 2, 3, 4)
    assert await firms.count(scope, [related(step, DocRow.tenant == "a", DocRow.id == 2)]) == 1
    assert await firms.count(scope, [related(step, DocRow.tenant == "a", DocRow.id == 3)]) == 0
    assert await firms.count(scope, [related(step, DocRow.tenant == "b", DocRow.id == 3)]) == (3 in seen)
    assert await firms.count(scope, [related(step, DocRow.tenant == "c")]) == 0


async def test_an_alias_of_a_class_in_the_same_table(db: Database) -> None:
    """What tells its rows from others is asked of the alias alone."""
    async with db.begin_session() as db_sess:
        db_sess.add_all([StarRow(id=id, tenant=tenant, doc_id=id - 4) for id, tenant in ((5, "a"), (6, "b"))])
    docs, scope = Docs(db, resilience=None), Says(DocRow.id > 0, {MarkRow: [MarkRow.tenant == "a"]})
    assert [each.id for each in (await docs.search(None, [related(Doc.stars)], orders=[DocRow.id])).items] == [1, 2]
    assert [each.id for each in (await docs.search(scope, [related(Doc.stars)])).items] == [1]
    sql = str(sa.select(DocRow.id).where(related(Doc.stars)))
    assert "FROM aliases_marks AS aliases_marks_1 \nWHERE" in sql


def test_what_asks_by_the_name_of_a_row_that_stands_in_the_join() -> None:
    """Neither text nor a subquery could tell it there from any other: that is said before it is used."""
    with pytest.raises(MappingError, match=r"DocRow stands under its own name in the join of an alias"):
        related(Firm.joined, DocRow.boss.has())
