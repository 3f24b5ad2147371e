"""Serve the example application on the world's cities: ``python -m examples.api [port]``, then open ``/docs``."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import uvicorn
from fastapi import FastAPI

from examples.api.app import make_app
from examples.base import Base
from examples.demo.world import World
from examples.domain.repository import DomainRepository
from examples.group.repository import GroupRepository
from rowsmith import Database, Unscoped
from rowsmith.embedded import EmbeddedPostgres


def serve(port: int) -> None:
    """Start a throw-away server, load it, and serve until interrupted."""
    with EmbeddedPostgres() as server:
        db = Database.from_url(server.url())

        @asynccontextmanager
        async def lifespan(_: FastAPI) -> AsyncIterator[None]:
            """Dispose of the database here: once its server has ended, uvicorn cancels what is still awaited."""
            await load(db)
            yield
            await db.dispose()

        uvicorn.run(make_app(db, lifespan), port=port)


async def load(db: Database) -> None:
    """Make the tables, and put every country and city into them."""
    async with db.engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    world = World.load()
    await DomainRepository(db).load(world.domains())
    await GroupRepository(db).load(world.groups(), scope=Unscoped(reason="the example starts with the whole world"))


def main(port: str = "8000") -> None:
    """Serve until Ctrl-C, which is how one ends it and no error."""
    with suppress(KeyboardInterrupt):
        serve(int(port))


if __name__ == "__main__":
    main(*sys.argv[1:])
