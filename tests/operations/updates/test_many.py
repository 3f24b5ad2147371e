"""Changing many rows: by one patch, by a patch each, by conditions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from company import RegionRow, TeamRepository, TeamRow, UserRow, company
from rowsmith import (
    AnyOf,
    BatchUpdater,
    Condition,
    Database,
    DatabaseUnavailable,
    InvalidFilter,
    InvalidValue,
    MappingError,
    OptionalState,
    Patch,
    Query,
    ScopeMismatch,
    ScopeRequired,
    SearchScope,
    StaleVersion,
    TriState,
)
from rowsmith.filters import Filter, NumberFilter
from rowsmith.testing import WithTables
from support import comes_late, count_statements, is_waited_for
from tenants import (
    Base,
    CheckedScope,
    CounterPatch,
    CounterRepository,
    CounterRow,
    DomainNotFound,
    DomainScope,
    GroupId,
    GroupNameTaken,
    GroupPatch,
    GroupRow,
    MemberCreate,
    MemberRepository,
    TenantScope,
    TokenPatch,
    TokenRow,
    UsedScope,
    counters_in,
    groups_in,
    stored,
    used,
    uses,
)

A, B = TenantScope("a"), TenantScope("b")


@pytest.fixture
async def counters(any_tables: WithTables) -> AsyncIterator[CounterRepository]:
    async with counters_in(any_tables) as made:
        yield made


class PlaceFilter(Filter[CounterRow]):
    place: NumberFilter | None = None


async def everything(counters: CounterRepository) -> list[tuple[Any, ...]]:
    """Key, uses, label and version of every row, as stored."""
    wanted = sa.select(CounterRow.tenant, CounterRow.place, CounterRow.uses, CounterRow.label, CounterRow.version)
    return await stored(counters.db, wanted.order_by(CounterRow.tenant, CounterRow.place))


async def test_one_patch_goes_into_many_rows_and_every_id_is_reported(counters: CounterRepository) -> None:
    """Succeeded rows and missing ids both stand in the order of the input, each id in exactly one."""
    result = await counters.batch_update([("a", 3), ("x", 1), ("b", 0), ("a", 9), ("a", 1)], uses(7))
    assert [(data.tenant, data.place, data.uses) for data in result.succeeded] == [
        ("a", 3, 7),
        ("b", 0, 7),
        ("a", 1, 7),
    ]
    assert result.missing == [("x", 1), ("a", 9)]
    assert [row[2] for row in await everything(counters)] == [0, 7, 0, 7, 7, 0, 0, 0]


async def test_what_comes_back_is_what_the_database_holds(counters: CounterRepository) -> None:
    """Only set fields are written; onupdate fires and the version goes up by one."""
    (data,) = (await counters.batch_update([("a", 0)], CounterPatch(label=TriState.update("x")))).succeeded
    assert (data.label, data.uses, data.touched, data.version) == ("x", 0, "yes", 2)
    (data,) = (await counters.batch_update([("a", 0)], CounterPatch(label=TriState.nullify()))).succeeded
    assert (data.label, data.version) == (None, 3)
    assert await counters.get(("a", 0)) == data


async def test_each_row_gets_its_own_patch(counters: CounterRepository) -> None:
    """One statement writes different values into different rows, NULL and JSON among them."""
    patches = {
        ("b", 1): CounterPatch(label=TriState.update("é"), document=TriState.update({"k": [1, None]})),
        ("a", 9): CounterPatch(label=TriState.update("n"), document=TriState.update("text")),
        ("a", 2): CounterPatch(label=TriState.nullify(), document=TriState.nullify()),
    }
    result = await counters.batch_update_each(patches)
    assert [(d.tenant, d.label, d.document, d.version) for d in result.succeeded] == [
        ("b", "é", {"k": [1, None]}, 2),
        ("a", None, None, 2),
    ]
    assert result.missing == [("a", 9)]
    is_null = sa.select(CounterRow.document.is_(sa.null())).where(CounterRow.tenant == "a", CounterRow.place == 2)
    assert (await stored(counters.db, is_null))[0][0]


@pytest.mark.parametrize("verb", ["update", "batch_update", "batch_update_each", "update_where"])
async def test_an_expression_counts_in_the_database(counters: CounterRepository, verb: str) -> None:
    """Thirty concurrent increments are thirty, in whatever form they come."""
    key = ("a", 1)

    async def once() -> None:
        match verb:
            case "update":
                await counters.update(key, used(1))
            case "batch_update":
                assert (await counters.batch_update([("a", 2), key], used(1))).missing == []
            case "batch_update_each":
                assert (await counters.batch_update_each({key: used(1), ("a", 0): used(1)})).missing == []
            case _:
                assert await counters.update_where([CounterRow.place == 1], used(1), scope=A) == 1

    await asyncio.gather(*(once() for _ in range(30)))
    assert (await counters.get(key)).uses == 30


async def test_expressions_of_one_form_may_differ_in_their_literals(counters: CounterRepository) -> None:
    """Each row counts up by its own amount, in one statement."""
    with count_statements(counters.db) as sent:
        result = await counters.batch_update_each({("a", place): used(place + 1) for place in range(4)})
    assert [data.uses for data in result.succeeded] == [1, 2, 3, 4]
    assert len(sent) == 1


async def test_patches_may_set_different_fields(counters: CounterRepository) -> None:
    """And in different ways; results stand in the order of the input, whatever statement wrote them."""
    patches = {
        ("b", 1): uses(9),
        ("a", 2): CounterPatch(label=TriState.update("x")),
        ("a", 9): CounterPatch(label=TriState.update("x")),
        ("a", 0): CounterPatch(),
        ("a", 3): used(2),
        ("x", 0): CounterPatch(),
        ("a", 1): CounterPatch(uses=OptionalState.expression(lambda: CounterRow.uses - 1)),
        ("b", 0): CounterPatch(uses=OptionalState.update(4), label=TriState.nullify()),
        ("b", 2): uses(5),
    }
    result = await counters.batch_update_each(patches)
    assert [(d.tenant, d.place, d.uses, d.label, d.version) for d in result.succeeded] == [
        ("b", 1, 9, None, 2),
        ("a", 2, 0, "x", 2),
        ("a", 0, 0, None, 1),
        ("a", 3, 2, None, 2),
        ("a", 1, -1, None, 2),
        ("b", 0, 4, None, 2),
        ("b", 2, 5, None, 2),
    ]
    assert result.missing == [("a", 9), ("x", 0)]
    assert {data.label: None for data in result.succeeded} == {None: None, "x": None}
    for data in result.succeeded:
        assert await counters.get((data.tenant, data.place)) == data


async def test_patches_of_different_fields_are_written_all_or_none(counters: CounterRepository) -> None:
    """One that is stale, or leaves the scope, undoes what other statements wrote; in a unit of work, too."""
    before = await everything(counters)
    patches = {("a", 1): uses(9), ("a", 2): CounterPatch(label=TriState.update("x")), ("a", 3): CounterPatch()}
    for stale in patches:
        async with counters.db.unit_of_work():
            with pytest.raises(StaleVersion) as caught:
                await counters.batch_update_each(patches, expected_versions=dict.fromkeys(patches, 1) | {stale: 2})
            assert caught.value.stale == (stale,)
    for scope in (UsedScope(5), AnyOf(UsedScope(5), UsedScope(9))):
        outside = {("a", 1): CounterPatch(label=TriState.update("x")), ("a", 2): uses(20)}
        await counters.update_where([], uses(5), all_rows=True)
        before = await everything(counters)
        async with counters.db.unit_of_work():
            with pytest.raises(ScopeMismatch):
                await counters.batch_update_each(outside, scope=scope)
        assert await everything(counters) == before


async def test_patches_of_different_fields_each_stand_for_themselves(counters: CounterRepository) -> None:
    """In the partial form: the fault of one is its own."""
    result = await counters.batch_update_partial(
        {
            ("a", 1): uses(9),
            ("a", 2): CounterPatch(label=TriState.update("x" * 11)),
            ("a", 9): used(1),
            ("a", 3): CounterPatch(label=TriState.update("x")),
            ("a", 0): used(3),
        }
    )
    assert [(success.index, success.data.uses, success.data.label) for success in result.succeeded] == [
        (0, 9, None),
        (3, 0, "x"),
        (4, 3, None),
    ]
    assert [failure.index for failure in result.failed] == [1, 2]


async def test_patches_of_different_fields_keep_objects_in_step(counters: CounterRepository) -> None:
    """Those that a session holds are as the rows are."""
    async with counters.db.unit_of_work() as unit:
        held = [await unit.session.get_one(CounterRow, ("a", place)) for place in range(3)]
        await counters.batch_update_each({("a", 0): uses(9), ("a", 1): CounterPatch(label=TriState.update("x"))})
        assert [(row.uses, row.label, row.version) for row in held] == [(9, None, 2), (0, "x", 2), (0, None, 1)]


async def test_rows_of_different_patches_wait_for_each_other_in_key_order(with_tables: WithTables) -> None:
    """Two batches whose statements come in opposite orders do not deadlock."""
    async with counters_in(with_tables, 40) as counters:
        label = CounterPatch(label=TriState.update("x"))
        plain = CounterRepository(counters.db, resilience=None)

        async def send(turn: int) -> None:
            for _ in range(10):
                places = range(40) if turn % 2 else range(39, -1, -1)
                patches = [used(1), label] if turn % 3 else [label, used(1)]
                await plain.batch_update_each({("a", place): patches[place % 2] for place in places})

        await asyncio.gather(*(send(turn) for turn in range(6)))
        assert sum(row[2] for row in await everything(counters)) > 0


async def test_a_row_that_comes_once_the_others_are_locked_is_not_waited_for(
    with_tables: WithTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of key order that could be in a circle; what others hold by then came after the batch, and is missing."""
    async with counters_in(with_tables, 3) as counters, counters.db.engine.connect() as other:
        comes_late(monkeypatch, other, sa.insert(CounterRow).values(tenant="a", place=-1, version=1))
        async with counters.db.unit_of_work() as unit:
            await unit.session.execute(sa.text("SET LOCAL lock_timeout = 1"))
            label = CounterPatch(label=TriState.update("x"))
            done = await counters.batch_update_each({("a", 1): used(1), ("a", -1): used(1), ("a", 0): label})
        assert (len(done.succeeded), done.missing) == (2, [("a", -1)])


