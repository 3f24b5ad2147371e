"""Upserts: rows created or changed by a unique key, one or many at once."""

from __future__ import annotations

import asyncio
import random
import types
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column, relationship

from rowsmith import (
    AnyOf,
    BatchUpserter,
    Condition,
    Conflict,
    Database,
    DatabaseFault,
    EntityAlreadyExists,
    InvalidValue,
    MappingError,
    OptionalState,
    Patch,
    Repository,
    ScopeMismatch,
    SearchScope,
    SoftDelete,
    Spec,
    Upserted,
    Upserter,
)
from rowsmith.execution import replay
from rowsmith.mapping import row_info
from rowsmith.operations.upserts.statement import _is_new  # pyright: ignore[reportPrivateUsage]
from rowsmith.testing import WithTables
from support import count_statements, is_waited_for
from tenants import stored


class Base(DeclarativeBase):
    pass


class ItemRow(Base):
    __tablename__ = "items"
    __table_args__ = (
        sa.UniqueConstraint("domain", "name", name="uq_items"),
        sa.Index(
            "ix_items_slug",
            "slug",
            unique=True,
            postgresql_where=sa.text("deleted_at IS NULL"),
            sqlite_where=sa.text("deleted_at IS NULL"),
        ),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    domain: Mapped[str]
    name: Mapped[str]
    slug: Mapped[str | None]
    note: Mapped[str | None]
    doc: Mapped[Any | None] = mapped_column(sa.JSON)
    size: Mapped[int] = mapped_column(default=0)
    touched: Mapped[int] = mapped_column(default=0, onupdate=lambda: 7)
    version: Mapped[int] = mapped_column()
    deleted_at: Mapped[Any | None] = mapped_column(sa.DateTime(True))
    __mapper_args__ = {"version_id_col": version}


@dataclass(frozen=True)
class Item:
    id: int
    domain: str
    name: str
    note: str | None
    size: int
    touched: int
    version: int


@dataclass(frozen=True)
class Sized(Spec[ItemRow]):
    domain: str
    name: str
    size: int


@dataclass(frozen=True)
class Bare(Spec[ItemRow], filled={"domain"}):
    name: str
    size: int


@dataclass(frozen=True)
class Named(Spec[ItemRow]):
    domain: str
    name: str


@dataclass(frozen=True)
class Noted(Spec[ItemRow]):
    domain: str
    name: str
    slug: str | None
    note: str


@dataclass(frozen=True)
class ItemPatch(Patch[ItemRow]):
    size: OptionalState[int] = OptionalState.nop()


@dataclass(frozen=True)
class Slugged(Spec[ItemRow]):
    domain: str
    name: str
    slug: str | None


@dataclass(frozen=True)
class Full(Spec[ItemRow]):
    domain: str
    name: str
    note: str | None
    doc: Any


@dataclass(frozen=True)
class DomainScope(SearchScope):
    domain: str

    def to_conditions(self) -> Sequence[Condition]:
        return [ItemRow.domain == self.domain]


class NameTaken(EntityAlreadyExists):
    pass


class Items(Repository[ItemRow, Item, int]):
    conflict = Conflict(columns=[ItemRow.domain, ItemRow.name])
    soft_delete = SoftDelete(ItemRow.deleted_at)
    violations = {"uq_items": NameTaken}


async def seeded(items: Items) -> None:
    """Items 1 and 2 in domain a, with notes; item 3 in b."""
    await items.batch_create([Full("a", "x", "kept", {"k": 1}), Full("a", "y", "kept", None)])
    await items.create(Full("b", "x", "theirs", None))


async def test_a_row_is_created_or_changed_and_it_is_said_which(any_tables: WithTables) -> None:
    """Only the given fields are written, with onupdate and the version; all else stays. Input order is kept."""
    async with any_tables(ItemRow) as db:
        items = Items(db)
        await seeded(items)
        result = await items.batch_upsert([Sized("a", "new", 5), Sized("a", "x", 6), Sized("a", "also", 7)])
        assert result.missing == []
        assert [(item.data.name, item.inserted) for item in result.succeeded] == [
            ("new", True),
            ("x", False),
            ("also", True),
        ]
        changed = result.succeeded[1].data
        assert changed == Item(1, "a", "x", "kept", 6, 7, 2)
        assert result.succeeded[0].data.version == 1
        assert await items.get(1) == changed
        assert await stored(db, sa.select(ItemRow.doc["k"].as_integer()).where(ItemRow.id == 1)) == [(1,)]


async def test_a_single_upsert(any_tables: WithTables) -> None:
    """One spec gives one answer; an object of the session is refreshed."""
    async with any_tables(ItemRow) as db:
        items = Items(db)
        await seeded(items)
        assert await items.upsert(Sized("a", "x", 9)) == Upserted(Item(1, "a", "x", "kept", 9, 7, 2), inserted=False)
        made = await items.upsert(Sized("a", "z", 9))
        assert made.inserted
        async with db.begin_session() as db_sess:
            row = await db_sess.get_one(ItemRow, 1)
            found = await Upserter(ItemRow, conflict=Items.conflict).upsert(db_sess, Sized("a", "x", 10))
            assert found.data is row
            assert row.size == 10


async def test_none_is_written_where_it_is_given(any_tables: WithTables) -> None:
    """A field given as None becomes NULL, a JSON one too."""
    async with any_tables(ItemRow) as db:
        items = Items(db)
        await seeded(items)
        await items.batch_upsert([Full("a", "x", None, None), Full("a", "y", None, {"z": 1})])
        rows = await stored(db, sa.select(ItemRow.note, ItemRow.doc.is_(None)).order_by(ItemRow.id).limit(2))
        assert rows == [(None, True), (None, False)]


async def test_the_key_is_declared_in_many_ways(any_tables: WithTables) -> None:
    """By columns, by a constraint's or index's name, by columns and a predicate; by default the primary key."""
    async with any_tables(ItemRow) as db:
        items = Items(db)
        await seeded(items)
        by_slug = Conflict(constraint="ix_items_slug")
        by_predicate = Conflict(columns=[ItemRow.slug], where=lambda: ItemRow.deleted_at.is_(None))
        assert (await items.upsert(Slugged("s", "one", "s"), conflict=by_slug)).inserted
        for name, conflict in (("two", by_slug), ("three", by_predicate)):
            done = await items.upsert(Slugged("s", name, "s"), conflict=conflict)
            assert (done.inserted, done.data.name) == (False, name)
        assert not (await items.upsert(Sized("a", "x", 3), conflict=Conflict(constraint="uq_items"))).inserted

        @dataclass(frozen=True)
        class Numbered(Spec[ItemRow]):
            id: int
            domain: str
            name: str

        renamed = await items.upsert(Numbered(1, "a", "renamed"), conflict=Conflict())
        assert (renamed.inserted, renamed.data.id, renamed.data.name) == (False, 1, "renamed")


def declared_with(**attributes: Any) -> None:
    types.new_class("Wrong", (Repository[ItemRow, Item, int],), {}, lambda body: body.update(attributes))


def test_a_key_that_is_none_fails_when_it_is_declared() -> None:
    """A misspelt constraint, a stranger's column, or both ways at once are errors of the class."""
    for conflict, words in (
        (Conflict(constraint="uq_item"), "did you mean 'uq_items'"),
        (Conflict(columns=[ItemRow.name], constraint="uq_items"), "not both"),
        (Conflict(columns=[ItemRow.name]), r"goes by \(name\), over which items has no unique key"),
        (Conflict(columns=[ItemRow.id, ItemRow.name]), "no unique key"),
        (Conflict(columns=[ItemRow.slug]), r"some of the rows: give its predicate, Conflict\(columns=.*where="),
    ):
        with pytest.raises(MappingError, match=words):
            BatchUpserter(ItemRow, conflict=conflict)
        with pytest.raises(MappingError, match=words):
            types.new_class(
                "Wrong", (Repository[ItemRow, Item, int],), {}, lambda body, c=conflict: body.update(conflict=c)
            )


async def test_a_row_that_is_there_may_be_left_as_it_is(any_tables: WithTables) -> None:
    """``update=False`` writes nothing into it, and gives it all the same; so does a spec of the key alone."""
    async with any_tables(ItemRow) as db:
        items = Items(db)
        await seeded(items)
        keep = Conflict(columns=[ItemRow.domain, ItemRow.name], update=False)
        result = await items.batch_upsert([Sized("a", "x", 99), Sized("a", "new", 99)], conflict=keep)
        assert [(item.data.size, item.data.version, item.inserted) for item in result.succeeded] == [
            (0, 1, False),
            (99, 1, True),
        ]
        kept = (await items.batch_upsert([Named("a", "x"), Named("a", "y")])).succeeded
        assert [(item.data.note, item.data.version, item.inserted) for item in kept] == [("kept", 1, False)] * 2


@pytest.mark.parametrize("verb", ["batch_upsert", "batch_upsert_partial"])
async def test_a_row_that_is_left_as_it_is_is_locked(with_tables: WithTables, verb: str) -> None:
    """For which PostgreSQL asks the UPDATE privilege; a row that is new needs none."""
    async with with_tables(ItemRow) as db:
        items = Items(db)
        await seeded(items)
        keep = Conflict(columns=[ItemRow.domain, ItemRow.name], update=False)
        async with db.begin_session() as db_sess:
            for sql in (
                "CREATE ROLE rowsmith_inserter",
                "GRANT SELECT, INSERT ON items TO rowsmith_inserter",
                "GRANT USAGE ON SEQUENCE items_id_seq TO rowsmith_inserter",
                "SET LOCAL ROLE rowsmith_inserter",
            ):
                await db_sess.execute(sa.text(sql))
            upsert = getattr(items, verb)
            assert len((await upsert([Sized("a", "new", 9)], conflict=keep)).succeeded) == 1
            with pytest.raises(DatabaseFault, match="42501"):
                await upsert([Sized("a", "x", 9)], conflict=keep)
            await db_sess.rollback()


async def test_a_key_that_stands_twice_is_refused_with_both_indexes(any_tables: WithTables) -> None:
    """So is a key with NULL in it, or a missing one; of specs that set different fields, too."""
    async with any_tables(ItemRow) as db:
        items = Items(db)
        with pytest.raises(InvalidValue, match=r"index 2 has the key of the one at index 0"):
            await items.batch_upsert([Sized("a", "x", 1), Sized("a", "y", 1), Sized("a", "x", 2)])
        by_slug = Conflict(constraint="ix_items_slug")
        with pytest.raises(InvalidValue, match=r"index 1: ItemRow.slug is part of the key .* NULL"):
            await items.batch_upsert([Slugged("a", "x", "s"), Slugged("a", "y", None)], conflict=by_slug)
        with pytest.raises(InvalidValue, match=r"ItemRow.slug is part of the key .*: give it"):
            await items.batch_upsert([Sized("a", "x", 1)], conflict=by_slug)
        with pytest.raises(InvalidValue, match=r"index 2 has the key of the one at index 0"):
            await items.batch_upsert([Sized("a", "x", 1), Sized("a", "y", 1), Named("a", "x")])
        with pytest.raises(InvalidValue, match=r"index 1: ItemRow.slug is part of the key .* NULL"):
            await items.batch_upsert([Slugged("a", "x", "s"), Noted("a", "y", None, "n")], conflict=by_slug)
        assert await items.count() == 0


async def test_specs_may_set_different_fields(any_tables: WithTables) -> None:
    """A row that is there takes over those of its own spec, and a new one has defaults for what its spec leaves out."""
    async with any_tables(ItemRow) as db:
        items = Items(db)
        await items.batch_create([Noted("a", name, name, "old") for name in "cb"])
        specs = [Named("a", "d"), Sized("a", "c", 3), Noted("a", "e", "s", "n"), Named("a", "b"), Sized("a", "a", 1)]
        done = (await items.batch_upsert(specs)).succeeded
        assert [(one.data.name, one.data.size, one.data.note, one.inserted) for one in done] == [
            ("d", 0, None, True),
            ("c", 3, "old", False),
            ("e", 0, "n", True),
            ("b", 0, "old", False),
            ("a", 1, None, True),
        ]
        assert [one.data.version for one in done] == [1, 2, 1, 1, 1]  # what sets its key alone changes nothing
        again = (await items.batch_upsert([Noted("a", "d", "t", "n"), Sized("a", "e", 5)])).succeeded
        assert [(one.data.size, one.data.note, one.inserted) for one in again] == [(0, "n", False), (5, "n", False)]


async def test_of_different_fields_all_are_written_or_none(any_tables: WithTables) -> None:
    """Whichever of them fails, new or there, of one's own or of another tenant."""
    async with any_tables(ItemRow) as db:
        items = Items(db)
        await items.batch_create([Slugged("a", "taken", "taken"), Slugged("a", "x", None), Slugged("a", "y", None)])
        everything = sa.select(*ItemRow.__table__.columns)
        before = await stored(db, everything)
        for failing in (Slugged("a", "y", "taken"), Slugged("a", "new", "taken")):
            with pytest.raises(EntityAlreadyExists):
                await items.batch_upsert([Sized("a", "x", 2), failing, Sized("a", "other", 2)])
            assert await stored(db, everything) == before
        with pytest.raises(EntityAlreadyExists):
            await items.batch_upsert([Sized("b", "x", 3), Slugged("b", "z", "taken")], scope=DomainScope("b"))
        assert await stored(db, everything) == before


async def test_another_tenants_row_is_never_touched(any_tables: WithTables) -> None:
    """Its key is taken: the error is word for word that of a create, and the row is as it was."""

    @dataclass(frozen=True)
    class Global(Spec[ItemRow], filled={"domain"}):
        name: str
        slug: str

    async with any_tables(ItemRow) as db:
        items = Items(db)
        await items.create(Slugged("b", "theirs", "s"))
        before = await stored(db, sa.select(ItemRow.__table__))
        by_slug, scope = Conflict(constraint="ix_items_slug"), DomainScope("a")
        with pytest.raises(EntityAlreadyExists) as upserted:
            await items.upsert(Global("mine", "s"), scope=scope, conflict=by_slug)
        with pytest.raises(EntityAlreadyExists) as batched:
            await items.batch_upsert([Global("new", "t"), Global("mine", "s")], scope=scope, conflict=by_slug)
        keep = Conflict(columns=[ItemRow.slug], where=ItemRow.deleted_at.is_(None), update=False)
        with pytest.raises(EntityAlreadyExists) as kept:
            await items.upsert(Global("mine", "s"), scope=scope, conflict=keep)
        with pytest.raises(EntityAlreadyExists) as created:
            await items.batch_create([Global("mine", "s")], scope=scope)
        for caught in (upserted, batched, kept):
            assert str(caught.value) == str(created.value)
            assert caught.value.facts.constraint == created.value.facts.constraint == "ix_items_slug"
            assert (caught.value.__cause__, caught.value.__context__) == (None, None)
        assert await stored(db, sa.select(ItemRow.__table__)) == before


async def test_a_scope_is_stamped_and_verified(any_tables: WithTables) -> None:
    """New rows take its values; a spec that says otherwise, or a row that would leave it, is refused."""
    async with any_tables(ItemRow) as db:
        items = Items(db)
        await seeded(items)
        done = await items.batch_upsert([Bare("x", 5), Bare("z", 5)], scope=DomainScope("a"))
        assert [(item.data.domain, item.inserted) for item in done.succeeded] == [("a", False), ("a", True)]
        with pytest.raises(ScopeMismatch, match=r"index 1"):
            await items.batch_upsert([Sized("a", "x", 1), Sized("b", "x", 1)], scope=DomainScope("a"))
        small = AnyOf(lambda: ItemRow.size < 10, lambda: ItemRow.size.in_([100]))
        before = await stored(db, sa.select(ItemRow.__table__))
        with pytest.raises(ScopeMismatch, match=r"index 1 would leave its scope"):
            await items.batch_upsert([Sized("a", "x", 9), Sized("a", "y", 50)], scope=small)
        assert await stored(db, sa.select(ItemRow.__table__)) == before
        assert (await items.upsert(Sized("a", "x", 9), scope=small)).data.size == 9


async def test_the_one_spec_of_an_upsert_has_no_index(any_tables: WithTables) -> None:
    """What is said of it is what ``create`` says, in the message and in ``index``."""
    small = AnyOf(lambda: ItemRow.size < 10, lambda: ItemRow.size.in_([100]))
    large: Any = 2**70
    cases: list[tuple[Sized, SearchScope | None, type[Any]]] = [
        (Sized("a", "x", large), None, InvalidValue),
        (Sized("b", "x", 1), DomainScope("a"), ScopeMismatch),
        (Sized("a", "x", 50), small, ScopeMismatch),
    ]
    async with any_tables(ItemRow) as db:
        items = Items(db)
        for spec, scope, kind in cases:
            said = list[tuple[Any, str]]()
            for call in (items.create, items.upsert):
                with pytest.raises(kind) as caught:
                    await call(spec, scope=scope)
                said.append((caught.value.index, str(caught.value)))
            assert said == [(None, said[0][1])] * 2
            assert "index" not in said[0][1]


class OwnerRow(Base):
    """A domain that somebody owns; items name theirs."""

    __tablename__ = "owners"
    domain: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str]


