"""Tests on a real database: the tables a test needs, for as long as it needs them.

With the extra ``testing`` installed, pytest finds these fixtures by itself:

- ``database``: a :class:`~rowsmith.database.Database` on a PostgreSQL database of this test run's own;
- ``with_tables``: ``async with with_tables(DomainRow, GroupRow) as db:`` makes just those tables there.

:func:`tables` is the same as a plain context manager, for an engine of your own and for SQLite.
"""

from __future__ import annotations

from rowsmith.testing.tables import LeftOpenWarning, WithTables, tables

__all__ = ["LeftOpenWarning", "WithTables", "tables"]
