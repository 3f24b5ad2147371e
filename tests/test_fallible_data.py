"""Data over relationships whose own condition may fail for some row: under a scope, for no row but those inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, foreign, mapped_column, relationship, remote
from typing_extensions import override

from rowsmith import Condition, Database, InvalidValue, MappingError, Repository, SearchScope, Unscoped
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class ShopRow(Base):
    __tablename__ = "failing_shops"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    size: Mapped[int]
    """What is divided by: zero for those of others."""
    goods: Mapped[list[GoodRow]] = relationship(
        primaryjoin=lambda: sa.and_(
            remote(foreign(GoodRow.shop_id)) == ShopRow.id, 100 / remote(GoodRow.size) > 1, 100 / ShopRow.size > 1
        ),
        order_by=lambda: GoodRow.id,
        viewonly=True,
    )
    by_text: Mapped[list[GoodRow]] = relationship(
        primaryjoin=lambda: sa.cast(remote(foreign(GoodRow.shop)), sa.Integer) == ShopRow.id,
        order_by=lambda: GoodRow.id,
        viewonly=True,
    )
    tags: Mapped[list[TagRow]] = relationship(
        secondary="failing_tagged",
        primaryjoin=lambda: sa.and_(TaggedRow.shop_id == ShopRow.id, 100 / TaggedRow.size > 1),
        secondaryjoin=lambda: sa.and_(TaggedRow.tag_id == TagRow.id, 100 / TagRow.size > 1),
        order_by=lambda: TagRow.id,
        viewonly=True,
    )


class GoodRow(Base):
    __tablename__ = "failing_goods"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    size: Mapped[int]
    shop: Mapped[str]
    shop_id: Mapped[int] = mapped_column(sa.ForeignKey("failing_shops.id"))
    tags: Mapped[list[TagRow]] = relationship(
        secondary=lambda: ShopRow.__table__.join(
            TaggedRow.__table__, sa.and_(TaggedRow.shop_id == ShopRow.id, 100 / ShopRow.size > 1)
        ),
        primaryjoin=lambda: foreign(ShopRow.id) == GoodRow.shop_id,
        secondaryjoin=lambda: foreign(TaggedRow.tag_id) == TagRow.id,
        viewonly=True,
    )
    at: Mapped[ShopRow | None] = relationship(
        primaryjoin=lambda: sa.and_(
            foreign(GoodRow.shop_id) == remote(ShopRow.id), 100 / remote(ShopRow.size) > 1, 100 / GoodRow.size > 1
        ),
        viewonly=True,
    )


class TagRow(Base):
    __tablename__ = "failing_tags"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    size: Mapped[int]


class TaggedRow(Base):
    __tablename__ = "failing_tagged"

    shop_id: Mapped[int] = mapped_column(sa.ForeignKey("failing_shops.id"), primary_key=True)
    tag_id: Mapped[int] = mapped_column(sa.ForeignKey("failing_tags.id"), primary_key=True)
    tenant: Mapped[str]
    size: Mapped[int]


class TenantRow(Base):
    """Who may be seen, for scopes that ask about another table."""

    __tablename__ = "failing_tenants"

    name: Mapped[str] = mapped_column(primary_key=True)


ROWS: tuple[type[Any], ...] = (ShopRow, GoodRow, TagRow, TaggedRow, TenantRow)


@dataclass(frozen=True)
class Tag:
    id: int


@dataclass(frozen=True)
class Shop:
    id: int
    tags: tuple[Tag, ...]


@dataclass(frozen=True)
class Good:
    id: int
    at: Shop | None


@dataclass(frozen=True)
class WholeShop:
    id: int
    goods: tuple[Good, ...]
    by_text: tuple[Good, ...]
    tags: tuple[Tag, ...]


class Shops(Repository[ShopRow, WholeShop, int]): ...


class Goods(Repository[GoodRow, Good, int]): ...


@dataclass(frozen=True)
class Tagged:
    id: int
    tags: tuple[Tag, ...]


@dataclass(frozen=True)
class Of(SearchScope):
    """Rows of one tenant, found by a comparison."""

    row: type[Any]
    tenant: str = "a"

    def holds(self, row: Any) -> Condition:
        holds: Condition = row.tenant == self.tenant
        return holds

    @override
    def to_conditions(self) -> Sequence[Condition]:
        return [self.holds(self.row)]

    @override
    def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
        return {row: [self.holds(row)] for row in ROWS if row is not TenantRow}


@dataclass(frozen=True)
class Asking(Of):
    """The same, by a subquery: a condition that the database likes to look at late."""

    @override
    def holds(self, row: Any) -> Condition:
        holds: Condition = row.tenant.in_(sa.select(TenantRow.name).where(TenantRow.name == self.tenant))
        return holds


@dataclass(frozen=True)
class OwnAlone(Of):
    """It says nothing of related rows."""

    @override
    def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
        return {}


WAYS = [Of, Asking]
SHOPS = [
    WholeShop(
        n,
        goods=tuple(Good(10 * n + k, Shop(n, (Tag(1), Tag(2)))) for k in (0, 1)),
        by_text=tuple(Good(10 * n + k, Shop(n, (Tag(1), Tag(2)))) for k in (0, 1)),
        tags=(Tag(1), Tag(2)),
    )
    for n in (1, 2, 3)
]


async def filled(db: Database) -> None:
    """Have three shops of one tenant, and many of another whose every condition fails."""
    mine, theirs = (1, 2, 3), range(100, 300)
    tenants = [*((n, "a", 5) for n in mine), *((n, "b", 0) for n in theirs)]
    rows: Mapping[Any, list[dict[str, Any]]] = {
        TenantRow: [{"name": "a"}, {"name": "b"}],
        ShopRow: [{"id": n, "tenant": tenant, "size": size} for n, tenant, size in tenants],
        TagRow: [{"id": n, "tenant": tenant, "size": size} for n, tenant, size in [(1, "a", 5), *tenants[1:]]],
        GoodRow: [
            {"id": 10 * n + k, "tenant": tenant, "size": size, "shop": str(n) if size else "?", "shop_id": n}
            for n, tenant, size in tenants
            for k in (0, 1)
        ],
        TaggedRow: [
            {"shop_id": n, "tag_id": tag, "tenant": tenant, "size": size}
            for n, tenant, size in tenants
            for tag in ((1, 2) if size else (n,))
        ],
    }
    async with db.begin_session() as session:
        for row, given in rows.items():
            await session.execute(sa.insert(row), given)
        # What of theirs leads to what is the tenant's, by keys that no scope has looked at.
        await session.execute(sa.insert(GoodRow), [_theirs(9000 + n, n) for n in mine])
        await session.execute(
            sa.insert(TaggedRow), [{"shop_id": n, "tag_id": 100 + n, "tenant": "b", "size": 0} for n in mine]
        )
        if db.engine.dialect.name == "postgresql":
            await session.execute(sa.text("ANALYZE"))


def _theirs(key: int, shop: int) -> dict[str, Any]:
    return {"id": key, "tenant": "b", "size": 0, "shop": "?", "shop_id": shop}


@pytest.mark.parametrize("way", WAYS)
async def test_no_data_fails_by_rows_outside(any_tables: WithTables, way: type[Of]) -> None:
    """Of several levels, to one and to many, with a table between: whatever the condition computes, and of whom."""
    async with any_tables(*ROWS) as db:
        await filled(db)
        shops, goods = Shops(db, resilience=None), Goods(db, resilience=None)
        assert [*await shops.search(way(ShopRow), orders=[ShopRow.id])] == SHOPS
        assert await shops.get(2, scope=way(ShopRow)) == SHOPS[1]
        expected = [good for shop in SHOPS for good in shop.goods]
        assert [*await goods.search(way(GoodRow), orders=[GoodRow.id])] == expected
        assert await goods.get(20, scope=way(GoodRow)) == expected[2]


async def test_no_data_fails_by_rows_that_are_not_searched(any_tables: WithTables) -> None:
    """What a relationship computes of the row itself is computed of rows inside alone, whatever holds of others."""
    async with any_tables(*ROWS) as db:
        await filled(db)
        async with db.begin_session() as session:  # all that may be seen can be computed
            for row in (GoodRow, TagRow, TaggedRow):
                await session.execute(sa.update(row).values(size=5))
            await session.execute(sa.update(GoodRow).where(GoodRow.shop == "?").values(shop="0"))
        shops = await Shops(db, resilience=None).search(OwnAlone(ShopRow), orders=[ShopRow.id])
        assert [shop.id for shop in shops] == [1, 2, 3]
        assert [len(shop.goods) for shop in shops] == [3, 3, 3]


async def test_what_is_computed_over_a_join_is_refused(any_tables: WithTables) -> None:
    """Of tables between there is no way to leave out the rows outside before the join itself is computed."""
    async with any_tables(*ROWS) as db:
        await filled(db)
        with pytest.raises(MappingError, match=r"GoodRow.tags.*give it a table as its secondary"):
            await Goods(db, resilience=None).search(Of(GoodRow), into=Tagged)


async def test_what_fails_inside_is_told(with_tables: WithTables) -> None:
    """A zero of the tenant's own is its own fault."""
    async with with_tables(*ROWS) as db:
        await filled(db)
        async with db.begin_session() as session:
            await session.execute(sa.update(GoodRow).where(GoodRow.id == 20).values(size=0))
        with pytest.raises(InvalidValue):
            await Shops(db, resilience=None).search(Of(ShopRow))