OWNED = sa.exists().where(OwnerRow.domain == ItemRow.domain, OwnerRow.owner == "me")
OWNER = aliased(OwnerRow)
OTHER = aliased(ItemRow)
SUBQUERIES: dict[str, Any] = {
    "exists": OWNED,
    "an exists in an or": sa.or_(OWNED, ItemRow.size < 0),
    "nested": sa.exists().where(
        OWNER.owner == "me",
        sa.exists().where(OwnerRow.domain == ItemRow.domain, OwnerRow.owner == OWNER.owner).correlate(ItemRow, OWNER),
    ),
    "in a from": sa.exists(
        sa.select(sa.literal(1)).select_from(
            sa.select(OwnerRow.owner)
            .where(OwnerRow.domain == ItemRow.domain, OwnerRow.owner == "me")
            .correlate(ItemRow)
            .subquery()
        )
    ),
    "correlated": sa.exists().where(OwnerRow.domain == ItemRow.domain, OwnerRow.owner == "me").correlate(ItemRow),
    "an alias of its own table": sa.exists().where(OTHER.domain == "a", OTHER.domain == ItemRow.domain),
}


@pytest.mark.parametrize("condition", SUBQUERIES.values(), ids=SUBQUERIES)
async def test_a_scope_with_a_subquery_holds_for_the_row_that_is_there(any_tables: WithTables, condition: Any) -> None:
    """A subquery is asked about the row with the key, not whether any row at all is inside."""

    class Wide(Items):
        conflict = Conflict(columns=[ItemRow.id])

    @dataclass(frozen=True)
    class Scope(SearchScope):
        def to_conditions(self) -> Sequence[Condition]:
            return [condition]

    async with any_tables(OwnerRow, ItemRow) as db:
        items = Wide(db)
        async with db.begin_session() as db_sess:
            await db_sess.execute(
                sa.insert(OwnerRow), [{"domain": "a", "owner": "me"}, {"domain": "b", "owner": "you"}]
            )
        mine = (await items.create(Sized("a", "x", 1))).id
        theirs = (await items.create(Sized("b", "x", 1))).id
        before = await stored(db, sa.select(ItemRow.__table__).order_by(ItemRow.id))
        for call in (
            items.upsert(Placed(theirs, "a", "taken"), scope=Scope()),
            items.batch_upsert([Placed(theirs, "a", "taken")], scope=Scope()),
        ):
            with pytest.raises(EntityAlreadyExists):
                await call
        assert await stored(db, sa.select(ItemRow.__table__).order_by(ItemRow.id)) == before
        assert (await items.upsert(Placed(mine, "a", "new"), scope=Scope())).data.name == "new"


