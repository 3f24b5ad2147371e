"""Which servers an URL names, and URLs that name several: the driver goes to the one that takes writes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from sqlalchemy import URL
from sqlalchemy.exc import ArgumentError

from rowsmith.errors import MappingError

PORT: Final = "5432"
_TARGET: Final = "target_session_attrs"


def hosts_of(url: URL) -> list[tuple[str, str]]:
    """Give the hosts, or folders of Unix sockets, that a PostgreSQL URL names, and their ports.

    Raises:
        MappingError: they do not go together.
    """
    told = _told(url)
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


def _told(url: URL) -> dict[str, Any]:
    with suppress(ArgumentError):  # which may quote it
        return dict(url.get_dialect()().create_connect_args(url)[1])
    raise MappingError(
        "the URL's hosts and ports do not go together: write postgresql://user@/database?host=one:5432&host=other:5432"
    )


def _but_hosts(url: URL) -> dict[str, Any]:
    return {name: value for name, value in _told(url).items() if name not in ("host", "port", _TARGET)}