class Loaded(Repository[ShopRow, Shop, int]):
    loads = [ShopRow.goods]

    def to_data(self, row: ShopRow) -> Shop:
        return Shop(row.id, tuple(Tag(good.id) for good in row.goods))


class Whole(Repository[ShopRow, ShopRow, int]):
    loads = [(ShopRow.goods, GoodRow.at)]


@pytest.mark.parametrize("made", [Loaded, Whole])
@pytest.mark.parametrize("scope", [Of(ShopRow), OwnAlone(ShopRow)])
async def test_whole_rows_are_loaded_by_nothing_that_may_fail(
    any_tables: WithTables, made: type[Repository[ShopRow, Any, int]], scope: Of
) -> None:
    """SQLAlchemy has it computed of whatever rows there are: under a scope that is said before anything is sent."""
    async with any_tables(*ROWS) as db:
        await filled(db)
        shops = made(db, resilience=None)
        with pytest.raises(MappingError, match=r"ShopRow.goods.*read it by a data class"):
            await shops.search(scope)
        with pytest.raises(MappingError, match=r"ShopRow.goods.*read it by a data class"):
            await shops.get(1, scope=scope)
        async with db.begin_session() as session:
            for row in (GoodRow, ShopRow):
                await session.execute(sa.update(row).values(size=5))
        assert len(await shops.search(Unscoped("all can be computed"))) == 100
