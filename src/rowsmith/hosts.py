"""Which servers an URL names, and the engines to them: of several the driver goes to the one that takes writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, cast

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from rowsmith.errors import MappingError, MissingExtra, kind_of

_POSTGRESQL: Final = "postgresql+asyncpg"
_DRIVERS: Final = {"postgresql": _POSTGRESQL, "postgres": _POSTGRESQL, "sqlite": "sqlite+aiosqlite"}

# An in-memory SQLite database lives in one connection; its sessions must wait for each other.
_ONE_CONNECTION: Final = {"poolclass": AsyncAdaptedQueuePool, "pool_size": 1, "max_overflow": 0}

PORT: Final = "5432"
_TARGET: Final = "target_session_attrs"


@dataclass(frozen=True)
class Engines:
    """The engines of a group of servers.

    ``fallen`` are to those of the primary's hosts that may come back as standbys, once another one is promoted.
    """

    primary: AsyncEngine
    replicas: Sequence[AsyncEngine]
    fallen: Sequence[AsyncEngine]


def engines_of(url: str | URL, replicas: Sequence[str | URL], given: Mapping[str, object]) -> Engines:
    """Make the engines for URLs.

    Args:
        url: of the primary.
        replicas: of the standbys.
        given: options of each engine, for SQLAlchemy's ``create_async_engine``.

    Raises:
        MissingExtra: the driver that an URL asks for is not installed.
        MappingError: what is given is no URL, or none of an asynchronous driver; or its hosts and ports do not go
            together.
    """
    if not isinstance(cast("Any", replicas), (list, tuple)):
        raise MappingError(f"replicas is a list of URLs, not {kind_of(replicas)}: write replicas=[url]")
    target, others = _target(url), [_target(replica) for replica in replicas]
    options = {"hide_parameters": True, **given}
    if target.get_backend_name() == "sqlite" and target.database in (None, "", ":memory:"):
        options = {**_ONE_CONNECTION, **options}
    is_group = all(each.drivername == _POSTGRESQL for each in (target, *others))
    fallen = apart(target, others) if is_group else ()
    try:
        return Engines(
            primary=create_async_engine(with_all(target, others) if is_group else target, **options),
            replicas=[create_async_engine(each, **options) for each in others],
            fallen=[create_async_engine(each, **options) for each in fallen],
        )
    except ModuleNotFoundError as exc:
        raise MissingExtra(f"the driver {exc.name} is not installed: pip install {exc.name}") from None


def _target(url: str | URL) -> URL:
    """Give an URL with the driver that it is used by."""
    target, is_async = None, False
    with suppress(ArgumentError, ValueError):  # they may quote it, and a password with it
        asked = make_url(url)
        target = asked.set(drivername=_DRIVERS.get(asked.drivername, asked.drivername))
        is_async = target.get_dialect().is_async
    if target is None:
        raise MappingError(
            f"what from_url was given is no URL ({kind_of(url)}): write postgresql://user:password@host:5432/database, "
            "the user and the password percent-encoded"
        )
    if not is_async:
        raise MappingError("the URL names no asynchronous driver: write postgresql+asyncpg:// or sqlite+aiosqlite://")
    if target.drivername == _POSTGRESQL:
        hosts_of(target)  # which says that they do not go together, as making an engine would, quoting them
    return target


def hosts_of(url: URL) -> list[tuple[str, str]]:
    """Give the hosts, or folders of Unix sockets, that a PostgreSQL URL names, and their ports.

    Raises:
        MappingError: they do not go together.
    """
    told = _connect_args(url)
    names: Any = told.get("host")
    numbers: Any = told.get("port") or PORT
    if isinstance(names, str):
        return [(names, str(numbers))]
    return [(name, str(number)) for name, number in zip(names, numbers, strict=True)] if names else []


def with_all(url: URL, others: Sequence[URL]) -> URL:
    """Give an URL that names the hosts of others, too, which differ in nothing else: one of them may be promoted.

    Where several are named, the driver takes the first that takes writes, unless the URL says otherwise
    (``target_session_attrs``; PostgreSQL's manual, Connection Strings).
    """
    alike = [other for other in others if _but_hosts(other) == _but_hosts(url)]
    hosts = list(dict.fromkeys(host for each in (url, *alike) for host in hosts_of(each)))
    if len(hosts) < 2 or not hosts_of(url):  # noqa: PLR2004
        return url
    named = {"host": ",".join(name for name, _ in hosts), "port": ",".join(port for _, port in hosts)}
    asked = {_TARGET: "read-write", **url.query}
    return url.set(host=None, port=None, query={**asked, **named})


def apart(url: URL, others: Sequence[URL]) -> list[URL]:
    """Give an URL for each of the hosts that only this one names, where :func:`with_all` would name the others', too.

    When one of those is promoted, it is these that may come back and follow it.
    """
    alike = [other for other in others if _but_hosts(other) == _but_hosts(url)]
    known = {host for other in alike for host in hosts_of(other)}
    query = {name: value for name, value in url.query.items() if name not in ("host", "port", _TARGET)}
    alone = url.set(host=None, port=None, query=query)
    hosts = [host for host in hosts_of(url) if host not in known] if alike else []
    return [alone.update_query_dict({"host": name, "port": port}) for name, port in hosts]


def _connect_args(url: URL) -> dict[str, Any]:
    with suppress(ArgumentError):  # which may quote it
        return dict(url.get_dialect()().create_connect_args(url)[1])
    raise MappingError(
        "the URL's hosts and ports do not go together: write postgresql://user@/database?host=one:5432&host=other:5432"
    )


def _but_hosts(url: URL) -> dict[str, Any]:
    return {name: value for name, value in _connect_args(url).items() if name not in ("host", "port", _TARGET)}
