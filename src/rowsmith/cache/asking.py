"""Which calls a cache may answer, and by which key: decided from id and scope alone, without a database.

A scope is a part of the key. It may be one where it does no more than compare columns of the row with values: what such
a scope lets through changes only when the row itself does. Whatever else a scope asks (other rows, the time, whether
its tenant is there at all) is asked of the database.
"""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final, cast

from asyncpg.pgproto import pgproto
from sqlalchemy import ARRAY, Engine, Text, bindparam, text
from sqlalchemy.orm import Session

from rowsmith.cache.copies import is_never_copied
from rowsmith.cache.place import translated_schemas
from rowsmith.cache.source import Under
from rowsmith.database import Database
from rowsmith.errors import MappingError
from rowsmith.execution import translated
from rowsmith.execution.hearing import Hearing
from rowsmith.mapping import RowInfo
from rowsmith.mapping.types import binds_itself
from rowsmith.operations import Entity
from rowsmith.operations.arrays.same import are_exact
from rowsmith.operations.plans import Plans
from rowsmith.operations.settled import draw_scope
from rowsmith.scope import SearchScope, Unscoped

_IDS: Final = (int, str, uuid.UUID, dt.date, bytes)
"""Classes of keys that are equal in Python and as text just where they are in the database."""

_COMPARED: Final = frozenset({int, str, bool, float, bytes, Decimal, uuid.UUID, dt.date, dt.datetime, dt.time})
"""Classes of values that a scope's comparisons are told apart by; members of enumerations are, too."""

_SPLIT: Final = frozenset({float, Decimal, dt.datetime, dt.time})
"""Those of which equal ones may be two to the database: an hour that comes twice, digits kept as text."""


class Asking:
    """Tells for one entity what a call asks of its cache.

    Raises:
        MappingError: the entity cannot be kept in a cache; the message says why.
    """

    def __init__(self, entity: Entity[Any, Any], engine: Engine) -> None:
        info = entity.info
        _check_kept(entity)
        self._kinds = [_kind_of_key(info, name, engine) for name in info.primary_key]
        self._sole = self._kinds[0] if len(self._kinds) == 1 else None
        self._plans, self._scope_required = Plans[Any](info), entity.scope_required
        self._engine, self._info = engine, info
        # What these bind may be another thing each time, such as a digest by the key of whoever asks.
        self._bound_by_teams = {name for name, column in info.columns.items() if binds_itself(column.type)}
        self._is_spelt_once = engine.dialect.name != "postgresql" or str not in self._kinds
        own, sessions = engine.dispatch, Session(engine).dispatch
        self._hearing = Hearing(lambda pool: (*_of_sessions(sessions), *_of_engines(own), pool.checkout), _is_harmless)

    def key_of(self, id: Any) -> Any:
        """Give an id as entries have it: instead of a NamedTuple, or a UUID of the driver's, the plain one.

        None where it is not plainly a key, which is one that Python tells from others as the database does.
        """
        if self._sole is not None:
            key = id if id.__class__ is self._sole else _plain(id)
            return key if key.__class__ is self._sole else None
        is_key = id.__class__ is tuple or (isinstance(id, tuple) and hasattr(cast("Any", id), "_fields"))
        key = tuple(map(_plain, cast("tuple[Any, ...]", id))) if is_key else ()
        return key if [part.__class__ for part in key] == self._kinds else None

    def under(self, scope: Any, include_deleted: object) -> tuple[Under | None, SearchScope | None]:
        """Say under what a row is to be seen, None where only the database can; and what to give that as its scope."""
        is_plain = include_deleted is False or include_deleted is True
        if scope is None or scope.__class__ is Unscoped:
            is_asked = is_plain and not (scope is None and self._scope_required) and not self._is_told_elsewhere()
            return (include_deleted,) if is_asked else None, scope
        key, values = list[Any]((include_deleted,)), list[Any]()
        scope, is_compared = draw_scope(self._plans, scope, key, values)  # asked once, for the key and the statement
        if not is_compared or not is_plain or self._is_told_elsewhere() or not self._bound_by_teams.isdisjoint(key):
            return None, scope
        for value in map(_plain, values):
            if value.__class__ not in _COMPARED and not isinstance(value, enum.Enum):
                return None, scope
            key += value.__class__, repr(value) if value.__class__ in _SPLIT else value
        return tuple(key), scope

    async def keep_spelt_once(self, db: Database) -> None:
        """Look, once, whether the database holds two texts for one key that the mapping tells from each other.

        Raises:
            MappingError: it does: of the two copies of a row a write would end one.
        """
        if self._is_spelt_once:
            return
        table, info = self._info.table, self._info
        preparer, schemas = self._engine.dialect.identifier_preparer, translated_schemas(self._engine)
        schema = schemas.get(table.schema, table.schema)
        name = preparer.format_table(table, use_schema=False)
        on = name if schema is None else f"{preparer.quote_schema(schema)}.{name}"
        names = {info.columns[name].name: name for name in info.primary_key}
        async with translated(), db.begin_readonly_session() as db_sess:
            found = await db_sess.execute(_FOLDED, {"on": on, "names": list(names)})
        if folded := found.scalars().first():
            raise _unkeepable(info, names[folded])
        self._is_spelt_once = True

    def _is_told_elsewhere(self) -> bool:
        """Say whether somebody listens who could have a statement see other rows: of another tenant, for instance."""
        return self._hearing.heard(self._engine.pool.dispatch) is not None


