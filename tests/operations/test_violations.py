"""A domain's own errors: by constraint, by SQLSTATE, by kind of error; and its own words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import (
    ConstraintViolation,
    Creator,
    Database,
    DatabaseFault,
    DatabaseUnavailable,
    DBSource,
    EntityAlreadyExists,
    EntityNotFound,
    ExistenceCheck,
    InvalidCursor,
    InvalidValue,
    MappingError,
    NotNullViolation,
    OptionalState,
    Patch,
    Repository,
    RepositoryError,
    ScopeError,
    ScopeMismatch,
    Spec,
    StaleVersion,
)
from rowsmith.operations.faults import is_own_fault
from rowsmith.testing import WithTables
from tenants import DomainScope, GroupNameTaken, GroupRow, OwnedBy, ThingPatch, ThingRepository, ThingRow, groups_in
from verbs import spec as new_thing
from verbs import things_in


class OwnBase(DeclarativeBase):
    pass


class PenRow(OwnBase):
    """Pens, of which a trigger takes no red one."""

    __tablename__ = "pens"
    __table_args__ = (sa.UniqueConstraint("label", name="uq_pens_label"), sa.UniqueConstraint("code"))
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    label: Mapped[str]
    code: Mapped[int | None]
    color: Mapped[str]


for statement, backend in (
    (
        (
            "CREATE FUNCTION refuse_red() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN IF NEW.color = 'red' THEN RAISE EXCEPTION 'no %%', NEW.label; END IF; RETURN NEW; END $$"
        ),
        "postgresql",
    ),
    ("CREATE TRIGGER no_red BEFORE INSERT OR UPDATE ON pens FOR EACH ROW EXECUTE FUNCTION refuse_red()", "postgresql"),
    (
        "CREATE TRIGGER no_red BEFORE INSERT ON pens WHEN NEW.color = 'red' BEGIN SELECT RAISE(ABORT, 'secret'); END",
        "sqlite",
    ),
):
    sa.event.listen(PenRow.__table__, "after_create", sa.DDL(statement).execute_if(dialect=backend))


@dataclass(frozen=True)
class PenCreate(Spec[PenRow]):
    id: int
    label: Any
    color: str = "blue"
    code: int | None = None


@dataclass(frozen=True)
class PenPatch(Patch[PenRow]):
    color: OptionalState[str] = OptionalState.nop()


class LabelTaken(EntityAlreadyExists):
    default_message = "another pen has this label"


class PenExists(EntityAlreadyExists):
    pass


class NoRed(Exception):
    """None of rowsmith's errors."""


class PenRefused(ConstraintViolation):
    pass


class NoPen(EntityNotFound):
    default_message = "no such pen"


class Pens(Repository[PenRow, PenRow, int]):
    not_found = NoPen
    violations = {
        "uq_pens_label": LabelTaken,
        EntityAlreadyExists: PenExists,
        "P0001": NoRed,
        ConstraintViolation: PenRefused,
    }


class PlainPens(Repository[PenRow, PenRow, int]):
    domain = "pen"


@pytest.fixture
async def pens(any_tables: WithTables) -> AsyncIterator[Pens]:
    async with any_tables(PenRow) as db:
        made = Pens(db)
        await made.create(PenCreate(1, "a", code=1))
        yield made


async def failure_of(call: Any) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of any class
        await call
    return caught.value


async def test_the_nearest_that_is_declared_counts(pens: Pens) -> None:
    """A constraint before a SQLSTATE, that before a kind, and of kinds the nearest."""
    for spec, kind in (
        (PenCreate(2, "a"), LabelTaken),
        (PenCreate(2, "b", code=1), PenExists),
        (PenCreate(1, "b"), PenExists),
        (PenCreate(2, None), PenRefused),
        (PenCreate(2, "b", "red"), NoRed),
    ):
        for call in (pens.create(spec), pens.batch_create([spec])):
            error = await failure_of(call)
            assert type(error) is kind
            assert "secret" not in str(error)
        assert type((await pens.batch_create_partial([spec])).failed[0].error) is kind


