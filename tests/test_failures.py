"""Failures in words and in the log: the entity by its name, the code in parts, and never a value."""

from __future__ import annotations

import inspect
import io
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, cast

import pytest
import structlog

from rowsmith import (
    Database,
    EntityAlreadyExists,
    EntityNotFound,
    ErrorFacts,
    InvalidFilter,
    MappingError,
    NoPagination,
    OptionalState,
    RepositoryError,
    SeveralFound,
    StaleVersion,
    errors,
)
from rowsmith.errors import named
from rowsmith.execution import Origin, unavailable
from rowsmith.testing import WithTables
from tenants import (
    DomainScope,
    GroupCreate,
    GroupId,
    GroupPatch,
    GroupRepository,
    OwnedBy,
    ThingRepository,
    ThingRow,
    groups_in,
)
from verbs import VERBS, Number, read, spec, things_in, world_of

CANARY = "secret-7781"


@pytest.fixture
async def groups(any_tables: WithTables) -> AsyncIterator[GroupRepository]:
    async with groups_in(any_tables) as made:
        yield made


def test_the_entity_is_named_in_rowsmiths_own_words() -> None:
    """Once it is known; the words of an application stay as they are."""

    class Gone(EntityNotFound):
        default_message = "the entity is gone"

    class Missing(EntityNotFound):
        pass

    facts = ErrorFacts("fair_share", "get")
    assert str(EntityNotFound(facts=facts)) == "the fair share was not found"
    assert str(Missing(facts=facts)) == "the fair share was not found"
    assert str(EntityAlreadyExists(facts=ErrorFacts("item"))) == "an item with this key already exists"
    assert (str(Gone(facts=facts)), str(EntityNotFound("my entity", facts=facts))) == (
        "the entity is gone",
        "my entity",
    )
    late = StaleVersion()
    late.locate("group", "update")
    assert str(late).startswith("the group was changed by somebody else")
    assert repr(late).startswith("StaleVersion('the group was")


def test_every_kind_that_is_about_a_row_names_it() -> None:
    """All that a caller can meet of rows."""
    for kind in (EntityNotFound, *errors.ConstraintViolation.__subclasses__(), StaleVersion, SeveralFound):
        if kind is not errors.RefusedByTrigger:
            assert "entity" in kind.default_message
            assert "group" in str(kind(facts=ErrorFacts("group")))
    assert named("a constraint refused the entity", None) == "a constraint refused the entity"


async def test_messages_name_the_entity(groups: GroupRepository) -> None:
    """Of one row, of several, and of what the database refuses, in the domain's own class too."""
    assert "the group was not found" in str(await failure_of(groups.get(GroupId(99))))
    assert str(await failure_of(groups.batch_get([GroupId(98), GroupId(99)]))) == (
        "the group was not found for 2 of the ids"
    )
    taken = await failure_of(groups.create(GroupCreate("a", "one")))
    assert str(taken).startswith("a group with this key already exists (")
    assert str(await failure_of(groups.get_one())).startswith("more than one group matches")


def kinds(of: type[RepositoryError] = RepositoryError) -> Iterator[type[RepositoryError]]:
    """Give rowsmith's errors, each once."""
    found = {of: None}
    for kind in of.__subclasses__():
        if kind.__module__.startswith("rowsmith."):
            found |= dict.fromkeys(kinds(kind))
    return iter(found)


def test_every_kind_names_the_entity() -> None:
    """Whatever is said, once it is known whose call failed; what names it already is left as it is."""
    for kind in kinds():
        for said in (None, "a cursor of another search", "FairShareRow.name is too long"):
            error = kind(said)
            error.locate("fair_share", "search")
            told = str(error)
            error.locate("group", "get")
            assert "fairshare" in told.replace(" ", "").lower()
            assert (str(error), error.facts.operation) == (told, "search")
    moved = errors.InvalidValue.at(1, "a value is too long")
    moved.locate("group", "batch_create")
    moved.move(3)
    assert str(moved) == "group: the spec at index 3: a value is too long"
    refused = errors.RefusedByTrigger.at(None)
    refused.locate("group", "batch_create")
    refused.move(3)
    assert str(refused) == "group: a trigger or policy refused the row of the item at index 3"