async def test_a_value_that_does_not_fit_is_refused_with_its_index(counters: CounterRepository) -> None:
    """Not sent at all, the same on every backend, and the value is not in the message."""
    patches = {("a", place): CounterPatch(label=TriState.update("x" * length)) for place, length in [(0, 10), (1, 11)]}
    with count_statements(counters.db) as sent, pytest.raises(InvalidValue, match="the patch at index 1") as caught:
        await counters.batch_update_each(patches)
    assert "xxx" not in str(caught.value)
    assert sent == []
    assert caught.value.error_code == "counter_batch-update-each_invalid-value"


ODD = [
    *(CounterPatch(uses=OptionalState.update(bad)) for bad in (2**31, 2**63, -(2**31) - 1, "7", 1.5, True)),
    *(CounterPatch(label=TriState.update(bad)) for bad in ("\x00", "\ud800", 7, "x" * 11)),
    *(CounterPatch(document=TriState.update(bad)) for bad in (float("nan"), {"k": "\x00"}, {1: 2}, object())),
]


@pytest.mark.parametrize("patch", ODD, ids=range(len(ODD)))
async def test_odd_values_are_refused_before_anything_is_sent(counters: CounterRepository, patch: CounterPatch) -> None:
    """By every form of batch update, the same on each backend."""
    with count_statements(counters.db) as sent:
        for call in (
            counters.batch_update([("a", 0)], patch),
            counters.batch_update_each({("a", 1): patch, ("a", 0): patch}),
            counters.update_where([CounterRow.place == 0], patch),
        ):
            with pytest.raises(InvalidValue):
                await call
    assert sent == []


