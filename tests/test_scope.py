"""Scopes: what they let see and touch, and what they do to a write."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped, aliased, mapped_column

from rowsmith import (
    AllOf,
    AnyOf,
    Condition,
    CursorForwardPagination,
    EmptyScope,
    EntityNotFound,
    ExistenceCheck,
    InvalidCursor,
    InvalidFilter,
    InvalidValue,
    MappingError,
    Not,
    OptionalState,
    Patch,
    Repository,
    RepositoryError,
    ScopeError,
    ScopeMismatch,
    ScopeRequired,
    SearchScope,
    Spec,
    Unscoped,
)
from rowsmith.mapping import row_info
from rowsmith.scope import RelatedScope, Settled, resolve_scope
from rowsmith.testing import WithTables
from support import count_statements
from tenants import (
    Base,
    CheckedScope,
    CounterPatch,
    CounterRow,
    DomainNotFound,
    DomainRow,
    DomainScope,
    GroupCreate,
    GroupData,
    GroupId,
    GroupNotFound,
    GroupPatch,
    GroupRepository,
    GroupRow,
    MemberRow,
    groups_in,
    stored,
)

INFO = row_info(GroupRow)
A, B = DomainScope("a"), DomainScope("b")
NAMED = GroupPatch(name=OptionalState.update("new"))
ABSENT = GroupId(99)


@pytest.fixture
async def groups(any_tables: WithTables) -> AsyncIterator[GroupRepository]:
    async with groups_in(any_tables) as made:
        yield made


@dataclass(frozen=True)
class Conditions(SearchScope):
    """A scope of any conditions."""

    conditions: tuple[Condition, ...]

    def to_conditions(self) -> Sequence[Condition]:
        return self.conditions


def scope_of(*conditions: Condition) -> Conditions:
    return Conditions(conditions)


async def rows_of(stream: AsyncIterator[GroupData]) -> list[GroupData]:
    return [item async for item in stream]


async def error_of(call: Awaitable[Any]) -> tuple[Any, ...]:
    """Give all that a caller can see of the error."""
    with pytest.raises(RepositoryError) as caught:
        await call
    error = caught.value
    return type(error), str(error), repr(error), error.error_code, error.facts, error.__cause__, error.__context__


Call = Callable[[GroupRepository, Any, SearchScope], Awaitable[Any]]
BY_KEY: dict[str, Call] = {
    "get": lambda groups, id, scope: groups.get(id, scope),
    "get deleted": lambda groups, id, scope: groups.get(id, scope, include_deleted=True),
    "update": lambda groups, id, scope: groups.update(id, NAMED, scope=scope),
    "update nothing": lambda groups, id, scope: groups.update(id, GroupPatch(), scope=scope),
    "delete": lambda groups, id, scope: groups.delete(id, scope=scope),
    "restore": lambda groups, id, scope: groups.restore(id, scope=scope),
    "purge": lambda groups, id, scope: groups.purge(id, scope=scope),
    "batch_get": lambda groups, id, scope: groups.batch_get([id], scope=scope),
}


async def test_another_tenants_row_is_an_absent_row(groups: GroupRepository) -> None:
    """A foreign row and an absent one give the identical error, and the foreign row stays as it was."""
    before = await stored(groups.db)
    for scope in (B, AnyOf(B, DomainScope("c")), Not(A), AllOf(B, GroupRow.size >= 0)):
        for name, call in BY_KEY.items():
            own, deleted, absent = [await error_of(call(groups, id, scope)) for id in (1, 4, ABSENT)]
            assert own == deleted == absent
            assert own[0] is GroupNotFound
            assert own[3] == f"group_{name.partition(' ')[0].replace('_', '-')}_not-found"
    assert await stored(groups.db) == before


async def test_reads_under_a_scope_see_only_its_rows(groups: GroupRepository) -> None:
    """find, search, count, exists, stream and batch_get are all held to the scope."""
    assert await groups.find(GroupId(1), B) is None
    assert await groups.find(ABSENT, B) is None
    assert [item.id for item in (await groups.search(B)).items] == [3]
    assert await groups.count(B) == 1
    assert not await groups.exists(DomainScope("c"))
    assert [item.id for item in await rows_of(groups.stream(A))] == [1, 2]
    assert [item.id for item in await groups.batch_get([GroupId(2), GroupId(1)], scope=A)] == [2, 1]


async def test_a_cursor_of_one_scope_is_refused_in_another(groups: GroupRepository) -> None:
    """A cursor carries its scope's fingerprint: another tenant cannot go on from it."""
    page = await groups.search(A, None, CursorForwardPagination(first=1))
    with pytest.raises(InvalidCursor):
        await groups.search(B, None, CursorForwardPagination(first=1, after=page.end_cursor))