async def test_what_a_trigger_raises_is_the_items_fault(pens: Pens) -> None:
    """Declared or not, a partial batch goes on without that item."""
    specs = [PenCreate(n, f"p{n}", "red" if n in (3, 7) else "blue") for n in range(2, 10)]
    result = await pens.batch_create_partial(specs)
    assert [(item.index, type(item.error)) for item in result.failed] == [(1, NoRed), (5, NoRed)]
    assert len(result.succeeded) == 6
    plain = PlainPens(pens.db)
    made = await plain.batch_create_partial([PenCreate(20, "x", "red"), PenCreate(21, "y")])
    kind = DatabaseFault if pens.db.engine.dialect.name == "postgresql" else ConstraintViolation
    assert [type(item.error) for item in made.failed] == [kind]
    if kind is DatabaseFault:
        red = PenPatch(color=OptionalState.update("red"))
        assert type(await failure_of(pens.update(1, red))) is NoRed
        changed = await pens.batch_update_partial({1: red, 2: red})
        assert [type(item.error) for item in changed.failed] == [NoRed, NoRed]


REFUSES_GOLD = (
    (
        "CREATE FUNCTION refuse_gold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.color = 'gold' THEN RAISE 'no' USING ERRCODE = '42501'; END IF; RETURN NEW; END $$"
    ),
    "CREATE TRIGGER no_gold BEFORE INSERT OR UPDATE ON pens FOR EACH ROW EXECUTE FUNCTION refuse_gold()",
)


async def test_a_declared_sqlstate_of_statements_is_the_items_fault(with_tables: WithTables) -> None:
    """A trigger that raises ``insufficient_privilege`` refuses one row; who declares it says that it does."""

    class Forbidden(Exception):
        pass

    class GuardedPens(Repository[PenRow, PenRow, int]):
        violations = {"42501": Forbidden}

    gold, blue = (PenPatch(color=OptionalState.update(color)) for color in ("gold", "blue"))
    async with with_tables(PenRow) as db:
        async with db.engine.begin() as connection:
            for statement in REFUSES_GOLD:
                await connection.exec_driver_sql(statement)
        pens = GuardedPens(db)
        made = await pens.batch_create_partial([PenCreate(1, "a"), PenCreate(2, "b", "gold"), PenCreate(3, "c")])
        assert [(item.index, type(item.error)) for item in made.failed] == [(1, Forbidden)]
        assert len(made.succeeded) == 2
        changed = await pens.batch_update_partial({1: gold, 3: blue})
        assert [(item.index, type(item.error)) for item in changed.failed] == [(0, Forbidden)]


def test_what_is_no_items_fault_stays_so_under_another_name() -> None:
    """A kind of error that ends a batch ends it as a domain's own error too."""

    class Away(Exception):
        pass

    class AwayPens(Repository[PenRow]):
        violations = {DatabaseUnavailable: Away, "40001": Away, NotNullViolation: NoRed}

    assert not is_own_fault(Away(), AwayPens.entity)
    assert is_own_fault(NoRed(), AwayPens.entity)


async def test_an_errors_own_words_are_used(pens: Pens) -> None:
    """Of one that is not found and of a constraint; without words of its own, an error says what it is about."""
    assert str(await failure_of(pens.get(9))) == "no such pen"
    assert str(await failure_of(pens.batch_get([8, 9]))) == "no such pen"
    assert str(await failure_of(pens.create(PenCreate(2, "a")))) == "another pen has this label"
    error = await failure_of(pens.create(PenCreate(1, "b")))
    assert str(error) == "a pen with this key already exists (constraint pens_pkey, table pens, columns id)"
    error = await failure_of(PlainPens(pens.db).batch_get([8, 9]))
    assert str(error) == "the pen was not found for 2 of the ids"


async def test_words_are_inherited_and_a_check_of_a_scope_has_its_own(any_tables: WithTables) -> None:
    """A subclass of a worded error has its words; ``ExistenceCheck`` says what it was told unless the error does."""

    class NoDomain(NoPen):
        pass

    class Checked(DomainScope):
        def existence_checks(self) -> list[ExistenceCheck]:
            return [ExistenceCheck(GroupRow.id == 77, NoDomain)]

    async with groups_in(any_tables) as groups:
        assert str(await failure_of(groups.search(Checked("a")))) == "no such pen"


@pytest.mark.parametrize(
    "name",
    [
        *("uq_group_live", "uq_groups_liv", "nonsense", "groups_pkay", "fk_member_group"),
        *("groups.uq_groups_liev", "groups.nonsense", "members.nonsense"),
    ],
)
def test_a_name_that_no_constraint_has_is_refused(name: str, any_database: Any) -> None:
    """When the class is made where it is clear what is meant, and at the latest when the repository is."""
    with pytest.raises(MappingError, match=f"violations names {name!r}"):

        class Wrong(Repository[GroupRow]):
            violations = {name: GroupNameTaken}

        Wrong(any_database)


