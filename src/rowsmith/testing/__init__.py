"""Tests on a real database, with the tables a test needs for as long as it needs them; and without any database.

With the extra ``testing`` installed, pytest finds these fixtures by itself:

- ``database``: a :class:`~rowsmith.database.Database` on a PostgreSQL database of this test run's own;
- ``with_tables``: ``async with with_tables(DomainRow, GroupRow) as db:`` makes just those tables there;
- ``with_faults``: ``async with with_faults(DomainRow, GroupRow) as (db, proxy):`` as well, behind a proxy that drops,
  delays, freezes and cuts.

:func:`tables` is the same as a plain context manager, for an engine of your own and for SQLite. What is given
repositories is tested without a database, by :func:`fake` ones.
"""

from __future__ import annotations

from rowsmith.testing.fakes import FakeDatabase, NotFaked, fake
from rowsmith.testing.faults import FaultProxy, WithFaults, kill_backend, through_proxy
from rowsmith.testing.shards import SeveralShards, one_shard
from rowsmith.testing.tables import LeftOpenWarning, WithTables, tables

__all__ = [
    "FakeDatabase",
    "FaultProxy",
    "LeftOpenWarning",
    "NotFaked",
    "SeveralShards",
    "WithFaults",
    "WithTables",
    "fake",
    "kill_backend",
    "one_shard",
    "tables",
    "through_proxy",
]