async def test_missing_names_only_the_keys_that_were_asked_for(groups: GroupRepository) -> None:
    """batch_get over own, foreign and absent keys reports the latter two alike, in the order given."""
    with pytest.raises(EntityNotFound) as caught:
        await groups.batch_get([ABSENT, GroupId(1), GroupId(3)], scope=A)
    assert caught.value.missing == (99, 3)


EMPTY: dict[str, SearchScope] = {
    "nothing": scope_of(),
    "true": scope_of(sa.true()),
    "and of true": scope_of(sa.and_(sa.true())),
    "nested and": scope_of(sa.and_(sa.true(), sa.and_(sa.true()))),
    "callable": scope_of(sa.true),
    "own rows in a join": scope_of(
        sa.select(DomainRow.name).join(GroupRow, GroupRow.domain_name == DomainRow.name).exists()
    ),
    "own rows in an outer join": scope_of(
        sa.select(DomainRow.name).outerjoin(GroupRow, GroupRow.domain_name == "a").where(GroupRow.size > 1).exists()
    ),
    "own rows in a given join": scope_of(
        sa.select(DomainRow.name)
        .select_from(sa.join(DomainRow, GroupRow, GroupRow.domain_name == DomainRow.name))
        .exists()
    ),
    "own rows, counted": scope_of(
        sa.select(sa.func.count()).select_from(DomainRow).join(GroupRow, GroupRow.size > 1).scalar_subquery() > 0
    ),
    "own rows below": scope_of(
        sa.select(DomainRow.name)
        .join(GroupRow, GroupRow.domain_name == DomainRow.name)
        .where(sa.exists().where(CounterRow.place == GroupRow.id))
        .exists()
    ),
    "all of true": AllOf(sa.true()),
    "literal": scope_of(sa.literal(True)),
    "number": scope_of(sa.literal(1, sa.Boolean)),
    "equal literals": scope_of(sa.literal(1) == 1),
    "unequal literals": scope_of(sa.literal(1) < 2, sa.literal("a") != "b"),
    "unknown of literals": scope_of(sa.func.lower("A") == "a"),
    "function": scope_of(sa.func.now() > sa.func.now()),
    "text": scope_of(sa.text("true")),  # type: ignore[arg-type]
    "text that compares": scope_of(sa.text("1 = 1")),  # type: ignore[arg-type]
    "text as a column": scope_of(sa.literal_column("true", sa.Boolean)),
    "text of quotes": scope_of(sa.literal_column("'a' = 'a' OR 1 IS NULL")),
    "coerced text": scope_of(sa.type_coerce(sa.text("TRUE"), sa.Boolean)),
    "cast": scope_of(sa.cast(1, sa.Boolean)),
    "or with true": scope_of(sa.or_(sa.true(), GroupRow.size == 1)),
    "or with a literal": scope_of(sa.or_(sa.literal(True), GroupRow.size == 1)),
    "or with a comparison": scope_of(sa.or_(GroupRow.size == 1, sa.literal(1) == 1)),
    "any of true": AnyOf(A, sa.true()),
    "any of a literal": AnyOf(A, AllOf(sa.literal(True))),
    "not false": Not(sa.false()),
    "negated": scope_of(~sa.literal(False)),
    "itself": scope_of(GroupRow.domain_name == GroupRow.domain_name),
    "a key that is there": scope_of(GroupRow.id.is_not(None)),
    "a required column that is there": scope_of(~GroupRow.domain_name.is_(None)),
    "a required column, distinct from NULL": scope_of(GroupRow.domain_name.is_distinct_from(None)),
    "or with a key that is there": scope_of(sa.or_(GroupRow.size == 1, GroupRow.id.is_not(None))),
    "any of a key that is there": AnyOf(A, GroupRow.id.is_not(None)),
    "no key that is not there": Not(GroupRow.id.is_(None)),
    "outside of nothing": scope_of(GroupRow.domain_name.not_in([])),
    "not in nothing": Not(GroupRow.domain_name.in_([])),
    "starts with nothing": scope_of(GroupRow.domain_name.startswith("")),
    "starts with nothing, escaped": scope_of(GroupRow.domain_name.startswith("", autoescape=True)),
    "holds anything, case ignored": scope_of(GroupRow.domain_name.icontains("%")),
    "like anything": scope_of(GroupRow.domain_name.like("%%")),
    "not unlike anything": scope_of(~GroupRow.domain_name.not_ilike("%")),
    "one or any other": scope_of(sa.or_(GroupRow.domain_name == "a", GroupRow.domain_name != "a")),
    "below or above": scope_of(sa.or_(GroupRow.id == 0, GroupRow.size < 3, GroupRow.size >= 3)),
    "between or outside": scope_of(sa.or_(GroupRow.size.between(1, 2), ~GroupRow.size.between(1, 2))),
    "NULL or not": AnyOf(GroupRow.note.is_(None), GroupRow.note.is_not(None)),
    "a scope or its opposite": AnyOf(A, Not(A)),
    "somewhere": scope_of(sa.exists().where(DomainRow.name == "a")),
    "label": scope_of(sa.literal(True).label("all")),
}