def test_names_that_are_understood(any_database: Any) -> None:
    """Of the table, of one that refers to it, of one that is not imported; PostgreSQL's own for nameless ones."""

    class Right(Repository[GroupRow]):
        violations = {
            "uq_groups_live": GroupNameTaken,
            "groups_pkey": GroupNameTaken,
            "groups.groups_pkey": GroupNameTaken,
            "fk_members_group": GroupNameTaken,
            "members.fk_members_group": GroupNameTaken,
            "not_imported.fk_groups": GroupNameTaken,
        }

    Right(any_database)


@pytest.mark.parametrize(
    "key, meant",
    [
        (EntityNotFound, "not_found = "),
        (MappingError, "no write ends"),
        (InvalidCursor, "no write ends"),
        (GroupNameTaken, "only the domain itself"),
    ],
)
def test_a_kind_that_no_write_ends_with_is_refused(key: Any, meant: str) -> None:
    """It would never come about; the message says what is meant."""
    with pytest.raises(MappingError, match=meant):

        class Wrong(Repository[GroupRow]):
            violations = {key: GroupNameTaken}


class Unused(OwnedBy):
    """Of things that are not in use yet; new ones are."""

    def to_conditions(self) -> list[Any]:
        return [ThingRow.tenant == self.tenant, ThingRow.uses < 1]


class Outdated(StaleVersion):
    pass


class Elsewhere(ScopeMismatch):
    default_message = "not yours"


class Unfit(Exception):
    pass


class Kept(Exception):
    pass


class OwnThings(ThingRepository):
    violations = {StaleVersion: Outdated, ScopeError: Elsewhere, InvalidValue: Unfit, EntityAlreadyExists: Kept}


async def test_kinds_that_rowsmith_raises_itself(any_tables: WithTables) -> None:
    """By every verb, for the whole call and for an item; what they say besides goes on."""
    patch = ThingPatch(uses=OptionalState.update(7))
    unfit = ThingPatch(uses=OptionalState.update(2**70))
    async with things_in(any_tables) as made:
        things, mine, where = OwnThings(made.db), OwnedBy("a"), [ThingRow.id == 1]
        for write in (
            lambda: things.update(1, patch, scope=mine, expected_version=9),
            lambda: things.batch_update([1], patch, scope=mine, expected_versions={1: 9}),
        ):
            with pytest.raises(Outdated) as caught:
                await write()
            assert caught.value.error_code.startswith("thing_")
        with pytest.raises(Elsewhere, match="not yours"):
            await things.create(new_thing(7), scope=Unused("a"))
        for write_unfit in (
            lambda: things.update(1, unfit, scope=mine),
            lambda: things.batch_update_each({1: unfit}, scope=mine),
            lambda: things.update_where(where, unfit, scope=mine),
        ):
            with pytest.raises(Unfit):
                await write_unfit()
        made_partly = await things.batch_create_partial([new_thing(8), new_thing(1)], scope=mine)
        assert [(failure.index, type(failure.error)) for failure in made_partly.failed] == [(1, Kept)]
        outside = await things.batch_create_partial([new_thing(9)], scope=Unused("a"))
        assert [type(failure.error) for failure in outside.failed] == [Elsewhere]
        changed = await things.batch_update_partial({1: unfit, 2: patch}, scope=mine)
        assert [(failure.index, type(failure.error)) for failure in changed.failed] == [(0, Unfit)]


@pytest.mark.parametrize("key", [RepositoryError, 23505, ValueError, None])
def test_a_key_of_another_kind_is_refused(key: Any) -> None:
    """All errors at once are no kind either: they say nothing of whose fault it is."""
    with pytest.raises(MappingError, match="by constraint, SQLSTATE or kind"):

        class Wrong(Repository[GroupRow]):
            violations = {key: GroupNameTaken}


def test_the_table_of_a_name_is_held_too(any_database: Any) -> None:
    """One that is like an imported table's is misspelt; another may stand for a table that is not imported."""
    with pytest.raises(MappingError, match=r"violations names 'member.fk_members_group'.*did you mean 'members'"):
        DBSource(any_database, GroupRow, violations={"member.fk_members_group": GroupNameTaken})
    with pytest.raises(MappingError, match=r"members has no such constraint; did you mean 'fk_members_group'\?; where"):
        DBSource(any_database, GroupRow, violations={"members.fk_member_group": GroupNameTaken})
    DBSource(any_database, GroupRow, violations={"invoices.fk_invoices_group": GroupNameTaken})