@dataclass(frozen=True)
class Placed(Spec[ItemRow]):
    id: int
    domain: str
    name: str


async def test_a_deleted_row_is_not_there_and_its_key_is_taken(any_tables: WithTables) -> None:
    """Deleted rows are unseen: an upsert neither changes nor revives one, nor gives it away."""
    async with any_tables(ItemRow) as db:
        items = Items(db)
        await seeded(items)
        await items.delete(1)
        for conflict in (None, Conflict(constraint="uq_items", update=False)):
            with pytest.raises(NameTaken):
                await items.batch_upsert([Sized("a", "x", 99)], conflict=conflict)
        await items.restore(1)
        assert (await items.get(1)).size == 0


async def test_statements_do_not_depend_on_the_number_of_rows(any_tables: WithTables) -> None:
    """Ten rows and a thousand take as many: a few where some are there, which are locked first."""
    async with any_tables(ItemRow) as db:
        items, counts = Items(db), list[int]()
        for number in (10, 1000):
            for _ in range(2):
                with count_statements(db) as sent:
                    await items.batch_upsert([Sized("a", f"{number} {place}", place) for place in range(number)])
                counts.append(len([statement for statement in sent if "SAVEPOINT" not in statement]))
        assert counts[:2] == counts[2:]
        assert (counts[0] <= 2, counts[1] <= 3) == (True, True)


