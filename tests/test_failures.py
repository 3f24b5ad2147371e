"""Failures in words and in the log: the entity by its name, the code in parts, and never a value."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import structlog

from rowsmith import (
    EntityAlreadyExists,
    EntityNotFound,
    ErrorFacts,
    InvalidFilter,
    MappingError,
    NoPagination,
    OptionalState,
    SeveralFound,
    StaleVersion,
    errors,
)
from rowsmith.errors import named
from rowsmith.testing import WithTables
from tenants import DomainScope, GroupCreate, GroupId, GroupPatch, GroupRepository, groups_in

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
    return [group async for group in groups.stream(orders=["name"])]  # type: ignore[list-item]


FAILURES: list[tuple[Callable[[GroupRepository], Awaitable[Any]], int, tuple[str, str, str]]] = [
    (lambda g: g.get(GroupId(99)), logging.INFO, ("group_get_not-found", "group", "get")),
    (
        lambda g: g.create(GroupCreate("a", "one", note=CANARY)),
        logging.INFO,
        ("group_create_already-exists", "group", "create"),
    ),
    (lambda g: g.batch_get([GroupId(99)]), logging.INFO, ("group_batch-get_not-found", "group", "batch-get")),
    (lambda g: g.get_one(), logging.WARNING, ("group_get-one_several-found", "group", "get-one")),
    (lambda g: g.search(3), logging.WARNING, ("group_search_scope-error", "group", "search")),  # type: ignore[arg-type]
    (lambda g: g.delete_where([]), logging.INFO, ("group_delete-where_invalid-filter", "group", "delete-where")),
    (read_all, logging.INFO, ("group_stream_invalid-filter", "group", "stream")),
    (spoilt, logging.INFO, ("group_get_not-found", "group", "get")),
    (strange, logging.WARNING, ("LookupError", "group", "rename-all")),
    (
        lambda g: g.update(GroupId(1), GroupCreate("a", "x")),
        logging.ERROR,
        ("group_update_mapping-error", "group", "update"),
    ),  # type: ignore[arg-type]
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