@pytest.mark.parametrize(
    "ids",
    [
        [("a", 1), ("a", 0), ("a", 1)],
        ["a"],
        [("a", None)],
        [("a", 1, 2)],
        [("a", 2**31)],
        [("\x00", 1)],
        [("\ud800", 1)],
    ],
)
async def test_bad_ids_are_refused(counters: CounterRepository, ids: list[Any]) -> None:
    """An id that stands twice, or is none."""
    for call in (counters.batch_update(ids, uses(1)), counters.batch_delete(ids), counters.batch_purge(ids)):
        with pytest.raises(InvalidValue):
            await call


async def test_a_duplicate_id_is_named_by_its_places(counters: CounterRepository) -> None:
    """Not by its value."""
    with pytest.raises(InvalidValue, match="the id at index 2 stands at index 0 already"):
        await counters.batch_update([("a", 1), ("a", 0), ("a", 1)], uses(1))


async def test_a_patch_with_nothing_set_only_reads(counters: CounterRepository) -> None:
    """No UPDATE is sent, no version goes up, and absent ids are still reported."""
    before = await everything(counters)
    with count_statements(counters.db) as sent:
        result = await counters.batch_update([("a", 1), ("a", 9)], CounterPatch())
        each = await counters.batch_update_each({("a", 1): CounterPatch(), ("a", 9): CounterPatch()})
        assert await counters.update_where([CounterRow.place == 1], CounterPatch()) == 0
    assert result == each
    assert (len(result.succeeded), result.missing) == (1, [("a", 9)])
    assert {statement.split()[0] for statement in sent} == {"SELECT"}
    assert await everything(counters) == before


async def test_nothing_asked_is_nothing_sent(counters: CounterRepository) -> None:
    """An empty batch is an empty result without a statement."""
    with count_statements(counters.db) as sent:
        assert await counters.batch_update([], uses(1)) == await counters.batch_update_each({})
        assert (await counters.batch_purge([])).succeeded == []
        assert (await counters.batch_delete([])).missing == []
    assert sent == []


async def test_key_columns_are_not_changed_by_batches(counters: CounterRepository) -> None:
    """Rows could not be told apart by what comes back."""
    patch = CounterPatch(tenant=OptionalState.update("z"))
    for call in (
        counters.batch_update([("a", 0)], patch),
        counters.batch_update_each({("a", 0): patch}),
        counters.update_where([CounterRow.place == 0], patch),
    ):
        with pytest.raises(InvalidValue, match=r"CounterRow\.tenant"):
            await call


