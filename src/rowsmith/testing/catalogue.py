"""What stands in a database's catalogue, so that what was added can be told and dropped."""

from __future__ import annotations

from typing import TypeAlias

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

Objects: TypeAlias = set[tuple[str, str]]
"""Objects of a database: their kind, as ``DROP`` names it, and their name, quoted and with its schema."""

LOCK_WAIT = "2s"

# In the order they are dropped in; CASCADE takes what depends on them, circles of foreign keys included.
_KINDS = ("TABLE", "VIEW", "MATERIALIZED VIEW", "SEQUENCE", "ROUTINE", "TYPE", "SCHEMA", "EXTENSION", "TRIGGER")

# Without what belongs to another object and goes with it: deptype a and i (a column's sequence), e (an extension's).
# A partitioned table belongs to itself in that way: to the columns of its key. What PostgreSQL brings itself, thousands
# of functions, has an oid below 16384 (its manual: "System Catalog Initial Data", on FirstNormalObjectId).
_POSTGRESQL = """
with mine as (
  select 'pg_class'::regclass as class, oid, relnamespace as space, oid::regclass::text as name,
         case relkind when 'v' then 'VIEW' when 'm' then 'MATERIALIZED VIEW' when 'S' then 'SEQUENCE'
                      else 'TABLE' end as kind
    from pg_class where oid >= 16384 and relkind in ('r', 'p', 'v', 'm', 'S')
  union all
  select 'pg_type'::regclass, oid, typnamespace, oid::regtype::text, 'TYPE'
    from pg_type where oid >= 16384 and typtype in ('e', 'd', 'r')
  union all
  select 'pg_proc'::regclass, oid, pronamespace, oid::regprocedure::text, 'ROUTINE' from pg_proc where oid >= 16384
  union all
  select 'pg_namespace'::regclass, oid, oid, quote_ident(nspname), 'SCHEMA' from pg_namespace where oid >= 16384
  union all
  select 'pg_extension'::regclass, oid, extnamespace, quote_ident(extname), 'EXTENSION'
    from pg_extension where oid >= 16384
)
select mine.kind, mine.name from mine join pg_namespace on pg_namespace.oid = mine.space
 where (mine.kind = 'EXTENSION' or nspname !~ '^(pg_|information_schema$)')
   and not exists (select from pg_depend where classid = mine.class and objid = mine.oid
                      and refobjid <> mine.oid and deptype in ('a', 'i', 'e'))
"""

_SQLITE = """
select upper(type) as kind, '"' || replace(name, '"', '""') || '"' as name from sqlite_master
 where type in ('table', 'view', 'trigger') and sqlite_master.name not like 'sqlite~_%' escape '~'
"""

_END_HOLDERS = """
select pid, pg_terminate_backend(pid, 5000) from (
  select distinct pid from pg_locks
   where locktype = 'relation' and granted and pid <> pg_backend_pid() and relation = any(
     select to_regclass(name) from unnest(cast(:names as text[])) as name)) as holders
 order by pid
"""


async def catalogue(connection: AsyncConnection) -> Objects:
    """Read what there is: tables, views, sequences, routines, types, schemas and extensions."""
    query = _POSTGRESQL if connection.dialect.name == "postgresql" else _SQLITE
    return {(entry.kind, entry.name) for entry in await connection.exec_driver_sql(query)}


async def drop(connection: AsyncConnection, made: Objects) -> None:
    """Drop these objects; on PostgreSQL give up after :data:`LOCK_WAIT` (SQLSTATE 55P03) where one is locked."""
    is_postgresql = connection.dialect.name == "postgresql"
    limit = f"SET LOCAL lock_timeout = '{LOCK_WAIT}'" if is_postgresql else "PRAGMA defer_foreign_keys = ON"
    await connection.exec_driver_sql(limit)
    for kind, name in sorted(made, key=lambda entry: (_KINDS.index(entry[0]), entry[1])):
        await connection.exec_driver_sql(f"DROP {kind} IF EXISTS {name}{' CASCADE' if is_postgresql else ''}")


async def end_holders(connection: AsyncConnection, made: Objects) -> list[int]:
    """End the other connections that hold locks on these tables; give their process ids."""
    names = [name for kind, name in made if kind == "TABLE"]
    return list(await connection.scalars(sa.text(_END_HOLDERS), {"names": names}))
