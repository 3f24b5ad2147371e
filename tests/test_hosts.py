"""URLs of several servers: which hosts they name, and that the driver looks for the one that takes writes."""

from __future__ import annotations

import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from rowsmith.hosts import apart, hosts_of, with_all

PG = "postgresql+asyncpg://"


@pytest.mark.parametrize(
    "url, hosts",
    [
        (f"{PG}/b", []),
        (f"{PG}me:secret@one/b", [("one", "5432")]),
        (f"{PG}one:6000/b", [("one", "6000")]),
        (f"{PG}/b?host=/run/some", [("/run/some", "5432")]),
        (f"{PG}/b?host=/run/some&port=7", [("/run/some", "7")]),
        (f"{PG}/b?host=one:1&host=two:2", [("one", "1"), ("two", "2")]),
        (f"{PG}/b?host=one,two&port=1,2", [("one", "1"), ("two", "2")]),
    ],
)
def test_every_way_of_naming_hosts_is_understood(url: str, hosts: list[tuple[str, str]]) -> None:
    """Those that SQLAlchemy has."""
    assert hosts_of(make_url(url)) == hosts


def connected_with(url: str, *others: str) -> dict[str, object]:
    """What the driver is given."""
    made = with_all(make_url(url), [make_url(other) for other in others])
    return dict(create_async_engine(made).dialect.create_connect_args(made)[1])


def test_urls_that_differ_in_the_host_become_one() -> None:
    """In their order, each once; the rest stays as it was."""
    given = connected_with(
        f"{PG}me:secret@one/b?ssl=require", *(f"{PG}me:secret@{host}/b?ssl=require" for host in ("two:7", "one"))
    )
    assert given == {
        "host": ["one", "two"],
        "port": [5432, 7],
        "user": "me",
        "password": "secret",
        "database": "b",
        "ssl": "require",
        "target_session_attrs": "read-write",
    }


def test_what_the_url_asks_for_itself_is_kept() -> None:
    """Also by a single URL that names several."""
    assert connected_with(f"{PG}/b?host=one:1&host=two:2")["target_session_attrs"] == "read-write"
    asked = f"{PG}/b?host=one:1&host=two:2&target_session_attrs=primary"
    assert connected_with(asked, f"{PG}three/b")["target_session_attrs"] == "primary"


@pytest.mark.parametrize("other", [f"{PG}you@two/b", f"{PG}me@two/c", f"{PG}me@two/b?ssl=require"])
def test_others_are_not_written_to(other: str) -> None:
    """Another user, database or option is no other address of the same."""
    url = make_url(f"{PG}me@one/b")
    assert with_all(url, [make_url(other)]) == url
    assert with_all(make_url(f"{PG}/b"), [make_url(f"{PG}two/b")]) == make_url(f"{PG}/b")


def test_the_primarys_own_hosts_are_told_apart() -> None:
    """Those that are nobody else's, each by itself, with all that the URL says besides."""
    url = make_url(f"{PG}me:secret@/b?ssl=require&host=one:1&host=two:2&target_session_attrs=primary")
    others = [make_url(f"{PG}me:secret@{host}/b?ssl=require") for host in ("two:2", "three:3")]
    [alone] = apart(url, others)
    assert dict(alone.get_dialect()().create_connect_args(alone)[1]) == {
        "host": "one",
        "port": 1,
        "user": "me",
        "password": "secret",
        "database": "b",
        "ssl": "require",
    }
    assert apart(make_url(f"{PG}you@one/b"), others) == []
    assert apart(make_url(f"{PG}/b"), [make_url(f"{PG}/b")]) == []
