"""Where a database has its rows: a cache keeps those of one place."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import getclosurevars
from itertools import chain
from typing import Any, Final

from sqlalchemy import Engine

from rowsmith.database import Database


def place_of(db: Database) -> tuple[Any, ...]:
    """Say in which database, and in which schemas of it, rows are read; equal where it is plainly the same."""
    engine = db.engine.sync_engine
    url, kind = engine.url, type(db)
    schemas = tuple(sorted(translated_schemas(engine).items(), key=repr))
    own = engine.pool if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:") else None
    is_plain = kind.reading is Database.reading and kind.writing is Database.writing
    sessions = None if is_plain else db  # of its own, which may set what they like
    where = url.get_backend_name(), url.host, url.port, url.database, url.query
    pool: Any = engine.pool
    made_with = creator = pool._creator
    if getattr(creator, "__module__", "") == "sqlalchemy.engine.create":  # else it is whoever makes them that counts
        given = getclosurevars(creator).nonlocals
        made_with = given.get("cargs_tup"), given.get("cparams", creator)
    listeners = chain(engine.dialect.dispatch.do_connect, engine.pool.dispatch.connect)
    # Whoever else may set something in a connection when it is made.
    others = tuple(one for one in listeners if not str(getattr(one, "__module__", "")).startswith(_HARMLESS))
    return *where, schemas, own, made_with, others, sessions


def translated_schemas(engine: Engine) -> Mapping[Any, Any]:
    """Give the schemas that an engine has instead of those of the mapping."""
    return engine.get_execution_options().get("schema_translate_map") or {}


_HARMLESS: Final = ("rowsmith.", "sqlalchemy.engine.", "sqlalchemy.dialects.", "sqlalchemy.util.")
