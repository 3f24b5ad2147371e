"""Which databases are one place for a cache: none is connected to, for it is told before anything is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import create_async_engine

from rowsmith import Database
from rowsmith.cache.place import place_of

URL = "postgresql+asyncpg://me@host/data"


def with_path(path: str) -> Database:
    return Database.from_url(URL, connect_args={"server_settings": {"search_path": path}})


def with_listener(target: str, name: str, listener: Any) -> Database:
    engine = create_async_engine(URL)
    event.listen(getattr(engine, target), name, listener)
    return Database(engine)


def one_path(*_: Any) -> None: ...
def another_path(*_: Any) -> None: ...


async def connect() -> Any: ...
async def connect_elsewhere() -> Any: ...


class Tenants(Database):
    """Has each of its sessions see rows of one tenant."""

    def reading(self, **options: Any) -> Any:
        return super().reading(**options)


class Named(Database):
    """Sees what any database does."""


@pytest.mark.parametrize(
    "one, another",
    [
        (lambda: with_path("a"), lambda: with_path("b")),
        (lambda: Database.from_url(URL), lambda: with_path("a")),
        (lambda: Database.from_url(URL), lambda: Database.from_url(URL.replace("me", "you"))),
        (
            lambda: with_listener("sync_engine", "connect", one_path),
            lambda: with_listener("sync_engine", "connect", another_path),
        ),
        (
            lambda: with_listener("sync_engine", "do_connect", one_path),
            lambda: with_listener("sync_engine", "do_connect", another_path),
        ),
        (
            lambda: Database.from_url(URL, async_creator=connect),
            lambda: Database.from_url(URL, async_creator=connect_elsewhere),
        ),
        (lambda: Tenants.from_url(URL), lambda: Tenants.from_url(URL)),
        (lambda: Database.from_url("sqlite://"), lambda: Database.from_url("sqlite://")),
        (lambda: Database.from_url("sqlite:///a"), lambda: Database.from_url("sqlite:///b")),
    ],
    ids=["path", "no-path", "user", "connect", "do_connect", "creator", "sessions", "memory", "file"],
)
def test_what_could_see_other_rows_is_another_place(
    one: Callable[[], Database], another: Callable[[], Database]
) -> None:
    """Whoever says so: the URL, its connections, what listens to them, or its sessions."""
    assert place_of(one()) != place_of(another())


@pytest.mark.parametrize(
    "make",
    [
        lambda: Database.from_url(URL),
        lambda: with_path("a"),
        lambda: with_listener("sync_engine", "connect", one_path),
        lambda: Named.from_url(URL),
        lambda: Database.from_url("sqlite:///a"),
    ],
    ids=["url", "path", "connect", "subclass", "file"],
)
def test_two_engines_of_the_same_rows_are_one_place(make: Callable[[], Database]) -> None:
    """They may share a cache."""
    assert place_of(make()) == place_of(make())