class QuotaExceeded(errors.InvalidValue):
    """An application's own, which says what it is about."""


def test_what_an_application_says_stays() -> None:
    """Where its own class is raised with words, and no sooner: what it says without any names the entity."""
    for error, said in (
        (QuotaExceeded("only 3 are left"), "only 3 are left"),
        (QuotaExceeded(), "fair share: a value does not fit its column"),
        (errors.InvalidValue("only 3 are left"), "fair share: only 3 are left"),
    ):
        for _ in range(2):
            error.locate("_fair__share", "create")
            assert str(error) == said


def test_what_an_own_class_is_told_names_the_entity() -> None:
    """Where its words are rowsmith's."""
    error = unavailable(Origin(domain="fair_share", violations={errors.DatabaseUnavailable: Away}))
    assert (type(error), str(error)) == (Away, "fair share: the database cannot be reached")


class Away(errors.DatabaseUnavailable):
    """An application's own, which is made of what rowsmith says."""


BAD: dict[str, Any] = {
    "id": ("no", "key", 3),
    "ids": [("no", "key", 3)],
    "scope": 3,
    "filters": 3,
    "pagination": 3,
    "orders": 3,
    "spec": 3,
    "specs": [3],
    "patch": 3,
    "patches": {1: 3},
    "lock": 3,
    "count": 3,
    "into": 3,
    "expected_version": "one",
    "expected_versions": 3,
    "conflict": 3,
    "chunk_size": -1,
    "include_deleted": 3,
    "idempotency_key": 3,
    "group_by": 3,
    "all_rows": 3,
    "max_rows": -1,
    "pause": -1,
    "patience": -1,
    "dry_run": 3,
    "progress": 3,
}


async def answer(verb: Callable[..., Any], given: dict[str, Any]) -> Any:
    """Call a verb to the end."""
    called = verb(**given)
    return await called if inspect.isawaitable(called) else await read(called)


async def refused(things: Any, name: str) -> AsyncIterator[tuple[str, Exception]]:
    """Give what a verb says of each of its arguments that is none."""
    verb, world = getattr(things, name), world_of(things)
    takes = inspect.signature(verb).parameters
    good = {"id": 1, "ids": [1], "spec": spec(5), "specs": [spec(5)], "patch": world.patch, "patches": {1: world.patch}}
    good |= {"filters": [ThingRow.id == 1], "into": Number}
    needed = {each: good[each] for each in takes if takes[each].default is inspect.Parameter.empty}
    for each in takes:
        yield each, await failure_of(answer(verb, {**needed, each: BAD[each]}))


async def test_every_refusal_of_a_verb_names_the_entity(any_tables: WithTables) -> None:
    """Of each argument, of items of a batch, and where there is no database at all."""
    async with things_in(any_tables) as things:
        for name, verb in VERBS.items():
            async for argument, failure in refused(things, name):
                assert isinstance(failure, RepositoryError), (name, argument)
                assert "thing" in str(failure).lower(), (name, argument)
            for failure in await failures_of(verb.call(world_of(things), 1 if verb.makes else 99, OwnedBy("a"))):
                assert "thing" in str(failure).lower(), name
    away = world_of(ThingRepository(Database.from_url("sqlite+aiosqlite:////no/such/folder/file"), resilience=None))
    for name, verb in VERBS.items():
        failure = await failure_of(verb.call(away, 1, OwnedBy("a")))
        assert isinstance(failure, errors.DatabaseUnavailable), name
        assert str(failure).startswith("thing: "), name
    await away.things.db.dispose()


async def failures_of(call: Awaitable[Any]) -> list[Exception]:
    """Give what a call fails with, or those of its items that fail."""
    try:
        result = await call
    except RepositoryError as exc:
        return [exc]
    return [item.error for item in getattr(result, "failed", ())]


async def failure_of(call: Awaitable[Any]) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - any of them
        await call
    return caught.value


async def spoilt(groups: GroupRepository) -> Any:
    """Call a verb in a verb of one's own."""

    async def nested(db_sess: Any) -> Any:
        return await groups.get(GroupId(99))

    return await groups.db_source.write(nested)


async def strange(groups: GroupRepository) -> Any:
    """Fail in a way that is not rowsmith's."""

    async def rename_all(db_sess: Any) -> Any:
        raise LookupError(CANARY)

    return await groups.db_source.write(rename_all)


