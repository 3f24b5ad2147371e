"""Types of a team's own are compared as what they store, and domains as what they are of: PostgreSQL knows no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator, TypeEngine

from rowsmith import (
    Condition,
    Conflict,
    InvalidValue,
    MappingError,
    OptionalState,
    Patch,
    Repository,
    SearchScope,
    Spec,
    count,
    sum_,
)
from rowsmith.testing import WithTables
from rowsmith.testing.contract.verbs import answered
from support import count_statements

DOC = {"a": 1}
NO_EQUALITY = "is json, which PostgreSQL compares with nothing"


class Over(TypeDecorator[Any]):
    """Makes nothing else of values."""

    impl = sa.String
    cache_ok = True

    def __init__(self, over: TypeEngine[Any]) -> None:
        super().__init__()
        self.over = over
        self.impl = self.impl_instance = over  # type: ignore[assignment]


class Binding(Over):
    """Might make something else of values."""

    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value


class OnPostgresql(TypeDecorator[Any]):
    """Is JSON on PostgreSQL alone."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Any) -> TypeEngine[Any]:
        form: TypeEngine[Any] = dialect.type_descriptor(sa.JSON() if dialect.name == "postgresql" else sa.Text())
        return form


class Base(DeclarativeBase):
    pass


class DocRow(Base):
    __tablename__ = "compared_documents"

    id: Mapped[int] = mapped_column(primary_key=True)
    plain: Mapped[Any] = mapped_column(sa.JSON, nullable=True)
    other: Mapped[Any] = mapped_column(sa.JSON, nullable=True)
    over: Mapped[Any] = mapped_column(Over(sa.JSON()), nullable=True)
    binding: Mapped[Any] = mapped_column(Binding(sa.JSON()), nullable=True)
    twice: Mapped[Any] = mapped_column(Over(Binding(sa.JSON())), nullable=True)
    there: Mapped[Any] = mapped_column(OnPostgresql, nullable=True)
    binary: Mapped[Any] = mapped_column(Over(pg.JSONB()), nullable=True)
    name: Mapped[str | None]


@dataclass(frozen=True)
class Doc:
    id: int


@dataclass(frozen=True)
class DocCreate(Spec[DocRow]):
    id: int
    over: Any = None
    binary: Any = None


@dataclass(frozen=True)
class DocPatch(Patch[DocRow]):
    name: OptionalState[Any]


class Docs(Repository[DocRow, Doc, int]):
    conflict = Conflict([DocRow.id])


COMPARED: dict[str, Callable[[Any], Any]] = {
    "==": lambda doc: doc == DOC,
    "!=": lambda doc: doc != DOC,
    ">": lambda doc: doc > DOC,
    "in_": lambda doc: doc.in_([DOC]),
    "not_in": lambda doc: doc.not_in([DOC]),
    "between": lambda doc: doc.between(DOC, DOC),
    "is_distinct_from": lambda doc: doc.is_distinct_from(DOC),
    "a column": lambda doc: doc == DocRow.other,
    "a subquery": lambda doc: doc.in_(sa.select(DocRow.other)),
    "nullif": lambda doc: sa.func.nullif(doc, DocRow.other).is_(None),
    "case": lambda doc: sa.case((doc == DOC, 1), else_=0) == 1,
    "a row": lambda doc: sa.tuple_(doc, DocRow.id) == (DOC, 1),
    "rows": lambda doc: sa.tuple_(doc, DocRow.id).in_([(DOC, 1)]),
}


@pytest.mark.parametrize("compared", COMPARED.values(), ids=COMPARED)
@pytest.mark.parametrize("name", ["plain", "over", "binding", "twice", "there"])
async def test_json_is_compared_with_nothing(
    lane_tables: WithTables, name: str, compared: Callable[[Any], Any]
) -> None:
    """By a condition, a scope, an upsert and what is written, whatever stands above JSON."""
    condition = compared(getattr(DocRow, name))

    @dataclass(frozen=True)
    class Under(SearchScope):
        def to_conditions(self) -> Sequence[Condition]:
            return [condition]

    async with lane_tables(DocRow) as db:
        docs = Docs(db)
        patch = DocPatch(OptionalState.update(sa.case((condition, "a"), else_="b")))
        with count_statements(db) as sent:
            for call in (
                docs.count(None, [condition]),
                docs.get(1, scope=Under()),
                docs.create(DocCreate(1), scope=Under()),
                docs.update_where([condition], patch),
                docs.update(1, patch),
            ):
                told = await answered(call)
                assert (told.error, NO_EQUALITY in str(told.words)) == (InvalidValue, True)
            with pytest.raises(InvalidValue, match=NO_EQUALITY):

                class Conflicting(Docs):
                    conflict = Conflict([DocRow.id], where=condition)

                Conflicting(db)
        assert sent == []


async def test_jsonb_is_compared_beneath_a_type_too(with_tables: WithTables) -> None:
    """And JSON is looked at for NULL, and by its parts."""
    async with with_tables(DocRow) as db:
        docs = Docs(db)
        await docs.create(DocCreate(1, DOC, DOC))
        for condition in (DocRow.binary == DOC, DocRow.twice.is_(None), DocRow.over["a"].as_integer() == 1):
            assert await docs.count(None, [condition]) == 1