async def test_versions_are_checked_row_by_row(counters: CounterRepository) -> None:
    """Where one row is stale nothing is written, and the error names it; absent rows are only missing."""
    await counters.update(("a", 1), uses(5))
    before = await everything(counters)
    versions = {("a", 0): 1, ("a", 1): 1, ("a", 9): 1}
    for call in (
        counters.batch_update(list(versions), uses(9), expected_versions=versions),
        counters.batch_update_each({pk: uses(9) for pk in versions}, expected_versions=versions),
        counters.batch_update(list(versions), CounterPatch(), expected_versions=versions),
    ):
        with pytest.raises(StaleVersion) as caught:
            await call
        assert caught.value.stale == (("a", 1),)
    assert await everything(counters) == before
    result = await counters.batch_update_each(
        {pk: uses(9) for pk in versions}, expected_versions={**versions, ("a", 1): 2}
    )
    assert [data.version for data in result.succeeded] == [2, 3]
    assert result.missing == [("a", 9)]


async def test_a_stale_row_leaves_the_unit_of_work_usable(counters: CounterRepository) -> None:
    """The batch is undone on its own; what the unit did before and does after is kept."""
    async with counters.db.unit_of_work():
        await counters.update(("a", 0), uses(1))
        with pytest.raises(StaleVersion):
            await counters.batch_update([("a", 2), ("a", 0)], uses(5), expected_versions={("a", 2): 1, ("a", 0): 1})
        await counters.update(("a", 3), uses(3))
    assert [row[2] for row in await everything(counters)][:4] == [1, 0, 0, 3]


async def test_expected_versions_are_for_exactly_the_ids(counters: CounterRepository) -> None:
    """A forgotten or foreign one is refused; so are versions of a row that keeps none."""
    for versions in ({("a", 0): 1}, {("a", 0): 1, ("a", 1): 1, ("a", 2): 1}):
        with pytest.raises(InvalidValue, match="expected_versions"):
            await counters.batch_update([("a", 0), ("a", 1)], uses(1), expected_versions=versions)


async def test_versions_of_a_row_without_any_are_refused(any_tables: WithTables) -> None:
    """As for a single update."""
    async with groups_in(any_tables) as groups:
        with pytest.raises(MappingError, match="version_id_col"):
            await groups.batch_update([GroupId(1)], GroupPatch(), expected_versions={GroupId(1): 1})


async def test_a_version_may_be_a_token(any_tables: WithTables) -> None:
    """What the mapper's generator makes is written, and the old token is stale."""
    async with any_tables(TokenRow) as db:
        updater = BatchUpdater(TokenRow)
        async with db.begin_session() as db_sess:
            db_sess.add_all([TokenRow(id=1, label="x"), TokenRow(id=2, label="y")])
        async with db.begin_session() as db_sess:
            old = {row.id: row.token for row in await db_sess.scalars(sa.select(TokenRow))}
        patch = TokenPatch(label=OptionalState.update("z"))
        async with db.begin_session() as db_sess:
            result = await updater.update(db_sess, [1, 2], patch, expected_versions=old)
            assert all(row.token != old[row.id] for row in result.succeeded)
        with pytest.raises(StaleVersion):
            async with db.begin_session() as db_sess:
                await updater.update(db_sess, [1, 2], patch, expected_versions=old)


async def test_another_tenants_rows_are_absent(counters: CounterRepository) -> None:
    """Identical to ids that are nowhere, in every form, and unchanged."""
    theirs = [row for row in await everything(counters) if row[0] == "b"]
    for foreign in (("b", 0), ("b", 77)):
        assert (await counters.batch_update([foreign], uses(9), scope=A)).missing == [foreign]
        assert (await counters.batch_update_each({foreign: uses(9)}, scope=A)).missing == [foreign]
        assert (await counters.batch_update([foreign], CounterPatch(), scope=A)).missing == [foreign]
        (failure,) = (await counters.batch_update_partial({foreign: uses(9)}, scope=A)).failed
        assert failure.error.error_code == "counter_batch-update-partial_not-found"
        versions = {foreign: 99}
        assert (await counters.batch_update([foreign], uses(9), scope=A, expected_versions=versions)).missing == [
            foreign
        ]
    assert await counters.update_where([CounterRow.place >= 0], uses(9), scope=A) == 4
    assert [row for row in await everything(counters) if row[0] == "b"] == theirs


async def test_deleted_rows_are_absent(counters: CounterRepository) -> None:
    """Updates do not see them."""
    await counters.batch_delete([("a", 1)])
    assert (await counters.batch_update([("a", 1)], uses(1))).missing == [("a", 1)]
    assert (await counters.batch_update_each({("a", 1): uses(1)})).missing == [("a", 1)]
    assert await counters.update_where([], uses(1), all_rows=True) == 7


