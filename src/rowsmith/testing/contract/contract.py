"""RepositoryContract: what a team subclasses to have the tests of its repository."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
import pytest_asyncio

from rowsmith.database import Database
from rowsmith.testing.contract.reading import ReadingLaws
from rowsmith.testing.contract.refusing import Refusing
from rowsmith.testing.contract.scoping import Scoping
from rowsmith.testing.contract.trial import Trial
from rowsmith.testing.contract.writing import WritingLaws


class RepositoryContract(ReadingLaws, WritingLaws, Refusing, Scoping):
    """The tests of every verb of a repository, on a real database: a team's class says only what its rows are.

    ::

        class TestGroups(RepositoryContract):
            repository = GroupRepository
            tables = (DomainRow, GroupRow)

            async def prepare(self, db):
                await DomainRepository(db).batch_create([DomainCreate("a"), DomainCreate("b")])

            def spec(self, n):
                return GroupCreate("ab"[n % 2], f"group {n}")

            def patch(self, n):
                return GroupPatch(name=OptionalState.update(f"other {n}"))

            def scope(self, n):
                return DomainScope("ab"[n % 2])

            def refused(self, n):
                return {GroupNameTaken: self.spec(n)}

    pytest finds it as any class of tests, and the plugin of rowsmith makes its tables once for the class, and empties
    them of what came since before each test. Row ``n``, from 0 to 10, is what ``spec(n)`` makes in ``scope(n)``.

    Hooks: ``spec`` and ``patch``; ``scope`` where rows belong to tenants, even numbers to one and odd numbers to
    another; ``refused`` for what the repository's ``violations`` are for; ``prepare`` for rows that others refer to;
    ``connect`` where the repository takes more than a database, such as a cache; ``id_of`` where data has its key
    under another name. Class attributes: ``repository``, ``tables`` (all that are needed, in any order),
    ``projections`` (classes that rows are read ``into``); ``changes = False`` where rows are made and never changed,
    ``writes = False`` where they are only read: ``row(n)`` then gives the row itself, to be added to a session.

    What a repository lacks (scopes, soft deletion, versions, ...) has no tests. ``test_... = None`` leaves out another
    one. A team's own tests may stand in the class too: ``self.db`` is the database, and no row is there yet.

    Raises:
        MappingError: when it is collected: something is missing or cannot be; the message says what to write.
    """

    pytestmark = pytest.mark.asyncio

    async def begin(self, db: Database) -> Trial:
        """Have the tables of a database be what the tests run on, once they are made."""
        self.db = db
        await self.prepare(db)
        self._trial = Trial(self, db)
        await self._trial.rows.keep()
        return self._trial

    @pytest_asyncio.fixture(autouse=True, loop_scope="session")
    async def rowsmith_trial(self, rowsmith_contract: Any) -> AsyncIterator[None]:
        """Begin a test: what the contract's ``prepare`` has set is there, and no row of another test."""
        vars(self).update(cast("dict[str, Any]", vars(rowsmith_contract)))
        await self._trial.begin()
        yield
