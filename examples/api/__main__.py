"""Serve the example application on the world's cities: ``python -m examples.api``, then open ``/docs``."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import uvicorn

from examples.api.app import make_app
from examples.base import Base
from examples.demo.world import World
from examples.domain.repository import DomainRepository
from examples.group.repository import GroupRepository
from rowsmith import Database, Unscoped
from rowsmith.embedded import EmbeddedPostgres


async def serve(host: str = "127.0.0.1", port: int = 8000) -> None:
    """Start a throw-away server, load it, and serve until interrupted."""
    async with EmbeddedPostgres() as server:
        db = Database.from_url(server.url())
        try:
            await load(db)
            await uvicorn.Server(uvicorn.Config(make_app(db), host=host, port=port)).serve()
        finally:
            await db.dispose()


async def load(db: Database) -> None:
    """Make the tables, and put every country and city into them."""
    async with db.engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    world = World.load()
    await DomainRepository(db).load(world.domains())
    await GroupRepository(db).load(world.groups(), scope=Unscoped(reason="the example starts with the whole world"))


def main() -> None:
    """Serve until Ctrl-C, which is how one ends it and no error."""
    with suppress(KeyboardInterrupt):
        asyncio.run(serve())


if __name__ == "__main__":
    main()
