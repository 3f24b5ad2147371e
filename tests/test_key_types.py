"""A primary key of any type: by its value each verb finds the row, or says before anything is sent that it cannot."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import Phase, given, settings
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from columns import COLUMNS
from rowsmith import BadInput, Database, MappingError, OptionalState, Patch, Repository, Spec
from rowsmith.testing import WithTables
from support import count_statements, share

# Of MONEY and its like SQLAlchemy does not say which operators they have, and warns of that.
pytestmark = pytest.mark.filterwarnings("ignore:Type object .* does not refer to an OperatorClass")

NO_KEYS = {"json", "json_without_null", "jsonpath", "point"}
"""Types that PostgreSQL has no order of, and so no index."""
REFUSED = {"vector"}
"""Types of a team's own that take no value as SQLAlchemy hands it on."""


def examples(name: str) -> list[Any]:
    """Give some values of a type, the same each time."""
    found = list[Any]()

    @settings(max_examples=6, database=None, derandomize=True, phases=[Phase.generate])
    @given(COLUMNS[name].values)
    def draw(value: Any) -> None:
        if value is not None:
            found.append(value)

    draw()
    return found[:2]


def keyed(name: str) -> Any:
    """Give a class whose key is of a type, and a repository of it."""

    class Base(DeclarativeBase):
        pass

    class KeyRow(Base):
        __tablename__ = f"key_{name}"
        key: Mapped[Any] = mapped_column(COLUMNS[name].declared(), primary_key=True, autoincrement=False)
        note: Mapped[str]

    @dataclass(frozen=True)
    class KeyData:
        key: Any
        note: str

    @dataclass(frozen=True)
    class KeyCreate(Spec[KeyRow]):
        key: Any
        note: str

    @dataclass(frozen=True)
    class KeyPatch(Patch[KeyRow]):
        note: OptionalState[str]

    class Keys(Repository[KeyRow, KeyData, Any]):
        spec, patch = KeyCreate, KeyPatch

    return KeyRow, Keys


def patch(keys: Any, note: str) -> Any:
    return keys.patch(OptionalState.update(note))


CALLS: dict[str, Callable[[Any, Any], Awaitable[Any]]] = {
    "create": lambda keys, key: keys.create(keys.spec(key, "create")),
    "batch_create": lambda keys, key: keys.batch_create([keys.spec(key, "batch_create")]),
    "batch_create_partial": lambda keys, key: keys.batch_create_partial([keys.spec(key, "create_partial")]),
    "get": lambda keys, key: keys.get(key),
    "batch_get": lambda keys, key: keys.batch_get([key]),
    "update": lambda keys, key: keys.update(key, patch(keys, "update")),
    "batch_update": lambda keys, key: keys.batch_update([key], patch(keys, "batch_update")),
    "batch_update_each": lambda keys, key: keys.batch_update_each({key: patch(keys, "each")}),
    "batch_update_partial": lambda keys, key: keys.batch_update_partial({key: patch(keys, "partial")}),
    "upsert": lambda keys, key: keys.upsert(keys.spec(key, "upsert")),
    "batch_upsert": lambda keys, key: keys.batch_upsert([keys.spec(key, "batch_upsert")]),
    "batch_upsert_partial": lambda keys, key: keys.batch_upsert_partial([keys.spec(key, "upsert_partial")]),
    "purge": lambda keys, key: keys.purge(key),
    "batch_purge": lambda keys, key: keys.batch_purge([key]),
    "batch_purge_partial": lambda keys, key: keys.batch_purge_partial([key]),
}
"""What is done with each key, with its row there, or for those that make it without."""
MAKING = ("create", "batch_create", "batch_create_partial")
SINGLE = ("create", "get", "update", "purge")
"""Which any key will do for that a row was made with."""

LANES = [
    pytest.param(name, lane, id=f"{name}-{lane}")
    for name, kind in COLUMNS.items()
    for lane in ["native", "sqlalchemy", *(["sqlite"] if kind.everywhere else [])]
    if name not in NO_KEYS or lane == "sqlite"
]


ALL_LANES = [
    pytest.param(name, lane, id=f"{name}-{lane}")
    for name, kind in COLUMNS.items()
    for lane in ["native", *(["sqlite"] if kind.everywhere else [])]
]