@pytest.mark.parametrize("scope", EMPTY.values(), ids=EMPTY.keys())
def test_a_scope_without_conditions_is_refused(scope: SearchScope) -> None:
    """What limits nothing is an error, never all rows."""
    with pytest.raises(EmptyScope):
        resolve_scope(scope, INFO)


@dataclass(frozen=True)
class Asking(DomainScope):
    """Wants more than anybody gives it."""

    def to_conditions(self, row: object) -> Sequence[Condition]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return ()


@dataclass(frozen=True)
class AskingOfOthers(DomainScope):
    def to_related(self, row: object) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return {}


@dataclass(frozen=True)
class AskingBefore(DomainScope):
    def existence_checks(self, *, row: object) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ()


@dataclass(frozen=True)
class Erring(DomainScope):
    """Has a TypeError of its own."""

    def to_conditions(self) -> Sequence[Condition]:
        raise TypeError("own")


async def test_a_method_that_takes_arguments_is_told(groups: GroupRepository) -> None:
    """It says what to write; a TypeError of the scope's own is raised as it is."""
    given: Any = Asking("a")
    for scope in (given, AllOf(given), AnyOf(given, B), Not(given)):
        with pytest.raises(InvalidFilter, match=r"write def to_conditions\(self\)"):
            await groups.search(scope)
    with pytest.raises(ScopeError, match=r"write def existence_checks\(self\)"):
        await groups.get(GroupId(1), AskingBefore("a"))
    others = AskingOfOthers("a")
    for scope in (others, Settled(others, others.to_conditions())):
        with pytest.raises(ScopeError, match=r"AskingOfOthers.to_related takes .*: write def to_related\(self\)"):
            RelatedScope(scope, row_info(GroupRow)).limits(row_info(DomainRow))
    with pytest.raises(TypeError, match="own"):
        await groups.search(Erring("a"))


@dataclass(frozen=True)
class OfAny(SearchScope):
    """Compares its row with whatever it is given, in one of its methods."""

    value: Any
    where: str = "to_conditions"

    def to_conditions(self) -> Sequence[Condition]:
        return [GroupRow.domain_name == (self.value if self.where == "to_conditions" else "a")]

    def to_related(self) -> Any:
        return {DomainRow: [DomainRow.name == self.value]} if self.where == "to_related" else {}

    def existence_checks(self) -> Sequence[ExistenceCheck]:
        there = [ExistenceCheck(DomainRow.name == self.value, DomainNotFound)]
        return there if self.where == "existence_checks" else ()


@dataclass(frozen=True)
class OfAnyAlone(SearchScope):
    value: Any

    def to_conditions(self) -> Sequence[Condition]:
        return [GroupRow.domain_name == self.value]


@pytest.mark.parametrize("value", [DomainRow(name="secret"), DomainRow], ids=["row", "class"])
async def test_what_sqlalchemy_takes_for_no_value(groups: GroupRepository, value: Any) -> None:
    """A scope that compares with it is refused in its own name, wherever it does, in every verb; nothing is sent."""
    scopes = [OfAnyAlone(value), OfAny(value), OfAny(value, "existence_checks")]
    for scope in [*scopes, AnyOf(scopes[0], B), Not(scopes[1])]:
        for call in BY_KEY.values():
            with count_statements(groups.db) as sent:
                kind, words, *_, cause, context = await error_of(call(groups, GroupId(1), scope))
            assert issubclass(kind, ScopeError), kind
            assert (sent, cause, context) == ([], None, None)
            assert "OfAny" in words
            assert "secret" not in words
            assert "object at 0x" not in words
    with pytest.raises(ScopeError, match=r"^OfAny\.to_related\(\) cannot be made into SQL: ArgumentError in line \d+"):
        RelatedScope(OfAny(value, "to_related"), INFO).limits(row_info(DomainRow))
    for condition in (lambda: GroupRow.domain_name == value, lambda: GroupRow.domain_name.in_([value])):
        for filters in ([condition], scope_of(condition)):
            with pytest.raises(InvalidFilter, match=r"^a condition cannot be made into SQL: ArgumentError in line \d+"):
                await groups.search(*([None, filters] if isinstance(filters, list) else [filters]))


OTHER_GROUP = aliased(GroupRow)


