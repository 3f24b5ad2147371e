"""Classes of several declarative bases, as a modular application has them: what a scope says of one holds for all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.declarative import AbstractConcreteBase
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from typing_extensions import override

from rowsmith import (
    Condition,
    Database,
    OptionalState,
    Patch,
    ReferenceNotFound,
    Repository,
    SearchScope,
    Spec,
    Unscoped,
    related,
)
from rowsmith.testing import WithTables


class Accounts(DeclarativeBase):
    pass


class Shop(DeclarativeBase):
    metadata = Accounts.metadata


class Labels(DeclarativeBase):
    metadata = Accounts.metadata


class Apart(DeclarativeBase):
    """One whose tables are in a metadata of their own."""


class CustomerRow(Accounts):
    __tablename__ = "bases_customers"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]


class LabelRow(Labels):
    __tablename__ = "bases_labels"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class OrderRow(Shop):
    __tablename__ = "bases_orders"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    customer_id: Mapped[int] = mapped_column(sa.ForeignKey("bases_customers.id"))
    labels: Mapped[list[LabelRow]] = relationship(LabelRow, secondary="bases_labelled", viewonly=True)


class LabelledRow(Accounts):
    """What lies between rows of two bases, and is of a third one."""

    __tablename__ = "bases_labelled"

    order_id: Mapped[int] = mapped_column(sa.ForeignKey("bases_orders.id"), primary_key=True)
    label_id: Mapped[int] = mapped_column(sa.ForeignKey("bases_labels.id"), primary_key=True)
    tenant: Mapped[str]


class NoteRow(Apart):
    __tablename__ = "bases_notes"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    customer_id: Mapped[int] = mapped_column(sa.ForeignKey(CustomerRow.__table__.c.id))


ROWS: tuple[type[Any], ...] = (CustomerRow, LabelRow, OrderRow, LabelledRow, NoteRow)


@dataclass(frozen=True)
class Item:
    id: int
    customer_id: int


@dataclass(frozen=True)
class Label:
    id: int


@dataclass(frozen=True)
class Order:
    id: int
    labels: tuple[Label, ...]


@dataclass(frozen=True)
class OrderSpec(Spec[OrderRow], filled={"tenant"}):
    id: int
    customer_id: int


@dataclass(frozen=True)
class NoteSpec(Spec[NoteRow], filled={"tenant"}):
    id: int
    customer_id: int


@dataclass(frozen=True)
class OrderPatch(Patch[OrderRow]):
    customer_id: OptionalState[int] = OptionalState.nop()


@dataclass(frozen=True)
class NotePatch(Patch[NoteRow]):
    customer_id: OptionalState[int] = OptionalState.nop()


class Orders(Repository[OrderRow, Item, int]): ...


class Notes(Repository[NoteRow, Item, int]): ...


@dataclass(frozen=True)
class Of(SearchScope):
    row: Any
    tenant: str = "a"

    @override
    def to_conditions(self) -> Sequence[Condition]:
        return [self.row.tenant == self.tenant]

    @override
    def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
        return {CustomerRow: [CustomerRow.tenant == self.tenant], LabelledRow: [LabelledRow.tenant == self.tenant]}


async def filled(db: Database) -> None:
    """Have two customers, of two tenants."""
    async with db.begin_session() as session:
        session.add_all([CustomerRow(id=1, tenant="a"), CustomerRow(id=9, tenant="b"), LabelRow(id=1), LabelRow(id=2)])


@pytest.mark.parametrize("kind", ["one metadata", "another metadata"])
async def test_foreign_keys_lead_inside(any_tables: WithTables, kind: str) -> None:
    """To rows of another base, too, in every way to write them."""
    async with any_tables(*ROWS) as db:
        await filled(db)
        repository: Any = Orders(db, resilience=None) if kind == "one metadata" else Notes(db, resilience=None)
        spec: Any = OrderSpec if kind == "one metadata" else NoteSpec
        patch: Any = OrderPatch if kind == "one metadata" else NotePatch
        row: Any = OrderRow if kind == "one metadata" else NoteRow
        scope = Of(row)
        outside = patch(OptionalState.update(9))
        assert (await repository.create(spec(1, 1), scope=scope)).customer_id == 1
        refusals: list[Callable[[], Awaitable[object]]] = [
            lambda: repository.create(spec(2, 9), scope=scope),
            lambda: repository.batch_create([spec(2, 1), spec(3, 9)], scope=scope),
            lambda: repository.upsert(spec(1, 9), scope=scope),
            lambda: repository.update(1, outside, scope=scope),
            lambda: repository.batch_update([1], outside, scope=scope),
            lambda: repository.update_where([row.id == 1], outside, scope=scope),
        ]
        for refused in refusals:
            with pytest.raises(ReferenceNotFound):
                await refused()
        found = await repository.search(Unscoped("what there is"))
        assert [(each.id, each.customer_id) for each in found] == [(1, 1)]


async def test_a_base_that_is_not_mapped_yet_is_in_nobodys_way(any_tables: WithTables) -> None:
    """One that SQLAlchemy maps once all classes below it are known, of an application's other base, or never."""

    class Plugins(DeclarativeBase):
        pass

    class AnyPluginRow(AbstractConcreteBase, Plugins):
        strict_attrs = True

        id: Mapped[int] = mapped_column(primary_key=True)

    async with any_tables(*ROWS) as db:
        await filled(db)
        orders = Orders(db, resilience=None)
        assert (await orders.create(OrderSpec(1, 1), scope=Of(OrderRow))).customer_id == 1
        with pytest.raises(ReferenceNotFound):
            await orders.create(OrderSpec(2, 9), scope=Of(OrderRow))
    assert AnyPluginRow.__name__ == "AnyPluginRow"


async def test_a_table_between_is_of_a_third_base(any_tables: WithTables) -> None:
    """Its rows are limited like others."""
    async with any_tables(*ROWS) as db:
        await filled(db)
        async with db.begin_session() as session:
            session.add(OrderRow(id=1, tenant="a", customer_id=1))
            await session.flush()
            session.add_all([LabelledRow(order_id=1, label_id=n, tenant=tenant) for n, tenant in ((1, "a"), (2, "b"))])
        orders = Orders(db, resilience=None)
        assert await orders.get(1, Of(OrderRow), into=Order) == Order(1, (Label(1),))
        assert await orders.count(Of(OrderRow), [related(OrderRow.labels, LabelRow.id == 1)]) == 1
        assert await orders.count(Of(OrderRow), [related(OrderRow.labels, LabelRow.id == 2)]) == 0