async def test_different_fields_are_inserted_together_and_locked_together(with_tables: WithTables) -> None:
    """New rows go in the order of the key, in one statement where the server fills the same; then all are locked."""
    async with with_tables(ItemRow) as db:
        items = Items(db)
        await items.batch_create([Sized("a", "d", 1), Sized("a", "b", 1)])
        specs = [Slugged("a", "e", "e"), Sized("a", "d", 2), Slugged("a", "b", "b"), Sized("a", "c", 2)]
        for verb in (items.batch_upsert, items.batch_upsert_partial):
            with count_statements(db) as sent:
                await verb(specs)
            told = [sql for sql in sent if "FOR " in sql or "INSERT" in sql]
            locking = next(place for place, sql in enumerate(told) if sql.startswith("SELECT") and "FOR " in sql)
            assert locking == (1 if verb == items.batch_upsert else 0)
            assert "ORDER BY items.id FOR " in told[locking]
            assert len(told) == locking + 3
            assert all("DO UPDATE" in sql for sql in told[locking + 1 :])


async def test_parts_of_a_partial_upsert_insert_before_they_lock(with_tables: WithTables) -> None:
    """Where all together fail: who inserts holds no row that a batch over primary keys could wait for."""
    async with with_tables(ItemRow) as db:
        items = Items(db)
        await items.create(Slugged("a", "slugged", "taken"))
        await items.batch_create([Sized("a", "d", 1), Sized("a", "b", 1)])
        specs = [Slugged("a", name, "taken" if name in "ad" else name) for name in "abcde"]
        with count_statements(db) as sent:
            result = await items.batch_upsert_partial(specs)
        assert [item.index for item in result.failed] == [0, 3]
        assert [item.data.inserted for item in result.succeeded] == [False, True, True]
        told = [sql for sql in sent if "FOR " in sql or "INSERT" in sql]
        locking = next(place for place, sql in enumerate(told) if sql.startswith("SELECT") and "FOR " in sql)
        assert all("DO NOTHING" in sql for sql in told[1:locking])
        assert "ORDER BY items.id FOR " in told[locking]
        assert len(told) > locking + 1 > 2