async def test_no_row_leaves_its_scope(any_tables: WithTables) -> None:
    """Neither by a value that the scope fixes, nor past a condition that could not be stamped."""
    async with groups_in(any_tables) as groups:
        before = await stored(groups.db)
        away = GroupPatch(domain_name=OptionalState.update("z"))
        either = AnyOf(DomainScope("a"), DomainScope("c"))
        for scope in (DomainScope("a"), either):
            for call in (
                groups.batch_update([GroupId(1), GroupId(3)], away, scope=scope),
                groups.batch_update_each({GroupId(2): away}, scope=scope),
                groups.update_where([], away, scope=scope, all_rows=True),
            ):
                with pytest.raises(ScopeMismatch):
                    await call
        assert await stored(groups.db) == before
        inside = GroupPatch(domain_name=OptionalState.update("c"))
        assert await groups.update_where([], inside, scope=either, all_rows=True) == 2


async def test_a_counter_may_not_count_itself_out_of_scope(counters: CounterRepository) -> None:
    """Expressions are held against the scope after they were worked out, and undone with the whole batch."""
    scope, before = UsedScope(5), await everything(counters)
    with pytest.raises(ScopeMismatch):
        await counters.batch_update_each({("a", 0): used(5), ("a", 1): used(6)}, scope=scope)
    assert await everything(counters) == before
    assert len((await counters.batch_update_each({("a", 0): used(5), ("a", 1): used(4)}, scope=scope)).succeeded) == 2


async def test_a_scope_may_be_required(any_tables: WithTables) -> None:
    """Every batch verb refuses to do without, an empty batch included."""

    class Strict(CounterRepository):
        scope_required = True

    async with counters_in(any_tables) as counters:
        strict = Strict(counters.db)
        for call in (
            strict.batch_update([], uses(1)),
            strict.batch_update_each({}),
            strict.update_where([], uses(1), all_rows=True),
            strict.batch_delete([]),
            strict.batch_restore([]),
            strict.batch_purge([]),
            strict.batch_purge_partial([]),
            strict.purge_where([], all_rows=True),
        ):
            with pytest.raises(ScopeRequired):
                await call


LIMITING_NOTHING: dict[str, Any] = {
    "a filter that excludes nothing": PlaceFilter(place=NumberFilter(not_in=[])),
    "such a filter inside of one": PlaceFilter(AND=[PlaceFilter(place=NumberFilter(not_in=[]))]),
    "a Query": Query((CounterRow.place.not_in([]),)),
    "true": [sa.true()],
    "a value": [sa.literal(True)],
    "not false": [sa.not_(sa.false())],
    "itself": [CounterRow.place == CounterRow.place],
    "no NULL": [CounterRow.place.is_not(None)],
    "two of them": [sa.true(), lambda: CounterRow.uses >= CounterRow.uses],
    "either way": [sa.or_(CounterRow.place == 1, CounterRow.place != 1)],
    "of no row": [sa.func.lower("A") == "a"],
}


@pytest.mark.parametrize("filters", LIMITING_NOTHING.values(), ids=LIMITING_NOTHING)
async def test_conditions_that_every_row_meets_are_none(counters: CounterRepository, filters: Any) -> None:
    """As of a scope: no verb takes them for a condition without all_rows=True, and each does all of them with it."""
    verbs: list[Any] = [
        (counters.update_where, (uses(1),), {}),
        (counters.delete_where, (), {}),
        (counters.restore_where, (), {}),
        (counters.purge_where, (), {"dry_run": True}),
        (counters.purge_where, (), {"chunk_size": None}),
        (counters.purge_where, (), {}),
    ]
    for verb, given, options in verbs:
        with count_statements(counters.db) as sent, pytest.raises(InvalidFilter, match="all_rows=True"):
            await verb(filters, *given, scope=A, **options)
        assert sent == []
    for verb, given, options in verbs[:-1]:
        done = await verb(filters, *given, scope=A, all_rows=True, **options)
        assert getattr(done, "rows", done) == 4
    assert len((await counters.search(None, filters)).items) == 4


async def test_conditions_that_no_row_meets_are_some(counters: CounterRepository) -> None:
    """A list of nothing leaves no row, and nothing is done; a part that is true takes nothing from those beside it."""
    assert await counters.update_where(PlaceFilter(place=NumberFilter(in_=[])), uses(1)) == 0
    assert await counters.update_where([sa.false()], uses(1)) == 0
    assert await counters.update_where([sa.true(), CounterRow.place == 1], uses(1)) == 2


