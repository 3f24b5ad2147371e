"""Alembic's environment, as its asynchronous template has it: ``alembic -c examples/alembic.ini upgrade head``.

Our own are the tables that it knows (the examples', and rowsmith's for idempotency keys), and ``DATABASE_URL``.
"""

from __future__ import annotations

import asyncio
import os
from importlib import import_module
from logging.config import fileConfig

from alembic import context
from sqlalchemy import Connection, NullPool

from examples.base import Base
from rowsmith import Database, idempotency

for example in ("domain", "group", "fair_share", "presence"):  # a table is known once its module is imported
    import_module(f"examples.{example}.rows")

config = context.config
URL = os.environ.get("DATABASE_URL") or config.get_main_option("sqlalchemy.url", "")
METADATA = [Base.metadata, idempotency.TABLE.metadata]

# On the command line only: a program that calls Alembic has set up its own logging.
if config.config_file_name is not None and config.cmd_opts is not None:
    fileConfig(config.config_file_name, disable_existing_loggers=False)


def migrate_offline() -> None:
    """Print the SQL, for somebody who may do what we may not: ``alembic upgrade head --sql``."""
    context.configure(url=URL, target_metadata=METADATA, literal_binds=True, dialect_opts={"paramstyle": "named"})
    with context.begin_transaction():
        context.run_migrations()


async def migrate_online() -> None:
    """Connect, and bring the database to the revision that is asked for, in one transaction."""
    db = Database.from_url(URL, poolclass=NullPool)  # which knows the driver of a plain postgresql://
    async with db.engine.connect() as connection:
        await connection.run_sync(migrate_by)
    await db.dispose()


def migrate_by(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=METADATA, compare_server_default=True)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    migrate_offline()
else:
    asyncio.run(migrate_online())