async def test_each_item_of_a_partial_upsert_stands_for_itself(any_tables: WithTables) -> None:
    """Its values, its key, the keys of others that it takes, the scope: the rest is written, new or not."""
    async with any_tables(ItemRow) as db:
        items = Items(db)
        await seeded(items)
        await items.create(Slugged("a", "slugged", "taken"))
        specs: list[Spec[ItemRow]] = [
            Slugged("a", "x", "new"),
            Slugged("a", "\x00", "nul"),
            Slugged("a", "fresh", None),
            Slugged("a", "clash", "taken"),
            Slugged("b", "other", "other"),
            Slugged("a", "fresh", "again"),
            Named("a", "unlike"),
            Sized("a", "y", 8),
            Noted("a", "noted", "taken", "n"),
            Sized("a", "unlike", 9),
        ]
        result = await items.batch_upsert_partial(specs, scope=DomainScope("a"))
        assert [(item.index, item.data.data.name, item.data.inserted) for item in result.succeeded] == [
            (0, "x", False),
            (2, "fresh", True),
            (6, "unlike", True),
            (7, "y", False),
        ]
        assert [(item.index, type(item.error)) for item in result.failed] == [
            (1, InvalidValue),
            (3, EntityAlreadyExists),
            (4, ScopeMismatch),
            (5, InvalidValue),
            (8, EntityAlreadyExists),
            (9, InvalidValue),
        ]
        assert "index 5 has the key of the one at index 2" in str(result.failed[3].error)
        assert "index 9 has the key of the one at index 6" in str(result.failed[5].error)
        by_slug = Conflict(constraint="ix_items_slug")
        keyed = await items.batch_upsert_partial([Slugged("a", "z", None), Slugged("a", "y2", "s")], conflict=by_slug)
        assert [(item.index, type(item.error)) for item in keyed.failed] == [(0, InvalidValue)]
        unkeyed = await items.batch_upsert_partial([Sized("a", "z", 1)], conflict=by_slug)
        assert "give it" in str(unkeyed.failed[0].error)
        assert (await items.batch_upsert_partial([])).data == []