@pytest.mark.parametrize("name, each_lane", share(LANES, 3), indirect=["each_lane"])
async def test_each_verb_finds_the_row(name: str, each_lane: Database, lane_tables: WithTables) -> None:
    """Alone or among others; what cannot be done with such a key is refused before anything is sent."""
    row, repository = keyed(name)
    is_counted, seen = not each_lane.native, 0  # who listens has the other lane taken
    async with lane_tables(row) as db:
        keys = repository(db)
        for given in examples(name):
            made, refused = await outcome(keys.create(keys.spec(given, "made")))
            if refused is not None or made.key is None:  # which a decorator makes of one
                continue
            key = made.key  # as it is stored
            for verb, call in CALLS.items():
                if not is_hashable(key) and verb in ("batch_update_each", "batch_update_partial"):
                    continue
                await empty(db, row)
                if verb not in MAKING:
                    await keys.create(keys.spec(key, "made"))
                with count_statements(db) if is_counted else nullcontext([]) as sent:
                    done, refused = await outcome(call(keys, key))
                assert refused is not None or len(getattr(done, "succeeded", [done])) == 1, (verb, done)
                assert refused is None or verb not in SINGLE, (verb, refused)
                assert refused is None or not [sql for sql in sent if "SAVEPOINT" not in sql], (verb, refused)
            seen += 1
            break
        assert seen or name in REFUSED


async def empty(db: Database, row: type[Any]) -> None:
    async with db.engine.begin() as connection:
        await connection.execute(sa.delete(row))


async def outcome(call: Awaitable[Any]) -> tuple[Any, Exception | None]:
    """Give what a call gives, or the error by which it, or the only item of a partial form, is refused."""
    try:
        done = await call
    except (BadInput, MappingError) as exc:
        return None, exc
    failed = getattr(done, "failed", ())
    return (None, failed[0].error) if failed and isinstance(failed[0].error, BadInput) else (done, None)


def is_hashable(key: object) -> bool:
    try:
        hash(key)
    except TypeError:
        return False
    return True


def held(name: str) -> Any:
    """Give a class whose key the server makes, with a column of a type, and a repository of it."""

    class Base(DeclarativeBase):
        pass

    class HeldRow(Base):
        __tablename__ = f"held_{name}"
        id: Mapped[int] = mapped_column(primary_key=True)
        value: Mapped[Any] = mapped_column(COLUMNS[name].declared(), nullable=True)

    @dataclass(frozen=True)
    class HeldData:
        id: int
        value: Any

    @dataclass(frozen=True)
    class HeldCreate(Spec[HeldRow]):
        value: Any

    class Held(Repository[HeldRow, HeldData, int]):
        spec = HeldCreate

    return HeldRow, Held


@pytest.mark.parametrize("name, each_lane", ALL_LANES, indirect=["each_lane"])
async def test_many_rows_are_made_as_each_alone(name: str, each_lane: Database, lane_tables: WithTables) -> None:
    """Those whose keys the server makes, of which nothing else says of which type a value is."""
    row, repository = held(name)
    async with lane_tables(row) as db:
        rows = repository(db)
        alone = [await outcome(rows.create(rows.spec(value))) for value in examples(name)]
        fit = [value for value, (_, refused) in zip(examples(name), alone, strict=True) if refused is None]
        together = await rows.batch_create([rows.spec(value) for value in fit])
        assert [item.value for item in together] == [made.value for made, refused in alone if refused is None]


class SomeBase(DeclarativeBase):
    pass


class SomeRow(SomeBase):
    __tablename__ = "key_of_some_row"
    id: Mapped[int] = mapped_column(primary_key=True)


NO_IDS: list[Any] = [
    *(sa.text("1"), sa.null(), sa.true(), sa.literal(1), sa.column("key"), sa.bindparam("key"), sa.func.now()),
    *(SomeRow.id, SomeRow.id == SomeRow.id, sa.select(SomeRow.id), SomeRow, SomeRow()),
]


@pytest.mark.parametrize("name, each_lane", share(ALL_LANES, 3), indirect=["each_lane"])
async def test_no_sql_is_an_id(name: str, each_lane: Database, lane_tables: WithTables) -> None:
    """Of any type, in any verb: SQL given for an id is refused, and so is a row or the class of one."""
    row, repository = keyed(name)
    async with lane_tables() as db:  # nothing is sent, so that no table is needed
        keys = repository(db)
        for verb, call in CALLS.items():
            if "create" in verb or "upsert" in verb:
                continue
            for given in [*NO_IDS, row.key]:
                if is_hashable(given) or verb not in ("batch_update_each", "batch_update_partial"):
                    _, refused = await outcome(call(keys, given))
                    assert isinstance(refused, BadInput), (verb, given)
                    assert "object at 0x" not in str(refused)