def test_a_scope_may_ask_about_other_rows_of_the_table() -> None:
    """Under an alias, as long as something of the row itself is asked too; or of this one in a SELECT beside a join."""
    joined = sa.select(DomainRow.name).join(OTHER_GROUP, OTHER_GROUP.domain_name == DomainRow.name)
    for condition in (
        joined.where(OTHER_GROUP.size == GroupRow.size).exists(),
        sa.and_(GroupRow.domain_name == "a", sa.select(DomainRow.name).join(GroupRow, sa.true()).exists()),
        GroupRow.domain_name.in_(sa.select(DomainRow.name)),
    ):
        resolve_scope(scope_of(condition), INFO)


REAL = [
    *(GroupRow.name.startswith("a"), GroupRow.name.startswith("%", autoescape=True), GroupRow.name.like("%x%")),
    *(GroupRow.name.like(""), GroupRow.name.like("_"), GroupRow.name.like("%", escape="%"), GroupRow.name == "%"),
    sa.or_(GroupRow.domain_name == "a", GroupRow.domain_name != "b"),
    sa.or_(GroupRow.domain_name == "a", GroupRow.name != "a"),
    *(sa.or_(GroupRow.size < 3, GroupRow.size > 3), sa.or_(GroupRow.size.between(1, 2), ~GroupRow.size.between(1, 3))),
    *(sa.and_(GroupRow.size >= 3, GroupRow.size < 3), AnyOf(A, Not(B)), ~GroupRow.name.startswith("")),
]


def test_a_scope_of_nearly_all_rows_is_one() -> None:
    """What looks like a condition that holds for every row is taken where it does not."""
    for condition in REAL:
        assert resolve_scope(scope_of(condition), INFO).conditions


NO_ROWS = [
    *(sa.false(), sa.literal(False), sa.literal(1) == 2, sa.or_(sa.literal(False), sa.false()), Not(sa.true())),
    *(GroupRow.id.is_(None), GroupRow.domain_name.in_([]), sa.or_(GroupRow.id.is_(None), sa.false())),
]


async def test_a_scope_may_leave_no_row(groups: GroupRepository) -> None:
    """False is a scope: nothing is seen, nothing created."""
    for condition in NO_ROWS:
        scope = scope_of(condition)
        assert await groups.count(scope) == 0
        with pytest.raises(ScopeMismatch):
            await groups.create(GroupCreate("a", "new"), scope=scope)


async def test_what_holds_for_all_rows_is_left_out_beside_the_rest(groups: GroupRepository) -> None:
    """A true part neither opens a scope nor closes it, and what only the database can tell stays in."""
    for true in (sa.literal(True), sa.literal(1) == 1, ~sa.literal(False), sa.func.lower("A") == "a"):
        assert [item.id for item in (await groups.search(AllOf(true, A))).items] == [1, 2]
    assert await groups.count(AllOf(A, sa.func.lower("A") == "b")) == 0


async def test_a_column_that_may_be_null_limits_by_whether_it_is(groups: GroupRepository) -> None:
    """By itself, beside another condition, and compared with itself, which NULL is not equal to."""
    await groups.create(GroupCreate("a", "noted", note="x"))
    for noted in (GroupRow.note.is_not(None), GroupRow.note.is_distinct_from(None)):
        assert [item.name for item in (await groups.search(scope_of(noted))).items] == ["noted"]
    for noted in (GroupRow.note.is_not(None), GroupRow.note == GroupRow.note):
        assert [item.name for item in (await groups.search(AllOf(A, noted))).items] == ["noted"]


@dataclass(frozen=True)
class NightlyCleanUp(Unscoped):
    domain_name: str = "a"

    def to_conditions(self) -> Sequence[Condition]:
        return [GroupRow.domain_name == self.domain_name]


@dataclass(frozen=True)
class CheckedCleanUp(Unscoped):
    def existence_checks(self) -> Sequence[ExistenceCheck]:
        return [ExistenceCheck(DomainRow.name == "c", DomainNotFound)]


async def test_unscoped_has_no_conditions(groups: GroupRepository) -> None:
    """A subclass with conditions is refused, not read as all rows; one with checks has them run."""
    for scope in (NightlyCleanUp("why"), AllOf(NightlyCleanUp("why")), AnyOf(A, NightlyCleanUp("why"))):
        with pytest.raises(EmptyScope):
            await groups.purge_where([GroupRow.size >= 0], scope=scope)
    with pytest.raises(DomainNotFound):
        await groups.count(CheckedCleanUp("why"))
    assert await groups.count() == 3


@pytest.mark.parametrize("combine", [AnyOf, AllOf, Not])
def test_unscoped_cannot_be_part_of_another_scope(combine: Callable[..., SearchScope]) -> None:
    """Unscoped inside AnyOf would open everything to everybody, so nobody combines it."""
    with pytest.raises(EmptyScope):
        resolve_scope(combine(Unscoped("why")), INFO)
    with pytest.raises(EmptyScope):
        resolve_scope(AnyOf(A, AllOf(Unscoped("why"))), INFO)