async def read_all(groups: GroupRepository) -> Any:
    """Stream what cannot be."""
    return [group async for group in groups.stream(orders=cast("Any", ["name"]))]


FAILURES: list[tuple[Callable[[GroupRepository], Awaitable[Any]], int, tuple[str, str, str]]] = [
    (lambda g: g.get(GroupId(99)), logging.INFO, ("group_get_not-found", "group", "get")),
    (
        lambda g: g.create(GroupCreate("a", "one", note=CANARY)),
        logging.INFO,
        ("group_create_already-exists", "group", "create"),
    ),
    (lambda g: g.batch_get([GroupId(99)]), logging.INFO, ("group_batch-get_not-found", "group", "batch-get")),
    (lambda g: g.get_one(), logging.WARNING, ("group_get-one_several-found", "group", "get-one")),
    (lambda g: g.search(cast("Any", 3)), logging.WARNING, ("group_search_scope-error", "group", "search")),
    (lambda g: g.delete_where([]), logging.INFO, ("group_delete-where_invalid-filter", "group", "delete-where")),
    (read_all, logging.INFO, ("group_stream_invalid-filter", "group", "stream")),
    (spoilt, logging.INFO, ("group_get_not-found", "group", "get")),
    (strange, logging.WARNING, ("LookupError", "group", "rename-all")),
    (
        lambda g: g.update(GroupId(1), cast("Any", GroupCreate("a", "x"))),
        logging.ERROR,
        ("group_update_mapping-error", "group", "update"),
    ),
]


@pytest.mark.parametrize("resilient", [True, False])
async def test_a_failure_is_logged_once_at_its_level_and_without_a_value(
    groups: GroupRepository, caplog: pytest.LogCaptureFixture, resilient: bool
) -> None:
    """With code, domain and operation as attributes of the record, whatever policies there are."""
    made = groups if resilient else GroupRepository(groups.db, resilience=None)
    caplog.set_level(logging.DEBUG, logger="rowsmith.failures")
    for call, level, told in FAILURES:
        caplog.clear()
        await failure_of(call(made))
        (record,) = [each for each in caplog.records if each.name == "rowsmith.failures"]
        found: Any = record
        assert (found.levelno, (found.error_code, found.domain, found.operation)) == (level, told)
        assert found.getMessage() == f"call failed: {told[0]}"
        assert found.exc_info is None
        assert CANARY not in repr(vars(record))


async def test_what_goes_well_is_not_logged(groups: GroupRepository, caplog: pytest.LogCaptureFixture) -> None:
    """Neither is a row that may be absent."""
    caplog.set_level(logging.DEBUG, logger="rowsmith.failures")
    assert await groups.find(GroupId(99)) is None
    assert len((await groups.search(DomainScope("a"), None, NoPagination())).items) == 2
    await groups.update(GroupId(1), GroupPatch(name=OptionalState.update("new")))
    assert [record for record in caplog.records if record.name == "rowsmith.failures"] == []


def test_a_domain_chooses_the_level_of_its_errors() -> None:
    """A class attribute, as ``detail`` is one."""

    class Alarming(EntityNotFound):
        level = logging.CRITICAL

    assert (Alarming.level, EntityNotFound.level, MappingError.level, InvalidFilter.level) == (50, 20, 40, 20)
    assert errors.IdempotencyMismatch.level == logging.INFO  # what a caller does, as a stale version is


async def test_structlog_renders_the_same(groups: GroupRepository) -> None:
    """Its formatter takes records of the standard library; ``ExtraAdder`` puts the attributes in."""
    stdlib, out = structlog.stdlib, io.StringIO()
    handler = logging.StreamHandler(out)
    before = [stdlib.add_log_level, stdlib.ExtraAdder()]
    handler.setFormatter(stdlib.ProcessorFormatter(structlog.processors.JSONRenderer(), foreign_pre_chain=before))
    logger = logging.getLogger("rowsmith.failures")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        await failure_of(groups.get(GroupId(99)))
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert json.loads(out.getvalue()) == {
        "event": "call failed: group_get_not-found",
        "level": "info",
        "error_code": "group_get_not-found",
        "domain": "group",
        "operation": "get",
    }
