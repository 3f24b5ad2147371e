"""Writes that are done once for each idempotency key, however often they are asked for.

The key is taken in the transaction of the write, by a row in a table of rowsmith's own: another caller with the same
key waits there until that transaction ends, and finds what it wrote, or that it wrote nothing. So a key is kept exactly
where its write is kept. What is kept of a write is a digest of what was asked for and the primary keys of its rows; the
key itself is kept as a digest too, together with the table and the scope that it was used for.
"""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from hashlib import sha256
from typing import Any, Final, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import UnsupportedCompilationError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeEngine

from rowsmith.conditions import limited
from rowsmith.errors import DatabaseFault, IdempotencyMismatch, InvalidValue
from rowsmith.execution import note_undone, writes_of
from rowsmith.execution.driver import connection_of
from rowsmith.execution.kinds import UNDEFINED_TABLE
from rowsmith.mapping import Patch, RowInfo, Spec, key_shape
from rowsmith.mapping.types import Comparison, Family, binds_itself, column_type, layers, stored_form
from rowsmith.operations.arrays.keys import Key
from rowsmith.operations.blocks.gate import schemas_of
from rowsmith.operations.call import Call, TData, TRow
from rowsmith.operations.present import present_keys
from rowsmith.operations.results import Upserted
from rowsmith.orders import OrderTerm
from rowsmith.pagination.fingerprint import Untellable, fingerprint, stable_text
from rowsmith.pagination.key_values import pack, unpack
from rowsmith.sql import is_sql
from rowsmith.state import OptionalState, TriState


class _Base(DeclarativeBase):
    metadata = sa.MetaData()


class IdempotencyKeyRow(_Base):
    """One key that was used, and what for; none of a row's values stand in it but its primary key.

    Attributes:
        key: a digest of the table that was written to, the scope, and the key as it was given.
        operation: the verb that took the key first.
        body: a digest of what was asked for; NULL where the key was taken and its write not done.
        kept: the primary keys of the rows written, in a form of rowsmith's own.
        created_at: when the key was taken; :func:`rowsmith.idempotency.purge` goes by it.
    """

    __tablename__ = "rowsmith_idempotency_keys"

    key: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    operation: Mapped[str] = mapped_column(sa.Text)
    body: Mapped[str | None] = mapped_column(sa.String(64))
    kept: Mapped[bytes | None]
    created_at: Mapped[dt.datetime] = mapped_column(
        sa.DateTime(timezone=True), server_default=sa.func.now(), index=True
    )


KEYS: Final = cast("sa.Table", IdempotencyKeyRow.__table__)
"""The table of the keys that were used."""

_MISSING: Final = (
    f"there is no table {KEYS.name} to keep idempotency keys in: create it with the statements of "
    "rowsmith.idempotency.ddl(), or in a migration after rowsmith.idempotency.add_to(Base.metadata)"
)
_FRAME: Final = struct.Struct(">?I")
"""Before each primary key that is kept: whether its row was new, and the length of what follows."""

Written = Sequence[Upserted[Key]]
"""The primary keys of rows that were written, and of each whether it is new."""


async def once(
    call: Call[TRow, TData],
    key: str,
    asked: Callable[[], Sequence[object]],
    write: Callable[[Call[TRow, Key]], Awaitable[Written]],
) -> list[Upserted[TData]]:
    """Do a write, unless it was done under its key before, and give its rows as they are now.

    Args:
        call: the call, under its scope.
        key: the caller's own name for this write; another scope's or table's equal key is another key.
        asked: gives all that is asked for, once it is known to fit: what does not is refused before the key is taken.
        write: does the write; what it is given makes primary keys of rows.

    Raises:
        IdempotencyMismatch: the key was used with another body or verb.
        EntityNotFound: the key was used, and a row that it was used for is gone since, or out of sight for this caller.
        DatabaseFault: there is no table to keep keys in; the message says how to create it.
    """
    use, sent = await _use(call, key, asked()), writes_of(call.db_sess)
    before = await _take(call, use)
    note_undone(call.db_sess, sent)  # a key without a body is free
    if before.body is not None and (before.operation, before.body) != (call.operation, use.body):
        raise IdempotencyMismatch
    if before.body is None:
        entity: Any = replace(cast("Any", call.entity), shape=key_shape(call.info))
        written = await write(replace(cast("Any", call), entity=entity))
        terms = _terms(call)
        bodies = [(item.inserted, pack(item.data, terms)) for item in written]
        packed = b"".join(_FRAME.pack(inserted, len(body)) + body for inserted, body in bodies)
        kept = {"operation": call.operation, "body": use.body, "kept": packed}
        await call.execute(limited(sa.update(KEYS).values(kept), KEYS.c.key == use.key))
        conditions = list[sa.ColumnElement[bool]]()
    else:
        written, conditions = list(_unpacked(call, before.kept)), call.conditions()
    keys = [item.data for item in written]
    found = await present_keys(call, keys, conditions)
    if missing := [key for key in keys if key not in found]:
        raise call.absent([key[0] if len(key) == 1 else key for key in missing])
    return [Upserted(found[item.data], item.inserted) for item in written]