def _is_harmless(listener: object) -> bool:
    """Say whether a listener only looks: it is known, or SQLAlchemy drops what it makes of SQL."""
    is_known = str(getattr(listener, "__module__", "")).startswith(_ONLY_LOOK)
    return is_known or getattr(listener, "__name__", "") == "wrap_before_cursor_execute"


_ONLY_LOOK: Final = ("rowsmith.", "opentelemetry.instrumentation.sqlalchemy.")
"""Whose listeners change no rows: OpenTelemetry's gives back the SQL as it is, or with a comment."""

_of_sessions: Final = attrgetter("do_orm_execute", "after_begin")
_of_engines: Final = attrgetter(
    *("begin", "engine_connect", "set_connection_execution_options", "before_execute", "before_cursor_execute")
)


def _check_kept(entity: Entity[object, object]) -> None:
    """Refuse data that other rows than its own decide about: nobody would know when it is no longer true."""
    name, layout = entity.shape.into.__name__, entity.shape.layout
    advice = "give the cache a data class that only has columns of the row"
    if entity.shape.into is entity.info.row:
        raise MappingError(f"a cache keeps data, not rows: {advice}")
    if is_never_copied(entity.shape.into):
        raise MappingError(
            f"{name} has a field that cannot be copied, as each caller's own has to be: write dict or bytes for it"
        )
    if layout.joins or layout.collections or not (layout.names or entity.shape.is_row):
        raise MappingError(f"{name} has more than columns of {entity.info.row.__name__}: {advice}")
    relationships = entity.info.mapper.relationships
    if entity.shape.is_row and (entity.loads or any(one.lazy not in _ON_DEMAND for one in relationships)):
        raise MappingError(f"to_data makes {name} of related rows, too: {advice}")


_ON_DEMAND: Final = ("select", "raise", "raise_on_sql", "noload", "dynamic", "write_only", True, None)
"""How relationships are loaded that are not loaded with their row."""


def _plain(value: Any) -> Any:
    """Give a value of a class that entries have: what came from the database is equal to it, and of the driver's."""
    return uuid.UUID(int=value.int) if value.__class__ is pgproto.UUID else value


def _kind_of_key(info: RowInfo[object], name: str, engine: Engine) -> type[Any]:
    """Give the class of a key column's values.

    Raises:
        MappingError: Python does not tell them apart as the database does.
    """
    column = info.columns[name]
    kind = column.type.python_type
    if kind not in _IDS or not are_exact([column], engine.dialect):
        raise _unkeepable(info, name)
    return kind


def _unkeepable(info: RowInfo[object], name: str) -> MappingError:
    return MappingError(
        f"{info.row.__name__}.{name} is no key for a cache: only the database knows which of its values are equal. "
        f"Keys are of {', '.join(kind.__name__ for kind in _IDS)}, without a collation"
    )


_FOLDED: Final = text(
    "SELECT attname FROM pg_attribute JOIN pg_type t ON t.oid = atttypid LEFT JOIN pg_type b ON b.oid = t.typbasetype"
    " LEFT JOIN pg_collation c ON c.oid = attcollation WHERE attrelid = to_regclass(:on) AND attname = ANY(:names)"
    " AND (coalesce(b.typname, t.typname) IN ('bpchar', 'citext') OR NOT c.collisdeterministic)"
).bindparams(bindparam("names", type_=ARRAY(Text)))