async def test_an_update_over_conditions_needs_one(counters: CounterRepository) -> None:
    """Or all_rows=True, said outright; a scope does not count, nor does a filter with nothing in it."""
    for filters in ([], None):
        with pytest.raises(InvalidFilter, match="all_rows=True"):
            await counters.update_where(filters, uses(1), scope=A)
    assert await counters.update_where([], uses(1), scope=A, all_rows=True) == 4
    assert await counters.update_where([CounterRow.place < 2], uses(2)) == 4
    assert [row[2] for row in await everything(counters)] == [2, 2, 1, 1, 2, 2, 0, 0]


async def test_a_taken_key_undoes_the_whole_batch(any_tables: WithTables) -> None:
    """The domain's own error for the constraint, and no row written."""
    async with groups_in(any_tables) as groups:
        before = await stored(groups.db)
        same = GroupPatch(name=OptionalState.update("same"))
        with pytest.raises(GroupNameTaken) as caught:
            await groups.batch_update([GroupId(1), GroupId(2)], same)
        assert caught.value.error_code == "group_batch-update_already-exists"
        assert await stored(groups.db) == before


async def test_objects_of_the_session_are_kept_in_step(any_tables: WithTables) -> None:
    """An object loaded before the batch shows what the batch wrote; operations without data give objects."""
    async with counters_in(any_tables) as counters, counters.db.begin_session() as db_sess:
        updater = BatchUpdater(CounterRow)
        held = (await db_sess.scalars(sa.select(CounterRow).where(CounterRow.place == 1))).all()
        await counters.db_source.batch_updater.update(db_sess, [("a", 1)], uses(7))
        assert [row.uses for row in held] == [7, 0]
        (given,) = (await updater.update_each(db_sess, {("b", 1): uses(8)})).succeeded
        assert given in held
        assert await updater.update_where(db_sess, [CounterRow.place == 1], uses(9)) == 2
        assert [(row.uses, row.version) for row in held] == [(9, 3), (9, 3)]


@pytest.mark.parametrize("size", [1, 100, 3000])
async def test_the_number_of_statements_does_not_depend_on_the_rows(any_tables: WithTables, size: int) -> None:
    """One where all rows are there; a savepoint's two more where versions are to be checked."""
    async with counters_in(any_tables, size) as counters:
        ids = [("a", place) for place in range(size)]
        versions = dict.fromkeys(ids, 2)
        with count_statements(counters.db) as sent:
            assert (await counters.batch_update(ids, uses(1))).missing == []
            assert len(sent) == 1
            assert (
                await counters.batch_update_each({pk: uses(2) for pk in ids}, expected_versions=versions)
            ).missing == []
            assert len(sent) == 4
            assert (await counters.batch_update_each({pk: uses(2) for pk in ids})).missing == []
            assert len(sent) == 5
            assert await counters.update_where([CounterRow.tenant == "a"], uses(3)) == size
            assert len(sent) == (7 if counters.db.engine.dialect.name == "postgresql" else 6)  # one that locks them


async def test_forty_thousand_ids_in_one_call(any_tables: WithTables) -> None:
    """All are written and reported, in order, on both databases."""
    async with counters_in(any_tables, 20_000) as counters:
        ids = [(tenant, place) for place in range(20_000) for tenant in "ba"]
        result = await counters.batch_update(ids, uses(1))
        assert ([(data.tenant, data.place) for data in result.succeeded], result.missing) == (ids, [])
        each = await counters.batch_update_each({pk: uses(place) for place, pk in enumerate(ids)})
        assert [data.uses for data in each.succeeded] == list(range(40_000))
        assert len((await counters.batch_purge([*ids, ("c", 1)])).succeeded) == 40_000


class TaggedRow(Base):
    __tablename__ = "tagged"

    id: Mapped[int] = mapped_column(primary_key=True)
    tags: Mapped[list[Any] | None] = mapped_column(sa.ARRAY(sa.String))
    grid: Mapped[list[Any] | None] = mapped_column(sa.ARRAY(sa.Integer, dimensions=2))


@dataclass(frozen=True)
class TaggedPatch(Patch[TaggedRow]):
    tags: TriState[list[Any]] = TriState.nop()
    grid: TriState[list[Any]] = TriState.nop()


async def test_arrays_travel_in_arrays(with_tables: WithTables) -> None:
    """An array of arrays is not taken apart, whatever its items are."""
    tags = [["a", None, 'q"uo\\te', "{},", ""], [], None]
    grids = [[[1, 2], [3, 4]], [], None]
    async with with_tables(TaggedRow) as db:
        async with db.begin_session() as db_sess:
            db_sess.add_all([TaggedRow(id=place) for place in range(3)])
        patches = {
            place: TaggedPatch(
                tags=TriState.nullify() if tag is None else TriState.update(tag),
                grid=TriState.nullify() if grid is None else TriState.update(grid),
            )
            for place, (tag, grid) in enumerate(zip(tags, grids, strict=True))
        }
        async with db.begin_session() as db_sess:
            rows = (await BatchUpdater(TaggedRow).update_each(db_sess, patches)).succeeded
            assert ([row.tags for row in rows], [row.grid for row in rows]) == (tags, grids)


