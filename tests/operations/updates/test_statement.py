"""The statements of batches, looked at without a database."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase

from rowsmith import InvalidValue, OptionalState, TriState
from rowsmith.execution.standing import Standing
from rowsmith.mapping import row_info
from rowsmith.operations import make_entity
from rowsmith.operations.arrays.given import Parameter
from rowsmith.operations.updates.patches import Patches
from rowsmith.operations.updates.statement import Changes, Targets, lock_strength
from tenants import CounterData, CounterPatch, CounterRepository, CounterRow, GroupRow, used, uses

PG, SQLITE = postgresql.asyncpg.dialect(), sqlite.dialect()
INFO = row_info(CounterRow)


def target(dialect: Dialect, **more: Any) -> Targets[Any, Any]:
    entity = make_entity(CounterRow, CounterData, soft_delete=CounterRepository.soft_delete)
    return Targets(entity, dialect, [("a", 1), ("b", 2)], [*entity.live(), CounterRow.uses > 3], **more)


def text(statement: Any, dialect: Dialect) -> str:
    return " ".join(str(statement.compile(dialect=dialect)).split())


@pytest.mark.parametrize("verb", ["update", "delete"])
def test_rows_are_locked_in_key_order_under_all_conditions(verb: str) -> None:
    """On PostgreSQL; the outer statement takes the places of what is locked, each in its own partition."""
    made = target(PG)
    sql = text(made.update(Changes({"uses": 1})) if verb == "update" else made.delete(), PG)
    locking = sql[: sql.index(verb.upper() + " ", sql.index(" FOR "))]
    assert "(counters.tenant, counters.place) IN (SELECT rowsmith$keys.rowsmith$key_0, " in locking
    assert "((counters.deleted_at IS NULL) AND (counters.uses > $" in locking
    assert " IS true) ORDER BY counters.tenant, counters.place FOR " in locking
    assert (
        sql.count("WHERE (counters.ctid = ANY (array((SELECT rowsmith$given.rowsmith$place FROM rowsmith$given))))")
        == 1
    )
    pairs = "SELECT rowsmith$given.rowsmith$place, rowsmith$given.rowsmith$part FROM rowsmith$given"
    assert sql.count(f"((counters.ctid, counters.tableoid) IN ({pairs})) IS true") == 1


def test_keys_of_one_column_are_one_array() -> None:
    """Where nothing comes with them, PostgreSQL's own look-up of an array is the fastest."""
    entity = make_entity(GroupRow)
    sql = text(Targets(entity, PG, [(1,), (2,)], [GroupRow.size > 3]).delete(), PG)
    assert "WHERE (groups.id = ANY ($1" in sql
    assert "((groups.size > $2::INTEGER) IS true) ORDER BY groups.id FOR UPDATE" in sql


def test_keys_are_in_the_order_of_their_column() -> None:
    """Its collation says in which one rows are locked by every other statement."""
    metadata = sa.MetaData()

    class Base(DeclarativeBase):
        pass

    class WordRow(Base):
        __table__ = sa.Table("words", metadata, sa.Column("word", sa.String(collation="C"), primary_key=True))

    changes = Changes({}, [Parameter("v0", sa.Integer(), [1])])
    sql = text(Targets(make_entity(WordRow), PG, [("a",)], []).update(changes), PG)
    assert 'ORDER BY rowsmith$sent.rowsmith$key_0 COLLATE "C"' in sql


def test_the_second_statement_waits_for_nobody() -> None:
    """It skips what others have locked."""
    for statement in (target(PG).update(Changes({"uses": 1}), held=True), target(PG).delete(held=True)):
        sql = text(statement, PG)
        assert "SKIP LOCKED" in sql
        assert "(counters.tenant, counters.place) IN (SELECT rowsmith$keys.rowsmith$key_0, " in sql


def test_sqlite_needs_no_locks() -> None:
    """It has one writer at a time."""
    sql = text(target(SQLITE).delete(), SQLITE)
    assert sql.startswith("DELETE FROM counters WHERE ((counters.tenant, counters.place) IN")
    assert "ctid" not in sql


def test_versions_stand_in_the_statement_and_go_up() -> None:
    """Expected ones are compared row by row."""
    sql = text(target(PG, versions=[4, 5]).update(Changes({"uses": 1})), PG)
    assert "version=(counters.version + " in sql
    assert "counters.version = rowsmith$sent.rowsmith$version" in sql


def test_each_key_is_sent_once() -> None:
    """However often the statement needs it: one array for each key column and for each value."""
    patches = Patches(INFO, [used(1), used(2)])
    (changes,) = patches.changes(arrays=True)
    compiled = target(PG).update(changes).compile(dialect=PG)
    lists = [value for value in compiled.params.values() if isinstance(value, list)]
    assert lists == [["a", "b"], [1, 2], [1, 2]]


def test_chunks_are_what_one_statement_takes() -> None:
    """All on PostgreSQL; on SQLite as many as there are parameters for."""
    assert [len(chunk) for chunk in target(PG).chunks()] == [2]
    many = Targets(target(SQLITE).entity, SQLITE, [("a", place) for place in range(40_000)], [])
    assert [len(chunk) for chunk in many.chunks()] == [15_000, 15_000, 10_000]
    assert [len(chunk) for chunk in many.chunks(1)] == [10_000] * 4


