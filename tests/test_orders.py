"""Orders are taken apart exactly and made total, or refused with words that teach."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import ForeignKey, column, desc, func, literal, nulls_last, text
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column, relationship, synonym

from rowsmith.errors import InvalidFilter
from rowsmith.orders import Order, OrderTerm, order_terms


class Base(DeclarativeBase):
    pass


class ParentRow(Base):
    __tablename__ = "parents"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class ItemRow(Base):
    __tablename__ = "items"
    tenant: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column("item_name")
    note: Mapped[str | None]
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("parents.id"))
    parent: Mapped[ParentRow | None] = relationship()
    title: Mapped[str] = synonym("name")

    @hybrid_property
    def twice(self) -> int:
        return self.id * 2


KEY = tuple(ItemRow.__table__.primary_key)


def sql(*orders: Order) -> list[str]:
    return [str(term.clause()) for term in order_terms(orders, KEY)]


def first(order: Order) -> OrderTerm:
    return order_terms([order], KEY)[0]


def test_no_orders_sort_by_the_primary_key() -> None:
    """Without orders the primary key alone makes a total order."""
    assert sql() == ["items.tenant ASC", "items.id ASC"]


@pytest.mark.parametrize(
    "order, expected",
    [
        (ItemRow.name, "items.item_name ASC"),
        (ItemRow.name.asc(), "items.item_name ASC"),
        (ItemRow.name.desc(), "items.item_name DESC"),
        (ItemRow.name.desc().nulls_last(), "items.item_name DESC"),
        (ItemRow.note, "items.note ASC NULLS LAST"),
        (ItemRow.note.desc(), "items.note DESC NULLS FIRST"),
        (ItemRow.note.nulls_first(), "items.note ASC NULLS FIRST"),
        (ItemRow.note.desc().nulls_last(), "items.note DESC NULLS LAST"),
        (desc(nulls_last(ItemRow.note)), "items.note DESC NULLS LAST"),
        (lambda: ItemRow.note.desc(), "items.note DESC NULLS FIRST"),
        (ItemRow.__table__.c.note, "items.note ASC NULLS LAST"),
        (func.lower(ItemRow.name), "lower(items.item_name) ASC NULLS LAST"),
        (func.lower(ItemRow.name).label("low").desc(), "lower(items.item_name) DESC NULLS FIRST"),
        (ItemRow.name.collate("C"), 'items.item_name COLLATE "C" ASC NULLS LAST'),
        (-ItemRow.id, "-items.id ASC NULLS LAST"),
        (ItemRow.twice.desc(), "items.id * :id_1 DESC NULLS FIRST"),
        (ItemRow.title, "items.item_name ASC"),
    ],
)
def test_orders_are_taken_apart(order: Order, expected: str) -> None:
    """Any nesting of modifiers gives its clause; NULLs go where PostgreSQL puts them, and are said only if possible."""
    assert sql(order)[0] == expected


def test_the_primary_key_follows_in_the_last_direction() -> None:
    """The key is appended in the direction of the last order, so that one index serves both ways."""
    assert sql(ItemRow.name.desc())[1:] == ["items.tenant DESC", "items.id DESC"]
    assert sql(ItemRow.name.desc(), ItemRow.note)[2:] == ["items.tenant ASC", "items.id ASC"]


def test_a_key_column_that_is_named_is_not_appended_again() -> None:
    """Each column of the primary key stands once, where and how it was named."""
    assert sql(ItemRow.id.desc(), ItemRow.name) == ["items.id DESC", "items.item_name ASC", "items.tenant ASC"]


def test_reversing_turns_everything_round() -> None:
    """A reversed term sorts the other way with its NULLs at the other end, and twice reversed is itself."""
    term = first(ItemRow.note.desc().nulls_last())
    assert str(term.reversed().clause()) == "items.note ASC NULLS FIRST"
    assert str(term.reversed().reversed().clause()) == str(term.clause())


def test_a_not_null_column_of_another_table_may_be_null() -> None:
    """An outer join puts NULLs into columns that have none of their own."""
    assert first(ParentRow.name).nullable
    assert first(aliased(ItemRow).name).nullable
    assert not first(ItemRow.name).nullable


@pytest.mark.parametrize("twice", [ItemRow.name, ItemRow.name.desc(), ItemRow.__table__.c.item_name, ItemRow.title])
def test_an_expression_given_twice_is_refused(twice: Order) -> None:
    """The same column twice has no meaning, whatever its direction and however it is written."""
    with pytest.raises(InvalidFilter, match="given twice"):
        order_terms([ItemRow.name, twice], KEY)


def test_expressions_that_differ_in_a_value_are_not_the_same() -> None:
    """Expressions count as one only if their bound values agree too."""
    assert len(order_terms([ItemRow.id % 2, ItemRow.id % 3], KEY)) == 4
    with pytest.raises(InvalidFilter, match="given twice"):
        order_terms([ItemRow.id % 2, ItemRow.id % 2], KEY)


@pytest.mark.parametrize(
    "order",
    [ItemRow.name.desc().asc(), ItemRow.name.nulls_first().nulls_last(), ItemRow.name.desc().nulls_last().desc()],
)
def test_a_modifier_named_twice_is_refused(order: Order) -> None:
    """Two directions or NULL placements on one order are a slip."""
    with pytest.raises(InvalidFilter, match="name it once"):
        order_terms([order], KEY)


@pytest.mark.parametrize(
    "order",
    ["name", "name; drop table items", text("name"), desc("name"), None, 1, ItemRow, ItemRow.id.table, ["name"]],
)
def test_what_is_no_expression_is_refused(order: Any) -> None:
    """Names from outside never reach SQL, and the message says what to write."""
    with pytest.raises(InvalidFilter, match=r"GroupRow\.name") as caught:
        order_terms([order], KEY)
    assert "drop table" not in str(caught.value)


def test_a_relationship_is_refused() -> None:
    """A relationship has no order of its own."""
    with pytest.raises(InvalidFilter, match="is a relationship"):
        order_terms([ItemRow.parent], KEY)


def test_any_sql_expression_is_an_order() -> None:
    """What SQLAlchemy can sort by that is no mapped column is sorted by, NULLs included."""
    assert str(first(column("rank")).clause()) == "rank ASC NULLS LAST"
    assert str(first(literal(1)).clause()).endswith("ASC NULLS LAST")
