"""Errors of Citus's workers: without a constraint's field, and with the shard's number behind its name."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from asyncpg import exceptions as pg

from rowsmith import DatabaseFault, EntityAlreadyExists, ReferenceNotFound, StillReferenced
from rowsmith.errors import CheckViolation, RepositoryError
from rowsmith.execution import translate
from rowsmith.execution.origin import Origin
from rowsmith.testing import WithTables
from tenants import DomainRow, GroupRow, MemberRow, OwnedBy, ThingRepository, ThingRow
from tenants.things import NameTaken
from verbs import spec

INTERNAL = "XX000"


def of_a_worker(said: str, sqlstate: str = INTERNAL) -> pg.PostgresError:
    failure: pg.PostgresError = pg.InternalServerError(said)
    failure.message, failure.sqlstate = said, sqlstate
    return failure


def about(table: sa.FromClause, said: str, sqlstate: str = INTERNAL, *, deletes: bool = False) -> RepositoryError:
    assert isinstance(table, sa.Table)
    error = translate(of_a_worker(said, sqlstate), Origin(table=table, deletes=deletes))
    assert isinstance(error, RepositoryError)
    return error


def key_to(table: sa.FromClause, other: sa.FromClause) -> str:
    """Give the name of a table's foreign key to another, as PostgreSQL makes it."""
    assert isinstance(table, sa.Table)
    [key] = [key for key in table.foreign_key_constraints if key.referred_table is other]
    return str(key.name or f"{table.name}_{'_'.join(column.name for column in key.columns)}_fkey")


@pytest.mark.parametrize("sqlstate", [INTERNAL, "23505"])
def test_a_unique_key_is_found_by_its_name_without_the_shard(sqlstate: str) -> None:
    """Whichever SQLSTATE comes with it; the error's facts have the name that the mapping knows."""
    error = about(ThingRow.__table__, 'duplicate key value violates unique constraint "things_pkey_102008"', sqlstate)
    assert type(error) is EntityAlreadyExists
    assert (error.facts.constraint, error.facts.table, error.facts.columns) == ("things_pkey", "things", ("id",))
    assert "102008" not in str(error)


def test_a_foreign_key_is_found_from_either_end() -> None:
    """Which end it is, the call says."""
    name = key_to(MemberRow.__table__, GroupRow.__table__)
    said = f'insert or update on table "members_102010" violates foreign key constraint "{name}_102010"'
    assert type(about(MemberRow.__table__, said)) is ReferenceNotFound
    said = f'update or delete on table "groups_102008" violates foreign key constraint "{name}_102010"'
    error = about(GroupRow.__table__, said, deletes=True)
    assert (type(error), error.facts.constraint) == (StillReferenced, name)


def test_a_check_is_found() -> None:
    """What kind of constraint has the name, the mapping says, and not the words."""
    table = sa.Table("boxes", sa.MetaData(), sa.Column("size", sa.Integer), sa.CheckConstraint("size > 0", name="ck"))
    assert type(about(table, 'something about "ck_102008"')) is CheckViolation


@pytest.mark.parametrize(
    "said",
    [
        'duplicate key value violates unique constraint "others_pkey_102008"',
        'duplicate key value violates unique constraint "things_pkey"',
        "duplicate key value violates unique constraint things_pkey_102008",
        'duplicate key value violates unique constraint "things_pkey_102008x"',
        'could not find "id_7"',
    ],
)
def test_other_words_are_no_constraint(said: str) -> None:
    """Only a known name in quotes, with a number behind it, is taken for one."""
    assert type(about(ThingRow.__table__, said)) is DatabaseFault


@pytest.mark.parametrize("sqlstate", ["42501", "57014", "P0001"])
def test_other_codes_mean_what_they_do(sqlstate: str) -> None:
    """A statement that was cancelled is no constraint, whatever it quotes."""
    error = about(ThingRow.__table__, 'something about "things_pkey_102008"', sqlstate)
    assert not isinstance(error, EntityAlreadyExists)


async def test_a_worker_that_refuses_a_row_gives_the_domains_own_error(with_tables: WithTables) -> None:
    """By whichever way it is written, here with a function that speaks as a worker does."""
    raising = """
    CREATE FUNCTION speak() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE 'duplicate key value violates unique constraint "uq_things_live_102008"' USING ERRCODE = 'XX000';
    END $$
    """
    async with with_tables(DomainRow, ThingRow) as db:
        things = ThingRepository(db)
        async with db.begin_session() as session:
            await session.execute(sa.text(raising))
            await session.execute(
                sa.text("CREATE TRIGGER speak BEFORE INSERT ON things FOR EACH ROW EXECUTE FUNCTION speak()")
            )
        try:
            with pytest.raises(NameTaken):
                await things.create(spec(1), scope=OwnedBy("a"))
            with pytest.raises(NameTaken):
                await things.batch_create([spec(1), spec(2)], scope=OwnedBy("a"))
            [failure, _] = (await things.batch_create_partial([spec(1), spec(2)], scope=OwnedBy("a"))).failed
            assert type(failure.error) is NameTaken
        finally:
            async with db.begin_session() as session:
                await session.execute(sa.text("DROP FUNCTION speak CASCADE"))