PARTITIONED = """
DROP TABLE counters;
CREATE TABLE counters (
    tenant varchar(10), place int, uses int NOT NULL DEFAULT 0, label_text varchar(10), document json,
    touched text NOT NULL DEFAULT 'no', deleted_at timestamptz, version int NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant, place)
) PARTITION BY LIST (tenant);
CREATE TABLE counters_a PARTITION OF counters FOR VALUES IN ('a');
CREATE TABLE counters_b PARTITION OF counters FOR VALUES IN ('b');
INSERT INTO counters (tenant, place) SELECT t, p FROM unnest(ARRAY['a', 'b']) t, generate_series(0, 9) p
"""


async def test_partitions_are_no_trap(with_tables: WithTables) -> None:
    """Rows of different partitions that stand at the same place are told apart."""
    async with with_tables(CounterRow) as db:
        async with db.engine.begin() as connection:
            for statement in PARTITIONED.split(";"):
                await connection.execute(sa.text(statement))
        counters = CounterRepository(db)
        result = await counters.batch_update([("a", 1), ("b", 2), ("c", 3)], used(1))
        assert ([data.uses for data in result.succeeded], result.missing) == ([1, 1], [("c", 3)])
        each = await counters.batch_update_each({("a", 1): used(1), ("b", 2): used(2)}, scope=A)
        assert ([data.uses for data in each.succeeded], each.missing) == ([2], [("b", 2)])
        assert len((await counters.batch_purge([("a", 1), ("b", 3)])).succeeded) == 2
        report = await counters.purge_where([CounterRow.place >= 5], chunk_size=3)
        assert (report.rows, await counters.count()) == (10, 8)


async def test_a_row_changed_meanwhile_is_still_found(with_tables: WithTables) -> None:
    """A batch that waits for a lock sees the row that the other transaction left, not the one before."""
    async with counters_in(with_tables) as counters:
        async with Database(counters.db.engine).begin_session() as other:
            await other.execute(sa.update(CounterRow).where(CounterRow.place == 1).values(uses=CounterRow.uses + 10))
            calls = [
                asyncio.create_task(counters.batch_update([("a", 0), ("a", 1)], used(1))),
                asyncio.create_task(counters.batch_update_each({("b", 1): used(1), ("b", 0): used(1)})),
            ]
            assert await is_waited_for(other, *calls)
        results = await asyncio.gather(*calls)
        assert [[data.uses for data in result.succeeded] for result in results] == [[1, 11], [11, 1]]
        assert [result.missing for result in results] == [[], []]


async def test_a_row_that_left_meanwhile_is_missing(with_tables: WithTables) -> None:
    """One that the other transaction deleted, or took out of the scope, is not written."""
    async with counters_in(with_tables) as counters:
        async with Database(counters.db.engine).begin_session() as other:
            await other.execute(sa.delete(CounterRow).where(CounterRow.place == 1))
            await other.execute(sa.update(CounterRow).where(CounterRow.place == 2).values(uses=100))
            call = asyncio.create_task(
                counters.batch_update([("a", 0), ("a", 1), ("a", 2)], used(1), scope=UsedScope(50))
            )
            assert await is_waited_for(other, call)
        result = await call
        assert ([data.place for data in result.succeeded], result.missing) == ([0], [("a", 1), ("a", 2)])


async def test_each_item_of_a_partial_batch_stands_for_itself(counters: CounterRepository) -> None:
    """Absent, unfit and stale ones fail, each with its index; the rest is written, whatever fields it sets."""
    await counters.update(("a", 3), uses(1))
    patches = {
        ("a", 0): uses(10),
        ("a", 9): uses(10),
        ("a", 1): CounterPatch(uses=OptionalState.update(2**40)),
        ("b", 0): uses(10),
        ("a", 2): CounterPatch(label=TriState.update("x")),
        ("a", 3): uses(10),
    }
    versions = dict.fromkeys(patches, 1)
    result = await counters.batch_update_partial(patches, scope=A, expected_versions=versions)
    assert [(success.index, success.data.uses) for success in result.succeeded] == [(0, 10), (4, 0)]
    assert [(failure.index, failure.error.error_code) for failure in result.failed] == [
        (1, "counter_batch-update-partial_not-found"),
        (2, "counter_batch-update-partial_invalid-value"),
        (3, "counter_batch-update-partial_not-found"),
        (5, "counter_batch-update-partial_stale-version"),
    ]
    assert "index 2" in str(result.failed[1].error)