async def test_upserts_lock_in_the_order_of_primary_keys(with_tables: WithTables) -> None:
    """As batches over ids do, whatever the order of the key that the upsert goes by."""
    async with with_tables(ItemRow) as db:
        items = Items(db)
        made = await items.batch_create([Sized("a", f"{place:02}", place) for place in range(30)])
        ids, turned = [item.id for item in made], {f"{place:02}": f"{29 - place:02}" for place in range(30)}
        async with db.begin_session() as db_sess:
            await db_sess.execute(sa.update(ItemRow).values(name=ItemRow.name + "-"))
            for old, new in turned.items():
                await db_sess.execute(sa.update(ItemRow).where(ItemRow.name == f"{old}-").values(name=new))
        for _ in range(5):
            await asyncio.gather(
                *(items.batch_upsert([Sized("a", name, 1) for name in turned]) for _ in range(3)),
                *(items.batch_update(ids, ItemPatch(OptionalState.update(2))) for _ in range(3)),
            )


@pytest.mark.parametrize("listens", [False, True], ids=["one statement", "three"])
async def test_rows_that_come_and_go_meanwhile(with_tables: WithTables, listens: bool) -> None:
    """What was there when the upsert began is created if it is gone, and what was not is changed if it has come."""
    async with with_tables(ItemRow) as db:
        items = Items(db)
        await items.batch_create([Sized("a", "x", 0), Sized("a", "y", 0)])
        with count_statements(db) if listens else nullcontext():
            async with Database(db.engine).begin_session() as other:
                await other.execute(sa.delete(ItemRow).where(ItemRow.name == "y"))
                await other.execute(sa.insert(ItemRow).values(domain="a", name="z", version=1))
                call = asyncio.create_task(items.batch_upsert([Sized("a", name, 5) for name in "zyxw"]))
                assert await is_waited_for(other, call)
            done = (await call).succeeded
        assert [(item.data.name, item.data.size, item.inserted) for item in done] == [
            ("z", 5, False),
            ("y", 5, True),
            ("x", 5, False),
            ("w", 5, True),
        ]
        assert [item.data.version for item in done] == [2, 1, 2, 1]


async def test_forty_thousand_specs_in_one_call(any_tables: WithTables) -> None:
    """Half of them there, half of them new, in shuffled order."""
    async with any_tables(ItemRow) as db:
        # SQLite takes rows one by one, and has a limit of its own: 32,766 parameters.
        number = 40_000 if db.engine.dialect.name == "postgresql" else 33_000
        items, places = Items(db), list(range(number))
        random.Random(1).shuffle(places)
        await items.load(Sized("a", f"{place}", 0) for place in places if place % 2)
        done = await items.batch_upsert([Sized("a", f"{place}", place) for place in places])
        assert [item.data.size for item in done.succeeded] == places
        assert [item.inserted for item in done.succeeded] == [place % 2 == 0 for place in places]


async def test_overlapping_upserts_never_deadlock(with_tables: WithTables) -> None:
    """Rows are locked in the order of their keys, however the specs are ordered; each row is inserted once."""
    async with with_tables(ItemRow) as db:
        items = Items(db, resilience=None)

        async def writer(seed: int) -> int:
            chance, made = random.Random(seed), 0
            for _ in range(25):
                names = chance.sample(range(60), 30)
                done = await items.batch_upsert([Sized("a", f"{name}", seed) for name in names])
                made += sum(item.inserted for item in done.succeeded)
            return made

        assert sum(await asyncio.gather(*map(writer, range(8)))) == 60
        assert await items.count() == 60


async def test_a_row_that_is_there_and_left_out_is_not_tried_time_and_again(with_tables: WithTables) -> None:
    """It is held by then, so that its being out of reach is no work of others."""
    async with with_tables(ItemRow) as db:
        items = Items(db)
        gone = await items.create(Sized("a", "y", 1))
        await items.delete(gone.id)
        with count_statements(db) as sent, pytest.raises(EntityAlreadyExists):
            await items.batch_upsert([Sized("a", name, 2) for name in "xy"])
        assert len([each for each in sent if each.startswith("SAVEPOINT")]) == 1


