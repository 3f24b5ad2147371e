"""What operation objects work out once: those of one entity together, and an application's own each for itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

from native import ONE, lane_of, taken
from rowsmith import CursorForwardPagination, Database, InvalidCursor, InvalidValue, MappingError, Querier, Updater
from rowsmith.db_source import DBSource
from rowsmith.operations import entity as entities
from rowsmith.operations.plans import MOST_DIALECTS, Plans
from rowsmith.testing import WithTables
from tenants import DomainRow, GroupData, GroupRepository, GroupRow, groups_in

pytestmark = pytest.mark.of_the_native_lane

FIRST = CursorForwardPagination(1)


def test_objects_of_one_entity_work_it_out_once() -> None:
    """Operation objects of an entity have their plans in common, and those of another entity have others."""
    entity = GroupRepository.entity
    for attribute, kind in (("_writes", Updater), ("_ask", Querier)):
        first, second = kind[GroupRow, GroupData](entity), kind[GroupRow, GroupData](entity)
        assert getattr(first, attribute) is getattr(second, attribute)
        other = kind(GroupRow, into=GroupData)
        assert getattr(first, attribute) is not getattr(other, attribute)


class Renaming(Updater[GroupRow, GroupData]):
    """An application's own, with a state of its own."""


def test_an_applications_own_class_works_it_out_by_itself() -> None:
    """Objects of a derived class share nothing, for each may have a state of its own."""
    entity = GroupRepository.entity
    made: list[Any] = [Renaming(entity), Renaming(entity), Updater[GroupRow, GroupData](entity)]
    assert len({id(each._writes) for each in made}) == 3
    assert made[0]._writes is made[0]._writes


def test_the_same_data_class_is_read_once_and_many_are_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository that is made for a call meets what another one has read of ``into=``; they do not pile up."""
    monkeypatch.setattr(entities, "MOST_SHAPES", 3)
    entity: Any = DBSource(_no_database(), GroupRow, into=GroupData).entity
    make: Callable[[int], Any] = lambda n: type(f"Data{n}", (GroupData,), {})  # noqa: E731
    kinds = [make(n) for n in range(7)]
    assert entity.into(kinds[0]) is entity.into(kinds[0])
    for kind in kinds:
        assert entity.into(kind).shape.into is kind
        assert len(entity._others) <= 3


def _no_database() -> Database:
    return Database.from_url("postgresql://localhost/none")


async def test_databases_have_plans_of_their_own(with_tables: WithTables) -> None:
    """One class of repositories serves two; what is known of one is not said of the other, nor is its key."""
    async with groups_in(with_tables) as groups:
        url, options = groups.db.engine.url, {"server_settings": {"search_path": "elsewhere"}}
        db = Database.from_url(url, cursor_keys=["a key that is long enough for here"])
        other = Database.from_url(url, cursor_keys=["another one, as long, for elsewhere"], connect_args=options)
        async with groups.db.engine.begin() as connection:
            await connection.exec_driver_sql("CREATE SCHEMA elsewhere")
            await connection.exec_driver_sql("CREATE TABLE elsewhere.groups AS SELECT * FROM groups")
            await connection.exec_driver_sql("UPDATE elsewhere.groups SET name = 'elsewhere ' || id")
        here, there = GroupRepository(db, resilience=None), GroupRepository(other, resilience=None)
        for _ in range(3):
            for of, begins in ((here, False), (there, True)):
                assert (await of.get(ONE)).name.startswith("elsewhere") is begins
        assert await taken(here, lambda: here.get(ONE)) == 1 == await taken(there, lambda: there.get(ONE))
        cursors = [(await of.search(None, None, FIRST)).cursors[0] for of in (here, there)]
        assert cursors[0] != cursors[1]
        assert (await here.search(None, None, CursorForwardPagination(1, cursors[0]))).items
        with pytest.raises(InvalidCursor):
            await here.search(None, None, CursorForwardPagination(1, cursors[1]))
        async with groups.db.engine.begin() as connection:
            await connection.exec_driver_sql("DROP SCHEMA elsewhere CASCADE")
        await db.dispose()
        await other.dispose()


async def test_many_databases_do_not_pile_up(with_tables: WithTables) -> None:
    """Plans are kept for a few engines; whoever comes back makes his anew."""
    async with with_tables(DomainRow, GroupRow) as made:
        for _ in range(20):
            db = Database.from_url(made.engine.url, poolclass=sa.NullPool)
            groups = GroupRepository(db, resilience=None)
            assert await groups.find(ONE) is None
            assert await groups.find(ONE) is None
            assert lane_of(db).taken >= 1
            await db.dispose()
        [ask] = [made for (_, name), made in GroupRepository.entity.worked_out.items() if name == "_ask"]
        assert len(ask.__self__.plans._plans) <= MOST_DIALECTS


def test_what_is_raised_as_something_is_worked_out_has_no_context() -> None:
    """Nothing of how it was looked for is attached to an error, which a report would show with it."""

    def refuse() -> None:
        raise InvalidValue("no")

    entity = GroupRepository.entity
    with pytest.raises(InvalidValue) as refused:
        Plans[Any](entity.info).find("shape", PGDialect_asyncpg(), refuse)
    with pytest.raises(MappingError) as misfit:
        entity.into(cast("Any", 5))
    assert (refused.value.__context__, misfit.value.__context__) == (None, None)