async def test_a_constraint_is_the_fault_of_one_item(any_tables: WithTables) -> None:
    """The others of the batch are written."""
    async with groups_in(any_tables) as groups:
        names = {GroupId(1): "new", GroupId(2): "one", GroupId(3): "two"}
        bad = {GroupId(2): GroupPatch(size=OptionalState.update(-1))}
        patches = {pk: GroupPatch(name=OptionalState.update(name)) for pk, name in names.items()}
        result = await groups.batch_update_partial(patches)
        assert [success.index for success in result.succeeded] == [0, 1, 2]
        result = await groups.batch_update_partial(
            {GroupId(pk): GroupPatch(size=OptionalState.update(pk)) for pk in (1, 3)} | bad
        )
        assert ([s.index for s in result.succeeded], [f.index for f in result.failed]) == ([0, 1], [2])
        assert [row[3] for row in await stored(groups.db)] == [1, 0, 3, 0]


async def test_a_lost_connection_is_nobodys_fault(with_tables: WithTables) -> None:
    """It ends the batch; no row is written and none is blamed."""
    async with counters_in(with_tables) as counters:
        before = await everything(counters)

        async def kill() -> None:
            waiting = "wait_event_type = 'Lock' AND datname = current_database()"
            ended = sa.text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {waiting}")
            async with counters.db.engine.connect() as door:
                while not (await door.execute(ended)).all():
                    await door.rollback()  # within a transaction the answer stays the same
                    await asyncio.sleep(0.02)

        async with Database(counters.db.engine).begin_session() as other:
            await other.execute(sa.update(CounterRow).where(CounterRow.place == 1).values(uses=0))
            call = asyncio.create_task(counters.batch_update_partial({("a", 0): uses(1), ("a", 1): uses(1)}))
            await kill()
            with pytest.raises(DatabaseUnavailable):
                await call
        assert [row[2] for row in await everything(counters)] == [row[2] for row in before]


async def test_references_may_be_made_while_a_batch_updates(with_tables: WithTables) -> None:
    """Rows are locked no harder than an UPDATE of those columns locks them: others may refer to them."""
    async with groups_in(with_tables) as groups, groups.db.begin_session() as db_sess:
        await groups.db_source.batch_updater.update(db_sess, [1], GroupPatch(size=OptionalState.update(1)))
        async with asyncio.timeout(5):
            await MemberRepository(groups.db).create(MemberCreate(1, "x"))


@dataclass(frozen=True)
class InEurope(SearchScope):
    def to_conditions(self) -> Sequence[Condition]:
        return [TeamRow.region.has(RegionRow.title == "Europe")]


@dataclass(frozen=True)
class TeamSize(Patch[TeamRow]):
    size: OptionalState[int] = OptionalState.nop()


async def test_conditions_may_reach_over_relationships(any_tables: WithTables) -> None:
    """As EXISTS, in a scope and in filters, and mean the same as in a search."""
    async with company(any_tables) as db:
        teams, peopled = TeamRepository(db), [TeamRow.users.any(UserRow.name != "")]
        inside = [team.id for team in (await teams.search(InEurope())).items]
        full = [team.id for team in (await teams.search(InEurope(), peopled)).items]
        everybody = [team.id for team in (await teams.search()).items]
        assert 0 < len(full) <= len(inside) < len(everybody)
        sized = TeamSize(OptionalState.update(7))
        result = await teams.batch_update(everybody, sized, scope=InEurope())
        assert [team.id for team in result.succeeded] == inside
        each = await teams.batch_update_each(dict.fromkeys(everybody, sized), scope=InEurope())
        assert ([team.id for team in each.succeeded], each.missing) == (inside, result.missing)
        assert await teams.update_where(peopled, sized, scope=InEurope()) == len(full)
        assert (await teams.purge_where(peopled, scope=InEurope(), dry_run=True)).rows == len(full)
        assert (await teams.batch_delete(everybody, scope=InEurope())).missing == result.missing
        assert (await teams.batch_purge(result.missing, scope=InEurope())).succeeded == []


async def test_what_the_scope_refers_to_must_be_there(any_tables: WithTables) -> None:
    """The declared error, by one more statement before anything is written."""
    async with groups_in(any_tables) as groups:
        patch, ids = GroupPatch(size=OptionalState.update(1)), [GroupId(1)]
        for call in (
            lambda scope: groups.batch_update(ids, patch, scope=scope),
            lambda scope: groups.batch_update_each({GroupId(1): patch}, scope=scope),
            lambda scope: groups.update_where([GroupRow.size == 0], patch, scope=scope),
            lambda scope: groups.batch_delete(ids, scope=scope),
            lambda scope: groups.batch_restore(ids, scope=scope),
            lambda scope: groups.purge_where([GroupRow.size == 5], scope=scope),
            lambda scope: groups.batch_purge(ids, scope=scope),
        ):
            with pytest.raises(DomainNotFound):
                await call(CheckedScope("nowhere"))
            await call(CheckedScope("a"))