def test_a_combination_of_nothing_is_refused() -> None:
    """AnyOf() and AllOf() need a part."""
    for combine in (AnyOf, AllOf):
        with pytest.raises(EmptyScope, match=combine.__name__):
            combine()


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
def test_an_or_of_nothing_is_refused() -> None:
    """or_(*[]) compiles to no condition at all, so a scope that holds it is refused, not opened."""
    nothing = sa.or_(*[])
    for condition in (nothing, sa.and_(nothing, nothing), sa.not_(nothing), Not(nothing)):
        with pytest.raises(InvalidFilter):
            resolve_scope(scope_of(GroupRow.domain_name == "a", condition), INFO)


@pytest.mark.parametrize("scope", [DomainScope, "a", {"domain_name": "a"}, GroupRow.domain_name == "a"], ids=str)
def test_what_is_no_scope_is_refused(scope: Any) -> None:
    """A class instead of an instance, a string or a bare condition is told apart at once."""
    with pytest.raises(ScopeError, match="SearchScope"):
        resolve_scope(scope, INFO)


FOREIGN: dict[str, Condition] = {
    "other table": DomainRow.name == "a",
    "join": DomainRow.name == GroupRow.domain_name,
    "alias": aliased(GroupRow).domain_name == "a",
    "inside or": sa.or_(GroupRow.size == 1, MemberRow.weight == 1),
}