def test_an_operation_object_is_held_to_its_names() -> None:
    """As a source is: who assembles operations by hand has the same promise."""
    with pytest.raises(MappingError, match="violations names 'nonsense'"):
        Creator(GroupRow, violations={"nonsense": GroupNameTaken})


class Coded(Exception):
    def __init__(self, message: str, code: int) -> None:
        super().__init__(message, code)


@pytest.mark.parametrize(
    "factory", ["x", None, ValueError("x"), str, KeyboardInterrupt, Coded, lambda: GroupNameTaken()]
)
def test_what_makes_no_error_of_a_message_is_refused(factory: Any) -> None:
    """As a value of ``violations`` and as ``not_found``, when the class is made."""
    with pytest.raises(MappingError, match=r"violations\[EntityAlreadyExists\] is .*message"):

        class Wrong(Repository[GroupRow]):
            violations = {EntityAlreadyExists: factory}

    with pytest.raises(MappingError, match=r"not_found is .*message"):

        class Lost(Repository[GroupRow]):
            not_found = factory


def test_what_makes_errors_in_its_own_way_is_not() -> None:
    """Of more arguments with defaults, in Python or in C, or without any where it has words of its own."""

    class Worded(EntityAlreadyExists):
        default_message = "taken"

        def __init__(self) -> None:
            super().__init__()

    class Right(Repository[GroupRow]):
        violations = {
            "uq_groups_live": Worded,
            EntityAlreadyExists: lambda *message: Worded(),
            "23514": UnicodeError,
            "23502": lambda message, code=3: Coded(message, code),
        }

    assert is_own_fault(Worded(), Right.entity)


async def test_what_turns_out_to_make_no_error_is_told(any_tables: WithTables) -> None:
    """Where that shows only when it is called."""

    class Silent(Repository[PenRow]):
        not_found = lambda message: None  # type: ignore[assignment]  # noqa: E731

    async with any_tables(PenRow) as db:
        assert "give an error class" in str(await failure_of(Silent(db).get(9)))


class TouchedTwice(DatabaseFault):
    pass


class TouchyPens(Repository[PenRow, PenRow, int]):
    violations = {"27000": TouchedTwice}


class UndeclaredPens(Repository[PenRow, PenRow, int]):
    pass


@pytest.mark.parametrize("kind", [TouchyPens, UndeclaredPens])
@pytest.mark.parametrize("native", [True, False])
async def test_items_whose_rows_a_trigger_of_others_changes(with_tables: WithTables, native: bool, kind: Any) -> None:
    """A partial batch writes them apart, as calls of their own do; an item that always fails so fails alone."""
    async with with_tables(PenRow) as db:
        pens: Any = kind(Database(db.engine, native=native))
        async with db.engine.begin() as connection:
            await connection.exec_driver_sql(
                "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                "IF pg_trigger_depth() = 1 AND OLD.code IS NOT NULL THEN "
                "UPDATE pens SET label = label || '+' WHERE id = OLD.code; END IF; "
                "IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$"
            )
            await connection.exec_driver_sql(
                "CREATE TRIGGER touch BEFORE UPDATE OF color OR DELETE ON pens FOR EACH ROW EXECUTE FUNCTION touch()"
            )
        try:
            made = [PenCreate(1, "a", code=3), PenCreate(2, "b"), PenCreate(3, "c"), PenCreate(4, "d", code=4)]
            await pens.batch_create(made)
            blue = PenPatch(OptionalState.update("blue"))
            changed = await pens.batch_update_partial(dict.fromkeys((1, 2, 3, 4), blue))
            assert [item.index for item in changed.succeeded] == [0, 1, 2]
            assert [type(item.error) for item in changed.failed] == [
                TouchedTwice if kind is TouchyPens else DatabaseFault
            ]
            removed = await pens.batch_purge_partial([1, 2, 3, 4])
            assert [item.index for item in removed.succeeded] == [0, 1, 2]
            assert [pen.id for pen in await pens.search(None)] == [4]
        finally:
            async with db.engine.begin() as connection:
                await connection.exec_driver_sql("DROP FUNCTION touch() CASCADE")
