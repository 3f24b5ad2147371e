"""Where a database has its rows: a cache keeps those of one place."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import getclosurevars
from typing import Any, Final

from sqlalchemy import Engine

from rowsmith.database import Database


def place_of(db: Database) -> tuple[Any, ...]:
    """Say in which database, and in which schemas of it, rows are read; equal where it is plainly the same."""
    engine = db.engine.sync_engine
    url, kind = engine.url, type(db)
    names: dict[Any, Any] = engine.get_execution_options().get("schema_translate_map") or {}
    schemas = tuple(sorted(names.items(), key=repr))
    own = engine.pool if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:") else None
    is_plain = kind.reading is Database.reading and kind.writing is Database.writing
    sessions = None if is_plain else db  # of its own, which may set what they like
    where = url.get_backend_name(), url.host, url.port, url.database, url.query
    return *where, schemas, own, _arguments(engine), tuple(_listeners(engine)), sessions


def _arguments(engine: Engine) -> Any:
    """Give what connections are made with; what makes them, where that is not SQLAlchemy."""
    pool: Any = engine.pool
    creator = pool._creator
    if getattr(creator, "__module__", "") != "sqlalchemy.engine.create":
        return creator
    given = getclosurevars(creator).nonlocals
    return given.get("cargs_tup"), given.get("cparams", creator)


def _listeners(engine: Engine) -> Iterator[Any]:
    """Give whoever else may set something in a connection when it is made."""
    for listeners in (engine.dialect.dispatch.do_connect, engine.pool.dispatch.connect):
        for listener in listeners:
            if not str(getattr(listener, "__module__", "")).startswith(_HARMLESS):
                yield listener


_HARMLESS: Final = ("rowsmith.", "sqlalchemy.engine.", "sqlalchemy.dialects.", "sqlalchemy.util.")