def test_a_lock_is_no_harder_than_the_update() -> None:
    """Rows may be referred to meanwhile, unless a column of a unique key changes."""
    info = row_info(GroupRow)
    assert lock_strength(info, {"size": 1}) == {"key_share": True}
    assert lock_strength(info, {"size": 1, "name": "x"}) == {"key_share": False}


def test_literals_of_expressions_become_columns() -> None:
    """Where they are the same for all they stay in the statement."""
    (same,) = Patches(INFO, [used(1), used(1)]).changes(arrays=True)
    assert same.parameters == []
    assert text(same.values["uses"], PG).startswith("counters.uses + ")
    (differing,) = Patches(INFO, [used(1), used(2)]).changes(arrays=True)
    assert [parameter.values for parameter in differing.parameters] == [[1, 2]]
    assert text(differing.values["uses"], PG) == "counters.uses + rowsmith$given.rowsmith$value_0"


def test_lists_of_different_lengths_are_different_forms() -> None:
    """``IN`` has as many parameters as its list has items, which cannot become columns."""

    def chosen(*labels: str) -> CounterPatch:
        return CounterPatch(
            uses=OptionalState.expression(lambda: sa.case((CounterRow.label.in_(labels), 1), else_=CounterRow.uses))
        )

    (same,) = Patches(INFO, [chosen("x", "y"), chosen("x", "y")]).changes(arrays=True)
    assert same.parameters == []
    groups = Patches(INFO, [chosen("x"), chosen("y"), chosen("x")]).changes(arrays=True)
    assert [group.places for group in groups] == [[0, 2], [1]]


def test_patches_are_grouped_by_what_they_set() -> None:
    """Fields, and forms of expressions; each group has the places of its rows and their values."""
    labelled = CounterPatch(label=TriState.update("x"))
    groups = Patches(INFO, [uses(1), labelled, used(2), uses(4), CounterPatch(), used(5)]).changes(arrays=True)
    assert [(list(group.values), list(group.places or ())) for group in groups] == [
        (["uses"], [0, 3]),
        (["label"], [1]),
        (["uses"], [2, 5]),
        ([], [4]),
    ]
    assert [[p.values for p in group.parameters] for group in groups] == [[[1, 4]], [["x"]], [[2, 5]], []]
    part = groups[2].part([5])
    assert [parameter.values for parameter in part.parameters] == [[5]]


def test_rows_of_several_statements_are_locked_beforehand() -> None:
    """All in the order of their keys, in whatever version they are."""
    sql = text(target(PG, versions=[4, 5]).lock(lock_strength(INFO, {"uses"})), PG)
    assert "ORDER BY counters.tenant, counters.place FOR NO KEY UPDATE" in sql
    assert "version" not in sql


def test_an_expression_may_be_null_or_an_attribute() -> None:
    """Whatever SQLAlchemy takes as an expression."""
    label = CounterPatch(label=TriState.expression(lambda: CounterRow.touched))
    (changes,) = Patches(INFO, [label, label]).changes(arrays=True)
    assert (text(changes.values["label"], PG), changes.parameters) == ("counters.touched", [])
    nothing = CounterPatch(label=TriState.expression(sa.null))
    assert Patches(INFO, [nothing]).columns == {"label": [None]}


class Doubled(CounterPatch):
    """A patch that makes its own values."""

    def to_values(self) -> dict[str, Any]:
        values = dict(super().to_values())
        return {"uses": 2 * values["uses"]}


def test_patches_that_make_their_own_values_are_asked_one_by_one() -> None:
    """And may stand beside plain ones."""
    twice = Doubled(uses=OptionalState.update(4))
    assert Patches(INFO, [twice, uses(3)]).columns == {"uses": [8, 3]}
    with pytest.raises(InvalidValue, match="the patch at index 1"):
        Patches(INFO, [uses(3), Doubled(uses=OptionalState.update(2**31 - 1))])


@pytest.mark.parametrize("other", [used(1), CounterPatch(label=TriState.update("x")), CounterPatch()])
def test_a_value_beside_other_patches_is_named_by_its_index(other: CounterPatch) -> None:
    """Whatever those before it set."""
    with pytest.raises(InvalidValue, match=r"the patch at index 2: CounterRow\.uses"):
        Patches(INFO, [other, uses(3), uses(2**31)])


@pytest.mark.parametrize("can_lock", [True, False])
def test_rows_of_a_view_are_found_by_their_keys(can_lock: bool) -> None:
    """Which is no place that nobody else can have, so all that is asked of them is asked of what is written, too."""
    made = target(PG, standing=Standing(has_places=False, can_lock=can_lock))
    keys = "rowsmith$given.rowsmith$key_0, "
    for statement in (made.update(Changes({"uses": 1})), made.delete()):
        sql = text(statement, PG)
        assert f"(counters.tenant, counters.place) IN (SELECT {keys}" in sql
        assert (sql.count("counters.uses > $"), " FOR " in sql, "ctid" in sql) == (2, can_lock, False)
    (changes,) = Patches(INFO, [used(1), used(2)]).changes(arrays=True)
    each = text(made.update(changes), PG)
    assert "counters.tenant = rowsmith$given.rowsmith$key_0" in each
    assert (each.count("counters.uses > $"), " FOR " in each, "ctid" in each) == (2, can_lock, False)