async def test_other_kinds_are_told_apart_beneath_types(any_tables: WithTables) -> None:
    """A column, a value and what is written: PostgreSQL has no comparison of them, and no conversion."""

    class Base(DeclarativeBase):
        pass

    class KindsRow(Base):
        __tablename__ = "compared_kinds"
        id: Mapped[int] = mapped_column(primary_key=True)
        text: Mapped[str | None]
        cents: Mapped[Any] = mapped_column(Binding(sa.Integer()), nullable=True)
        uuid: Mapped[Any] = mapped_column(Over(sa.Uuid()), nullable=True)
        made: Mapped[Any] = mapped_column(Over(sa.DateTime(True)), nullable=True)

    @dataclass(frozen=True)
    class Kinds:
        id: int

    @dataclass(frozen=True)
    class CentsPatch(Patch[KindsRow]):
        cents: OptionalState[Any] = OptionalState.nop()

    class Rows(Repository[KindsRow, Kinds, int]):
        pass

    async with any_tables(KindsRow) as db:
        rows = Rows(db)
        with count_statements(db) as sent:
            for column in (KindsRow.cents, KindsRow.uuid, KindsRow.made):
                for condition in (
                    column == KindsRow.text,
                    sa.literal("a") == column,
                    column.in_([sa.literal("a")]),
                    sa.func.nullif(column, KindsRow.text).is_(None),
                    sa.tuple_(column, KindsRow.id) == sa.tuple_(KindsRow.text, KindsRow.id),
                ):
                    assert (await answered(rows.count(None, [condition]))).error is InvalidValue
            for given in (KindsRow.text, sa.literal("a")):
                patch = CentsPatch(OptionalState.update(given))
                assert (await answered(rows.update(1, patch))).error is InvalidValue
        assert sent == []
        assert await rows.count(None, [KindsRow.cents * 2 > 1, KindsRow.cents == KindsRow.id]) == 0


@pytest.mark.filterwarnings("ignore:Type object")  # of domains SQLAlchemy does not say which operators they have
async def test_arrays_of_json_and_domains_over_it_are_compared_with_nothing(with_tables: WithTables) -> None:
    """Nor is what a type of a team's is an array of."""

    class Base(DeclarativeBase):
        pass

    class ManyRow(Base):
        __tablename__ = "compared_many"
        id: Mapped[int] = mapped_column(primary_key=True)
        docs: Mapped[Any] = mapped_column(sa.ARRAY(sa.JSON), nullable=True)
        over: Mapped[Any] = mapped_column(Over(sa.ARRAY(sa.JSON)), nullable=True)
        items: Mapped[Any] = mapped_column(sa.ARRAY(Binding(sa.JSON())), nullable=True)
        of: Mapped[Any] = mapped_column(Over(pg.DOMAIN("compared_domain", sa.JSON())), nullable=True)

    @dataclass(frozen=True)
    class Many:
        id: int

    class Rows(Repository[ManyRow, Many, int]):
        pass

    async with with_tables(ManyRow) as db:
        with count_statements(db) as sent:
            for column, given in ((ManyRow.docs, [DOC]), (ManyRow.over, [DOC]), (ManyRow.of, DOC)):
                told = await answered(Rows(db).count(None, [column == given]))
                assert (told.error, "json, which PostgreSQL compares" in str(told.words)) == (InvalidValue, True)
            told = await answered(Rows(db).count(None, [ManyRow.items == ManyRow.docs]))
            assert (told.error, "json, which PostgreSQL compares" in str(told.words)) == (InvalidValue, True)
        assert sent == []


async def test_different_values_of_json_are_counted_of_no_type_above_it(with_tables: WithTables) -> None:
    """Likewise rows are neither grouped nor sorted by it."""

    @dataclass(frozen=True)
    class Distinct:
        docs: Annotated[int, count(DocRow.over, distinct=True)]

    async with with_tables(DocRow) as db:
        with count_statements(db) as sent, pytest.raises(MappingError, match="no equality"):
            await Docs(db).aggregate(into=Distinct)
        assert sent == []


async def test_sums_have_the_digits_of_the_numbers_beneath_a_type(any_tables: WithTables) -> None:
    """On SQLite, which sums floats, as those of a plain column do."""

    class Base(DeclarativeBase):
        pass

    class SumRow(Base):
        __tablename__ = "compared_sums"
        id: Mapped[int] = mapped_column(primary_key=True)
        price: Mapped[Decimal] = mapped_column(Over(sa.Numeric(12, 2)))

    @dataclass(frozen=True)
    class SumCreate(Spec[SumRow]):
        id: int
        price: Decimal

    @dataclass(frozen=True)
    class Total:
        price: Annotated[Decimal, sum_(SumRow.price)]

    @dataclass(frozen=True)
    class One:
        id: int

    class Rows(Repository[SumRow, One, int]):
        pass

    async with any_tables(SumRow) as db:
        await Rows(db).create(SumCreate(1, Decimal("123456789.10")))
        [total] = await Rows(db).aggregate(into=Total)
        assert total.price == Decimal("123456789.10")


async def test_arrays_of_types_take_in_batches_what_they_take_alone(with_tables: WithTables) -> None:
    """What is equal to an integer, and bound as something else, goes as text in an array of arrays."""

    class Base(DeclarativeBase):
        pass

    class ListRow(Base):
        __tablename__ = "compared_lists"
        id: Mapped[int] = mapped_column(primary_key=True)
        numbers: Mapped[list[Any]] = mapped_column(sa.ARRAY(Binding(sa.Integer())))

    @dataclass(frozen=True)
    class ListCreate(Spec[ListRow]):
        id: int
        numbers: list[Any]

    @dataclass(frozen=True)
    class ListData:
        numbers: list[Any]

    class Rows(Repository[ListRow, ListData, int]):
        pass

    async with with_tables(ListRow) as db:
        alone = await Rows(db).create(ListCreate(1, [2.0, True, None]))
        many = await Rows(db).batch_create([ListCreate(2, [2.0, True, None]), ListCreate(3, [])])
        assert [alone.numbers, many[0].numbers] == [[2, 1, None]] * 2