@pytest.mark.parametrize("condition", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_scope_that_names_another_table_directly_is_refused(condition: Condition) -> None:
    """A second table in FROM would multiply rows or match by accident; the message says what to write."""
    with pytest.raises(InvalidFilter, match="exists"):
        resolve_scope(scope_of(GroupRow.size == 1, condition), INFO)


def test_unscoped_needs_a_reason() -> None:
    """The way round must be said out loud."""
    with pytest.raises(EmptyScope, match="reason"):
        Unscoped(" ")


class StrictRepository(GroupRepository):
    scope_required = True


async def test_a_required_scope(groups: GroupRepository, caplog: pytest.LogCaptureFixture) -> None:
    """scope_required refuses every call without a scope; Unscoped is let through and logged with its reason."""
    strict = StrictRepository(groups.db)
    calls: list[Awaitable[Any]] = [
        strict.get(GroupId(1)),
        strict.find(GroupId(1)),
        strict.search(),
        strict.count(),
        strict.exists(),
        rows_of(strict.stream()),
        strict.batch_get([GroupId(1)]),
        strict.create(GroupCreate("a", "x")),
        strict.update(GroupId(1), NAMED),
        strict.delete(GroupId(1)),
        strict.restore(GroupId(4)),
        strict.purge(GroupId(1)),
    ]
    for call in calls:
        with pytest.raises(ScopeRequired, match="Unscoped"):
            await call
    with caplog.at_level(logging.INFO, "rowsmith.scope"):
        assert (await strict.get(GroupId(1), Unscoped("nightly clean-up"))).id == 1
    told = [record.getMessage() for record in caplog.records if record.name == "rowsmith.scope"]
    assert told == ["unscoped access to GroupRow: nightly clean-up"]


async def test_existence_checks(groups: GroupRepository) -> None:
    """Every check of a scope runs in one statement before the call, and a failing one raises its own error."""
    scope = AllOf(CheckedScope("a"), CheckedScope("a"))
    with count_statements(groups.db) as sent:
        assert await groups.count(scope) == 2
    assert len(sent) == 2
    for call in (
        *BY_KEY.values(),
        lambda g, _, s: g.search(s),
        lambda g, _, s: g.create(GroupCreate("c", "x"), scope=s),
    ):
        with pytest.raises(DomainNotFound, match="no such domain") as caught:
            await call(groups, 1, CheckedScope("c"))
        assert caught.value.facts.domain == "group"


async def test_an_existence_check_may_be_an_exists(groups: GroupRepository) -> None:
    """A check is any condition: an EXISTS of its own, a callable, or a plain comparison."""

    @dataclass(frozen=True)
    class Scope(DomainScope):
        def existence_checks(self) -> Sequence[ExistenceCheck]:
            there = sa.exists().where(DomainRow.name == self.domain_name)
            return [ExistenceCheck(there, DomainNotFound), ExistenceCheck(lambda: there, DomainNotFound)]

    assert await groups.count(Scope("a")) == 2
    with pytest.raises(DomainNotFound):
        await groups.count(Scope("c"))


class Wordless(DomainNotFound):
    def __init__(self) -> None:
        super().__init__("none")


@pytest.mark.parametrize("name", ["a", "c"])
async def test_the_error_of_an_existence_check_is_made_of_a_message(groups: GroupRepository, name: str) -> None:
    """Whether or not it is there today: the day when it is not is a bad one to find out."""

    @dataclass(frozen=True)
    class Scope(DomainScope):
        def existence_checks(self) -> Sequence[ExistenceCheck]:
            error: Any = Wordless
            return [ExistenceCheck(DomainRow.name == self.domain_name, error)]

    with pytest.raises(MappingError, match=r"an ExistenceCheck's error .* cannot be called with a message alone"):
        await groups.count(Scope(name))


@dataclass(frozen=True)
class BareCreate(Spec[GroupRow], filled={"domain_name"}):
    name: str


STAMPING: dict[str, SearchScope] = {
    "equality": DomainScope("b"),
    "the other way round": scope_of(sa.literal("b") == GroupRow.domain_name),
    "in an and": scope_of(sa.and_(GroupRow.domain_name == "b", GroupRow.size == 7)),
    "all of": AllOf(DomainScope("b"), AllOf(GroupRow.size == 7)),
    "callable": scope_of(lambda: GroupRow.domain_name == "b"),
}


async def test_a_scopes_equalities_are_stamped_onto_a_new_row(groups: GroupRepository) -> None:
    """The new row gets the scope's values, in one statement."""
    for name, scope in STAMPING.items():
        with count_statements(groups.db) as sent:
            made = await groups.create(BareCreate(name), scope=scope)
        assert made.domain_name == "b"
        assert len(sent) == 1
        assert await groups.get(made.id, scope) == made


OTHER_SCOPES: dict[str, SearchScope] = {
    "equality": A,
    "any of": AnyOf(A, DomainScope("c")),
    "in": scope_of(GroupRow.domain_name.in_(["a", "c"])),
    "in nothing": scope_of(GroupRow.domain_name.in_([])),
    "exists": scope_of(sa.exists().where(DomainRow.name == GroupRow.domain_name, DomainRow.name == "a")),
    "in a subquery": scope_of(GroupRow.domain_name.in_(sa.select(DomainRow.name).where(DomainRow.name == "a"))),
    "is not": Not(B),
    "like": scope_of(GroupRow.domain_name.like("a%")),
    "contradiction": AllOf(A, B),
    "text column": scope_of(sa.literal_column("domain_name") == "a"),
    "text in a function": scope_of(sa.func.lower(sa.text("domain_name")) == "a"),
}


async def test_a_row_is_not_created_outside_its_scope(groups: GroupRepository) -> None:
    """ScopeMismatch, and the row is not there afterwards, even where the caller goes on."""
    before = await stored(groups.db)
    for size, scope in enumerate(OTHER_SCOPES.values()):
        with pytest.raises(ScopeMismatch) as caught:
            await groups.create(GroupCreate("b", "new"), scope=scope)
        assert caught.value.error_code == "group_create_scope-mismatch"
        async with groups.db.unit_of_work():
            await groups.update(GroupId(3), GroupPatch(size=OptionalState.update(size)))
            with pytest.raises(ScopeMismatch):
                await groups.create(GroupCreate("b", "new"), scope=scope)
        assert await stored(groups.db) == [*before[:2], (3, "b", "one", size, None), before[3]]


async def test_a_row_is_not_moved_out_of_its_scope(groups: GroupRepository) -> None:
    """An update that would take the row out is refused and undone, even where the caller goes on."""
    before = await stored(groups.db)
    patch = GroupPatch(domain_name=OptionalState.update("b"), name=OptionalState.update("moved"))
    for name, scope in OTHER_SCOPES.items():
        with pytest.raises(GroupNotFound if name == "in nothing" else ScopeMismatch):
            await groups.update(GroupId(1), patch, scope=scope)
        async with groups.db.unit_of_work():
            with pytest.raises(RepositoryError):
                await groups.update(GroupId(1), patch, scope=scope)
        assert await stored(groups.db) == before


async def test_a_row_is_not_moved_by_an_expression(groups: GroupRepository) -> None:
    """What only the database can work out is held to the scope as well."""
    patch = GroupPatch(domain_name=OptionalState.expression(lambda: sa.func.lower(sa.literal("B"))))
    for scope in (A, OTHER_SCOPES["any of"], OTHER_SCOPES["exists"]):
        with pytest.raises(ScopeMismatch):
            await groups.update(GroupId(2), patch, scope=scope)
        assert (await groups.get(GroupId(2))).domain_name == "a"


async def test_writes_inside_a_scope_pass(groups: GroupRepository) -> None:
    """A spec and a patch that agree with the scope are written; what cannot leave it costs one statement."""
    either = AnyOf(A, B)
    assert (await groups.create(GroupCreate("b", "new"), scope=either)).domain_name == "b"
    assert (await groups.create(GroupCreate("a", "same"), scope=A)).domain_name == "a"
    with count_statements(groups.db) as sent:
        await groups.update(GroupId(1), NAMED, scope=either)
    assert len(sent) == 1
    assert (await groups.update(GroupId(2), GroupPatch(domain_name=OptionalState.update("b")), scope=either)).id == 2
    assert (await groups.update(GroupId(1), GroupPatch(domain_name=OptionalState.update("a")), scope=A)).id == 1


async def test_a_failed_create_under_a_wide_scope_leaves_the_unit_usable(groups: GroupRepository) -> None:
    """The savepoint around a verified write also undoes a constraint's refusal."""
    async with groups.db.unit_of_work():
        with pytest.raises(RepositoryError):
            await groups.create(GroupCreate("a", "one"), scope=AnyOf(A, B))
        await groups.create(GroupCreate("a", "three"))
    assert await groups.count(A) == 3


class RegionRow(Base):
    __tablename__ = "regions"

    id: Mapped[int] = mapped_column(primary_key=True)
    country: Mapped[str]
    region: Mapped[str] = mapped_column(
        sa.Computed("CASE WHEN country = 'de' THEN 'emea' ELSE 'apac' END", persisted=True)
    )


@dataclass(frozen=True)
class RegionCreate(Spec[RegionRow]):
    country: str


class RegionRepository(Repository[RegionRow]):
    pass


async def test_a_scope_on_a_computed_column(any_tables: WithTables) -> None:
    """A generated column cannot be stamped, so rows are held against it after each write."""
    emea = scope_of(RegionRow.region == "emea")
    async with any_tables(RegionRow) as db:
        regions = RegionRepository(db)
        assert (await regions.create(RegionCreate("de"), scope=emea)).region == "emea"
        with pytest.raises(ScopeMismatch):
            await regions.create(RegionCreate("jp"), scope=emea)
        assert await regions.count() == 1


class TouchedRow(Base):
    __tablename__ = "touched"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    touched: Mapped[int] = mapped_column(server_default="0", onupdate=5)


@dataclass(frozen=True)
class TouchedCreate(Spec[TouchedRow]):
    name: str


@dataclass(frozen=True)
class TouchedPatch(Patch[TouchedRow]):
    name: OptionalState[str] = OptionalState.nop()


class TouchedRepository(Repository[TouchedRow]):
    pass


async def test_a_scope_on_a_column_that_changes_by_itself(any_tables: WithTables) -> None:
    """What onupdate writes can take a row out of its scope as well as what the patch names."""
    untouched = scope_of(TouchedRow.touched == 0)
    async with any_tables(TouchedRow) as db:
        rows = TouchedRepository(db)
        assert (await rows.create(TouchedCreate("x"), scope=untouched)).touched == 0
        with pytest.raises(ScopeMismatch):
            await rows.update(1, TouchedPatch(name=OptionalState.update("y")), scope=untouched)
        assert (await rows.get(1, untouched)).name == "x"


class CounterRepository(Repository[CounterRow]):
    pass


async def test_a_scope_on_a_version(any_tables: WithTables) -> None:
    """The version that every update counts up can take a row out of its scope."""
    fresh = scope_of(CounterRow.version == 1)
    async with any_tables(CounterRow) as db:
        counters = CounterRepository(db)
        async with db.begin_session() as db_sess:
            await db_sess.execute(sa.insert(CounterRow).values(tenant="a", place=1, version=1))
        with pytest.raises(ScopeMismatch):
            await counters.update(("a", 1), CounterPatch(uses=OptionalState.update(2)), scope=fresh)
        with pytest.raises(ScopeMismatch):
            await counters.update_where([], CounterPatch(uses=OptionalState.update(2)), scope=fresh, all_rows=True)
        assert await counters.count(fresh) == 1


MINE = """
CREATE FUNCTION mine(groups) RETURNS boolean LANGUAGE sql AS $$ SELECT $1.domain_name = 'a' $$;
CREATE FUNCTION stands_in(integer) RETURNS text LANGUAGE sql AS $$ SELECT domain_name FROM groups WHERE id = $1 $$;
CREATE SCHEMA own;
CREATE FUNCTION own.lower(integer) RETURNS text LANGUAGE sql AS $$ SELECT stands_in($1) $$;
CREATE OPERATOR === (LEFTARG = integer, RIGHTARG = text, FUNCTION = is_in);
"""
UNSEEN: dict[str, Condition] = {
    "whole row": sa.func.mine(GroupRow.__table__.table_valued(), type_=sa.Boolean),
    "whole row, in parts": sa.and_(sa.func.mine(GroupRow.__table__.table_valued(), type_=sa.Boolean), GroupRow.id > 0),
    "of the key": sa.func.stands_in(GroupRow.id) == "a",
    "of a schema": sa.func.own.lower(GroupRow.id) == "a",
    "operator": GroupRow.id.bool_op("===")("a"),
    "case": sa.case((sa.func.stands_in(GroupRow.id) == "a", sa.true()), else_=sa.false()),
    "subquery": GroupRow.id.in_(sa.select(sa.text("id FROM groups WHERE domain_name = 'a'"))),
}
MOVED = GroupPatch(domain_name=OptionalState.update("b"), name=OptionalState.update("moved"))
MOVES: dict[str, Call] = {
    "update": lambda groups, id, scope: groups.update(id, MOVED, scope=scope),
    "batch_update": lambda groups, id, scope: groups.batch_update([id], MOVED, scope=scope),
    "batch_update_each": lambda groups, id, scope: groups.batch_update_each({id: MOVED}, scope=scope),
    "update_where": lambda groups, id, scope: groups.update_where([GroupRow.id == id], MOVED, scope=scope),
}


@pytest.fixture
async def with_functions(with_tables: WithTables) -> AsyncIterator[GroupRepository]:
    async with groups_in(with_tables) as made:
        is_in = "CREATE FUNCTION is_in(integer, text) RETURNS boolean LANGUAGE sql AS 'SELECT stands_in($1) = $2'"
        *functions, operator, _ = MINE.split(";\n")
        async with made.db.begin_session() as db_sess:
            for statement in (*functions, is_in, operator):
                await db_sess.execute(sa.text(statement))
        yield made
        async with made.db.begin_session() as db_sess:
            await db_sess.execute(sa.text("DROP OPERATOR === (integer, text)"))
            for name in ("is_in(integer, text)", "own.lower(integer)", "stands_in(integer)", "mine(groups)"):
                await db_sess.execute(sa.text(f"DROP FUNCTION {name}"))
            await db_sess.execute(sa.text("DROP SCHEMA own"))


async def test_what_cannot_be_seen_to_stay_is_verified(with_functions: GroupRepository) -> None:
    """A scope by something that may read any column is held against each row that an update wrote."""
    groups, before = with_functions, await stored(with_functions.db)
    for condition in UNSEEN.values():
        scope = scope_of(condition)
        assert await groups.find(GroupId(1), scope) is not None
        for move in MOVES.values():
            with pytest.raises(ScopeMismatch):
                await move(groups, GroupId(1), scope)
        partial = await groups.batch_update_partial({GroupId(1): MOVED}, scope=scope)
        assert [type(item.error) for item in partial.failed] == [ScopeMismatch]
        with pytest.raises(ScopeMismatch):
            await groups.create(GroupCreate("b", "new"), scope=scope)
        assert await stored(groups.db) == before


async def test_what_can_be_seen_to_stay_costs_nothing(groups: GroupRepository) -> None:
    """Comparisons and plain functions of other columns than those written need no second look."""
    here = sa.or_(sa.func.lower(GroupRow.domain_name) == "a", GroupRow.domain_name.in_(["a", "c"]))
    for condition in (here, Not(GroupRow.domain_name != "a"), ~sa.and_(GroupRow.id < 0, GroupRow.size > 9)):
        with count_statements(groups.db) as sent:
            await groups.update(GroupId(1), NAMED, scope=scope_of(condition))
        assert len(sent) == 1


async def test_odd_values_in_a_scope(groups: GroupRepository) -> None:
    """A value that one backend refuses and another stores is refused before anything is sent."""
    calls = [
        lambda s: groups.get(GroupId(1), s),
        lambda s: groups.count(s),
        lambda s: groups.update(GroupId(1), NAMED, scope=s),
        lambda s: groups.create(BareCreate("x"), scope=s),
        lambda s: groups.purge(GroupId(1), scope=s),
    ]
    odd = (DomainScope("\x00"), DomainScope("a\ud800"), scope_of(GroupRow.domain_name.in_(["a", "\x00"])))
    for scope in odd:
        for call in calls:
            with count_statements(groups.db) as sent, pytest.raises(InvalidValue):
                await call(scope)
            assert sent == []


async def test_a_stamp_must_fit_its_column(groups: GroupRepository) -> None:
    """Asking for a domain with too long a name finds nothing; creating in it is an error on both backends."""
    scope = DomainScope("x" * 21)
    assert await groups.count(scope) == 0
    with pytest.raises(InvalidValue, match="20 characters"):
        await groups.create(BareCreate("x"), scope=scope)


def test_not_is_the_exact_complement() -> None:
    """A row whose condition is NULL is outside of the scope and inside of its Not."""
    sql = str(Not(GroupRow.note == "x")().compile())
    assert sql == "(groups.note = :note_1) IS NOT true"