async def test_concurrent_upserts_of_one_key_insert_it_once(any_tables: WithTables) -> None:
    """Of many tasks that upsert the same key, one is told that it made the row."""
    async with any_tables(ItemRow) as db:
        items = Items(db)
        done = await asyncio.gather(*(items.upsert(Sized("a", "x", place)) for place in range(8)))
        assert sum(item.inserted for item in done) == 1
        assert (await items.search()).items[0].version == 8


@pytest.mark.parametrize("way", ["transaction", "statement", "session", "batch", "partial", "mixed"])
async def test_a_row_that_others_insert_at_once_is_found_by_its_key(with_tables: WithTables, way: str) -> None:
    """Also where PostgreSQL meets another unique key of it first, for which ON CONFLICT does not wait."""
    pausing = (
        "ALTER TABLE items DROP CONSTRAINT uq_items",
        "DROP INDEX ix_items_slug",
        """CREATE OR REPLACE FUNCTION pause_at(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock(77); RETURN $1; END'""",
        "CREATE INDEX ON items (pause_at(name))",  # indexes are met in the order in which they were made
        "CREATE UNIQUE INDEX ix_items_slug ON items (slug) WHERE deleted_at IS NULL",
        "ALTER TABLE items ADD CONSTRAINT uq_items UNIQUE (domain, name)",
    )
    async with with_tables(ItemRow) as db:
        async with db.engine.begin() as connection:
            for statement in pausing:
                await connection.exec_driver_sql(statement)
        writes: Any = "statement" if way == "statement" else "transaction"
        items = Items(Database(db.engine, native=way != "session", writes=writes), resilience=None)
        spec = Slugged("a", "x", "theirs")
        calls = {"batch": lambda: items.batch_upsert([spec]), "partial": lambda: items.batch_upsert_partial([spec])}
        await items.create(Sized("a", "b", 0))
        calls["mixed"] = lambda: items.batch_upsert_partial([spec, Sized("a", "b", 1)])
        call: Any = calls.get(way, lambda: items.upsert(spec))
        async with db.engine.begin() as other:
            await other.exec_driver_sql("SELECT pg_advisory_xact_lock(77)")
            upserting = asyncio.create_task(call())
            assert await is_waited_for(other, upserting)
            await other.exec_driver_sql(
                "INSERT INTO items (domain, name, slug, size, touched, version) VALUES ('a', 'x', 'theirs', 0, 0, 1)"
            )
        done = await upserting
        told = getattr(done, "succeeded", [done])[0]
        told = {item.index: item.data for item in done.succeeded}[0] if way in ("partial", "mixed") else told
        assert (told.inserted, told.data.version) == (False, 2)
        async with db.engine.begin() as connection:
            await connection.exec_driver_sql("DROP FUNCTION pause_at CASCADE")


