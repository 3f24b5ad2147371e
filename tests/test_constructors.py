"""What objects are made with, and functions called with: it is taken, or told with one of rowsmith's own errors."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

import pytest
import sqlalchemy as sa
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import (
    Database,
    DBSource,
    Expr,
    Lag,
    MappingError,
    Nested,
    Repository,
    RepositoryError,
    avg,
    commit_outcome,
    count,
    idempotency,
    max_,
    min_,
    related,
    sum_,
)
from rowsmith.cache import Broadcast, MemoryCacheSource, RedisCacheSource
from rowsmith.embedded import EmbeddedPostgres
from rowsmith.filters import to_orders
from rowsmith.resilience import (
    MetricArgs,
    MetricPolicy,
    Resilience,
    RetryArgs,
    RetryPolicy,
    TimeoutPolicy,
    TracePolicy,
    default_resilience,
)
from rowsmith.strawberry import input_type, search_field
from rowsmith.testing import FaultProxy, fake, kill_backend, one_shard, through_proxy


class Base(DeclarativeBase):
    pass


class GroupRow(Base):
    __tablename__ = "constructed"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


@dataclass(frozen=True)
class GroupData:
    id: int
    name: str


class GroupRepository(Repository[GroupRow, GroupData, int]): ...


def counted(expression: Any, *, distinct: Any = False) -> Any:
    return count(expression, distinct=distinct).resolve()


def filtered(condition: Any) -> Any:
    return count().filter(condition).resolve()


def mean(expression: Any) -> Any:
    return [make(expression).resolve() for make in (sum_, avg, min_, max_)]


def related_to(relationship: Any, condition: Any) -> Any:
    return related(relationship, condition)


class Stubborn:
    """Says neither whether it is true, nor what it equals, nor what it hashes to."""

    __hash__: Any = None

    def __bool__(self) -> NoReturn:
        raise TypeError("no truth")

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError("no equal")


ARGS = MetricArgs("repository", "group_repository")
MAKERS: dict[str, tuple[Callable[..., Any], Callable[[Database], dict[str, Any]]]] = {
    "Repository": (GroupRepository, lambda db: {"db": db}),
    "Repository of a source": (GroupRepository, lambda db: {"db_source": DBSource(db, GroupRow, into=GroupData)}),
    "DBSource": (DBSource, lambda db: {"db": db, "row": GroupRow, "into": GroupData}),
    "Database": (Database, lambda db: {"engine": db.engine}),
    "Database.from_url": (Database.from_url, lambda db: {"url": "postgresql://nobody@localhost/nothing"}),
    "Database.from_session": (Database.from_session, lambda db: {"session": AsyncSession(db.engine)}),
    "Lag": (Lag, lambda db: {}),
    "MemoryCacheSource": (MemoryCacheSource, lambda db: {"data": GroupData}),
    "RedisCacheSource": (RedisCacheSource, lambda db: {"client": Redis(), "data": GroupData, "prefix": "group"}),
    "Broadcast": (Broadcast, lambda db: {"db": db, "secret": "s"}),
    "Resilience": (Resilience, lambda db: {}),
    "RetryPolicy": (RetryPolicy, lambda db: {}),
    "RetryArgs": (RetryArgs, lambda db: {}),
    "TimeoutPolicy": (TimeoutPolicy, lambda db: {"seconds": 1}),
    "MetricPolicy": (MetricPolicy, lambda db: {"args": ARGS, "registry": CollectorRegistry()}),
    "TracePolicy": (TracePolicy, lambda db: {"args": ARGS}),
    "count": (counted, lambda db: {"expression": GroupRow.id}),
    "count().filter": (filtered, lambda db: {}),
    "sum_": (mean, lambda db: {}),
    "Expr": (lambda expression: Expr(expression).resolve(), lambda db: {}),
    "Nested": (Nested, lambda db: {"into": GroupData}),
    "related": (related_to, lambda db: {"relationship": GroupRow.name, "condition": GroupRow.id > 1}),
    "commit_outcome": (commit_outcome, lambda db: {}),
    "idempotency.add_to": (idempotency.add_to, lambda db: {}),
    "idempotency.ddl": (idempotency.ddl, lambda db: {}),
    "to_orders": (to_orders, lambda db: {}),
    "fake": (lambda kind: fake(kind), lambda db: {}),
    "input_type": (input_type, lambda db: {}),
    "FaultProxy": (FaultProxy, lambda db: {}),
    "EmbeddedPostgres": (EmbeddedPostgres, lambda db: {}),
    "search_field": (search_field, lambda db: {}),
    "default_resilience": (default_resilience, lambda db: {"whose": GroupRepository}),
}
RULES = ("violations", "soft_delete", "domain", "conflict", "next_value", "loads", "default_page_size", "not_found")
WRONG: list[Any] = [
    *(None, 0, -1, 1.5, float("nan"), True, "x", "", "a\0b", "\ud800", b"x", b"", object(), Stubborn(), lambda: 1),
    *([], [1], ["x"], ["\ud800"], [None], [Stubborn()], {}, {1: 2}, set(), (GroupRow.name,), iter([1])),
    *(int, GroupData, GroupRow, Database, DBSource, MemoryCacheSource, Redis(), MemoryCacheSource(GroupData)),
    *(GroupRow.name, GroupRow.name == "a", sa.text("1"), sa.null(), ARGS),
]


@pytest.mark.parametrize("maker", MAKERS)
async def test_whatever_an_argument_is(maker: str) -> None:
    """No argument of any of them raises what is not rowsmith's, and no error quotes what was given.

    On an engine of its own, which some of them set up (``pooler=True``) for whoever uses it.
    """
    make, rest = MAKERS[maker]
    database = Database.from_url("postgresql+asyncpg://nobody@localhost/nothing")
    told: list[str] = []
    names = [name for name, each in inspect.signature(make).parameters.items() if each.kind is not each.VAR_KEYWORD]
    for name in [*names, *(RULES if make is DBSource else ())]:
        for wrong in WRONG:
            try:
                make(**{**rest(database), name: wrong})
            except RepositoryError as error:
                told.append(str(error))
            except Exception as error:  # noqa: BLE001 - any other is what this is about
                pytest.fail(f"{maker}(..., {name}={wrong!r}) raises {type(error).__name__}: {error}")
    assert not [words for words in told if "object at 0x" in words]


@pytest.mark.parametrize("wrong", [Redis(), MemoryCacheSource, GroupData, {}, "redis://", GroupRow.name])
async def test_what_is_no_cache_source(database: Database, wrong: Any) -> None:
    """It is said what to write."""
    with pytest.raises(MappingError, match=r"^cache_source is .*: write cache_source=MemoryCacheSource\(GroupData\)"):
        GroupRepository(database, cache_source=wrong)


@pytest.mark.parametrize(
    "wrong, told",
    [
        (
            lambda: count(GroupRow.id, distinct=GroupRow.id > 1),
            r"^distinct is True or False, not BinaryExpression: write",
        ),
        (lambda: count(distinct=True), r"^count is over values.*write count\(Row\.column, distinct=True\)"),
        (lambda: sum_(None), r"^sum_ is over values.*write sum_\(Row\.column\)"),
        (lambda: Nested(lambda: GroupData), r"^Nested takes a data class, not function: write Nested\(UserData\)"),
        (lambda: Nested("GroupData"), r"^Nested takes a data class, not str: write Nested\(UserData\)"),
        (lambda: Nested(GroupData, convert=lambda one, two: one), r"^convert of Nested\(GroupData\) takes one object"),
        (lambda: commit_outcome(None), r"^commit_outcome takes the exception that was caught, not NoneType"),
        (lambda: commit_outcome(ValueError), r"^commit_outcome takes .*, not the class ValueError"),
        (
            lambda: idempotency.add_to(Base),
            r"^add_to takes a MetaData, not the class Base: write add_to\(Base\.metadata",
        ),
        (
            lambda: fake(GroupRepository(Database.from_url("postgresql+asyncpg://x"))),
            r"^fake takes a class, not GroupRep",
        ),
        (
            lambda: input_type(GroupData),
            r"^input_type takes a pydantic model, not the class GroupData: write input_type",
        ),
        (lambda: idempotency.ddl("sqlite"), r"^ddl takes a dialect, not str: write ddl\(engine\.dialect\)"),
    ],
)
def test_what_a_function_is_given_by_mistake(wrong: Any, told: str) -> None:
    """It is said what to write."""
    with pytest.raises(MappingError, match=told):
        wrong()


@pytest.mark.parametrize("take", [one_shard, through_proxy, kill_backend])
async def test_what_tests_look_at(database: Database, take: Any) -> None:
    """Is a Database, which an engine is not."""
    for wrong in [*WRONG, database.engine]:
        with pytest.raises(MappingError, match=rf"^{take.__name__} takes a Database, .*: give it Database\(engine\)"):
            if take is kill_backend:
                await take(wrong, 1)
            elif take is one_shard:
                take(wrong).__enter__()
            else:
                await take(wrong).__aenter__()


async def test_what_a_table_of_keys_is_made_in(database: Database) -> None:
    """In a Database, which an engine is not."""
    for wrong in [*WRONG, database.engine]:
        with pytest.raises(
            MappingError, match=r"^idempotency\.create takes a Database, .*: give it Database\(engine\)"
        ):
            await idempotency.create(wrong)
        with pytest.raises(MappingError, match=r"^idempotency\.purge takes a Database, .*: give it Database\(engine\)"):
            await idempotency.purge(wrong, older_than=timedelta(days=7))
