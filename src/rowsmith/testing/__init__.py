"""Tests on a real database, with the tables a test needs for as long as it needs them; and without any database.

With the extra ``testing`` installed, pytest finds these fixtures by itself:

- ``database``: a :class:`~rowsmith.database.Database` on a PostgreSQL database of this test run's own;
- ``with_tables``: ``async with with_tables(DomainRow, GroupRow) as db:`` makes just those tables there;
- ``with_faults``: ``async with with_faults(DomainRow, GroupRow) as (db, proxy):`` as well, behind a proxy that drops,
  delays, freezes and cuts.

:func:`tables` is the same as a plain context manager, for an engine of your own and for SQLite. What is given
repositories is tested without a database, by :func:`fake` ones.

:class:`RepositoryContract` is the tests of a repository of one's own, to be inherited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rowsmith.errors import MissingExtra
from rowsmith.lazy import lazily
from rowsmith.testing.contract.declared import Refused
from rowsmith.testing.fakes import FakeDatabase, NotFaked, fake
from rowsmith.testing.faults import FaultProxy, WithFaults, kill_backend, through_proxy
from rowsmith.testing.shards import SeveralShards, one_shard
from rowsmith.testing.tables import LeftOpenWarning, WithTables, tables

if TYPE_CHECKING:
    from rowsmith.testing.contract.contract import RepositoryContract

__all__ = [
    "FakeDatabase",
    "FaultProxy",
    "LeftOpenWarning",
    "NotFaked",
    "Refused",
    "RepositoryContract",
    "SeveralShards",
    "WithFaults",
    "WithTables",
    "fake",
    "kill_backend",
    "one_shard",
    "tables",
    "through_proxy",
]


if not TYPE_CHECKING:
    _find = lazily(__name__, {"contract.contract": ["RepositoryContract"]})

    def __getattr__(name: str) -> object:
        """Import the contract where it is asked for: it alone needs pytest, which only the extra brings."""
        try:
            return _find(name)
        except ModuleNotFoundError:
            raise MissingExtra(f'{name} needs pytest: pip install "rowsmith[testing]"') from None