async def test_another_key_that_is_taken_is_still_refused(
    with_tables: WithTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a second look, of a call of its own, however many specs an iterator gives; in a session at once."""
    monkeypatch.setattr(replay, "MOST_KEPT", 1)
    async with with_tables(ItemRow) as db:
        items = Items(db)
        await items.create(Slugged("a", "x", "theirs"))
        spec = Slugged("a", "y", "theirs")
        many = (each for each in (Slugged("a", "z", "own"), Slugged("a", "b", "too"), spec))
        for upserting in (items.upsert(spec), items.batch_upsert([spec]), items.batch_upsert(many)):
            with pytest.raises(EntityAlreadyExists) as taken:
                await upserting
            assert taken.value.facts.constraint == "ix_items_slug"
        with pytest.raises(EntityAlreadyExists):
            async with db.begin_session():
                await items.upsert(Slugged("a", "y", "theirs"))


@pytest.mark.parametrize("writes", ["transaction", "statement"])
@pytest.mark.parametrize("native", [True, False])
async def test_a_second_look_is_the_last(with_tables: WithTables, native: bool, writes: Any) -> None:
    """In every lane: a key that is taken is asked for twice, which a sequence tells that counts each attempt."""
    async with with_tables(ItemRow) as db:
        items = Items(Database(db.engine, native=native, writes=writes), resilience=None)
        first = (await items.upsert(Slugged("a", "x", "theirs"))).data.id
        for upserting in (items.upsert, lambda spec: items.batch_upsert([spec])):
            with pytest.raises(EntityAlreadyExists):
                await upserting(Slugged("a", "y", "theirs"))
        assert (await items.create(Full("a", "z", None, None))).id == first + 2 + 2 + 1


class LabelRow(Base):
    __tablename__ = "upsert_labels"
    __table_args__ = (
        sa.UniqueConstraint("code", name="uq_labels_code"),
        sa.UniqueConstraint("word", name="uq_labels_word", postgresql_nulls_not_distinct=True),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[int | None]
    word: Mapped[str | None]
    place: Mapped[int] = mapped_column(unique=True, default=0)
    digest: Mapped[bytes | None] = mapped_column(unique=True)


@dataclass(frozen=True)
class Label(Spec[LabelRow]):
    code: int | None
    word: str | None
    place: Any = 0


@dataclass(frozen=True)
class Digested(Spec[LabelRow]):
    digest: Any


class Labels(Repository[LabelRow, LabelRow, int]):
    pass


@pytest.mark.parametrize(
    "key, told",
    [
        ("code", "NULL equals no other NULL, so create"),
        ("word", "NULLS NOT DISTINCT.*search for"),
        ("place", "LabelRow.place .*: give it, or name another key"),
    ],
)
async def test_a_key_that_is_null_is_refused_for_what_it_is(any_tables: WithTables, key: str, told: str) -> None:
    """No upsert goes by it; to create the row is the way out only where that would not clash with another NULL."""
    conflict = Conflict(columns=[getattr(LabelRow, key)])
    async with any_tables(LabelRow) as db:
        labels, empty = Labels(db), Label(None, None, None)
        calls: list[Any] = [labels.upsert, lambda spec, conflict: labels.batch_upsert([spec], conflict=conflict)]
        for call in calls:
            with pytest.raises(InvalidValue, match=told):
                await call(empty, conflict=conflict)
        done = await labels.batch_upsert_partial([Label(1, "a"), empty], conflict=conflict)
        assert [(item.index, type(item.error)) for item in done.failed] == [(1, InvalidValue)]


async def test_a_null_beside_bytes_that_can_be_changed(any_tables: WithTables) -> None:
    """Is refused as any other, with its index."""
    conflict, specs = Conflict(columns=[LabelRow.digest]), [Digested(bytearray(b"a")), Digested(None)]
    async with any_tables(LabelRow) as db:
        with pytest.raises(InvalidValue, match=r"index 1: LabelRow.digest is part of the key .* NULL equals"):
            await Labels(db).batch_upsert(specs, conflict=conflict)
        done = await Labels(db).batch_upsert_partial(specs, conflict=conflict)
        assert ([item.index for item in done.succeeded], [item.index for item in done.failed]) == ([0], [1])


@pytest.mark.parametrize("version", [(17, 0), (18, 0)])
async def test_older_servers_tell_new_rows_by_xmax(with_tables: WithTables, version: tuple[int, ...]) -> None:
    """Both expressions give the same answer, on this server too."""
    async with with_tables(ItemRow) as db:
        dialect = db.engine.dialect
        before = dialect.server_version_info
        dialect.server_version_info = version
        try:
            assert ("xmax" in str(_is_new(row_info(ItemRow), dialect))) == (version < (18,))
            items = Items(db)
            assert (await items.upsert(Sized("a", "x", 1))).inserted
            done = await items.batch_upsert([Sized("a", "x", 2), Sized("a", "y", 2)])
            assert [item.inserted for item in done.succeeded] == [False, True]
        finally:
            dialect.server_version_info = before


class SchemaBase(DeclarativeBase):
    metadata = sa.MetaData(schema="guild")


class GuildRow(SchemaBase):
    __tablename__ = "guilds"
    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str]


class SmithRow(SchemaBase):
    __tablename__ = "smiths"
    id: Mapped[int] = mapped_column(primary_key=True)
    guild_id: Mapped[int] = mapped_column(sa.ForeignKey("guild.guilds.id"))
    guild: Mapped[GuildRow] = relationship(viewonly=True)


@dataclass(frozen=True)
class SmithCreate(Spec[SmithRow]):
    id: int
    guild_id: int


@dataclass(frozen=True)
class GuildScope(SearchScope):
    owner: str

    def to_conditions(self) -> Sequence[Condition]:
        return [SmithRow.guild.has(GuildRow.owner == self.owner)]


class Smiths(Repository[SmithRow, SmithRow, int]):
    pass


async def test_a_subquery_keeps_its_schema(with_tables: WithTables, database: Database) -> None:
    """A scope over tables in a schema of their own reads those and no others, in the conflict branch as well."""
    async with database.begin_session() as db_sess:
        await db_sess.execute(sa.text("CREATE SCHEMA guild"))
    try:
        async with with_tables(GuildRow, SmithRow) as db:
            async with db.begin_session() as db_sess:
                await db_sess.execute(sa.insert(GuildRow), [{"id": 1, "owner": "a"}, {"id": 2, "owner": "b"}])
            smiths = Smiths(db)
            await smiths.batch_create([SmithCreate(1, 1), SmithCreate(2, 2)])
            assert not (await smiths.upsert(SmithCreate(1, 1), scope=GuildScope("a"))).inserted
            with pytest.raises(EntityAlreadyExists):
                await smiths.upsert(SmithCreate(2, 1), scope=GuildScope("a"))
            with pytest.raises(ScopeMismatch):
                await smiths.create(SmithCreate(2, 2), scope=GuildScope("a"))
            with pytest.raises(ScopeMismatch):
                await smiths.create(SmithCreate(3, 99), scope=GuildScope("a"))
    finally:
        async with database.begin_session() as db_sess:
            await db_sess.execute(sa.text("DROP SCHEMA guild CASCADE"))