@dataclass(frozen=True)
class _Use:
    """A key and what it is used for, as digests."""

    key: str
    body: str


async def _use(call: Call[object, object], key: str, body: Sequence[object]) -> _Use:
    # Before there is a connection: what cannot be told apart is refused before anything is sent.
    scope, text = _texts(call, body)
    # With a schema for each tenant, the table is this tenant's.
    schemas = schemas_of(call.db_sess, await connection_of(call.db_sess, call.origin()))
    table = call.info.table
    name = f"{schemas.get(table.schema, table.schema)}.{table.name}"
    digest = _digest(name.encode(), scope, key.encode("utf-8", "surrogatepass"))
    # The key stands before the body, so that equal bodies under two keys have nothing in common.
    return _Use(digest, _digest(digest.encode(), text.encode("utf-8", "surrogatepass")))


def _texts(call: Call[object, object], body: Sequence[object]) -> tuple[bytes, str]:
    """Give what stands for the scope and for the body.

    Raises:
        InvalidValue: something of them has no text that tells it from another of its kind.
    """
    try:
        told = partial(_as_stored, call.dialect)
        return fingerprint((), call.limits.conditions, stable_text), stable_text(body, told=told)
    except Untellable as untold:
        kind = str(untold)
    except RecursionError:
        kind = "what holds itself"
    except UnsupportedCompilationError:
        kind = "SQL that no dialect compiles"
    raise InvalidValue(
        f"{call.operation} has {kind} in its body or scope, which an idempotency key cannot tell from another: give "
        "dataclasses, pydantic models, mappings, lists, plain values and SQL, or no idempotency_key"
    )


def _as_stored(dialect: Dialect, given: object, parts: Mapping[str, Any]) -> Mapping[str, Any]:
    return (
        as_stored(cast("Any", given).__rowsmith_info__, parts, dialect) if isinstance(given, (Spec, Patch)) else parts
    )


def as_stored(info: RowInfo[object], values: Mapping[str, Any], dialect: Dialect) -> Mapping[str, Any]:
    """Give values of attributes so that those are equal that are stored as the same, and no others."""
    kinds = {name: info.columns[name].type for name in values if name in info.columns}
    return {name: _one(kinds[name], value, dialect) if name in kinds else value for name, value in values.items()}


def _one(kind: TypeEngine[Any], part: Any, dialect: Dialect) -> Any:
    if isinstance(part, (OptionalState, TriState)):
        value: Any = cast("Any", part).to_value()
        return cast("Any", part) if value is None else OptionalState.update(_one(kind, value, dialect))
    if part is None or is_sql(part):
        return part
    # Its dialect's own type says less of PostgreSQL's floats of single precision, and SQLite has none.
    forms = [stored_form(kind), stored_form(kind, dialect)][dialect.name != "postgresql" :]
    record = next((record for record in map(column_type, forms) if record.beside.one is not None), None)
    if record is None or record.beside.one is None:
        return part
    if record.beside.family is Family.NUMBERS and any(map(binds_itself, layers(kind))):
        return part  # which a team's type may make other numbers of
    if isinstance(part, float) and record.compared is Comparison.DECIMAL and dialect.name == "sqlite":
        part = Decimal(repr(part))  # which is kept there as it is written
    with suppress(ArithmeticError):  # of a number that no column holds
        return record.beside.one(part)
    return part


def _digest(*parts: bytes) -> str:
    digest = sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


async def _take(call: Call[object, object], use: _Use) -> Any:
    """Take the key, once nobody else has it any more, and give what is kept of it."""
    make = postgresql.insert if call.dialect.name == "postgresql" else sqlite.insert
    statement = make(KEYS).values(key=use.key, operation=call.operation)
    # DO NOTHING would neither lock the row that is there nor give it.
    taken = statement.on_conflict_do_update(index_elements=[KEYS.c.key], set_={"key": statement.excluded.key})
    try:
        return (await call.execute(taken.returning(KEYS.c.operation, KEYS.c.body, KEYS.c.kept))).one()
    except DatabaseFault as exc:
        if not await _is_absent(call, exc):
            raise
        facts = exc.facts
    raise DatabaseFault(_MISSING, facts=facts)


async def _is_absent(call: Call[object, object], failure: DatabaseFault) -> bool:
    if call.dialect.name == "postgresql":
        return failure.facts.sqlstate == UNDEFINED_TABLE
    there = sa.text("SELECT 1 FROM sqlite_master WHERE name = :name")
    return (await call.execute(there, parameters={"name": KEYS.name})).first() is None


def _terms(call: Call[object, object]) -> list[OrderTerm]:
    return [OrderTerm(column, descending=False, nulls_first=False, nullable=False) for column in call.info.key_columns]


def _unpacked(call: Call[object, object], kept: bytes) -> Iterator[Upserted[Key]]:
    terms, place = _terms(call), 0
    while place < len(kept):
        inserted, length = _FRAME.unpack_from(kept, place)
        place += _FRAME.size + length
        yield Upserted(unpack(kept[place - length : place], terms), inserted)
