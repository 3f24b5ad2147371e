"""What happens before and after every statement under a scope: its checks, and holding a written row to it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy import exists, literal, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql import visitors

from rowsmith.conditions import limited, resolve
from rowsmith.errors import ScopeMismatch
from rowsmith.execution import Origin, execute, translated
from rowsmith.operations.entity import Entity
from rowsmith.scope import Limits, SearchScope, require_scope, resolve_scope


async def admit(db_sess: AsyncSession, entity: Entity[Any, Any], scope: SearchScope | None, operation: str) -> Limits:
    """Resolve a scope for one call, and run its existence checks, all in one statement.

    Raises:
        ScopeError: the scope is used wrongly.
        Exception: the error declared by the first check that fails.
    """
    if entity.scope_required:
        require_scope(scope, entity.info.row)
    limits = resolve_scope(scope, entity.info)
    if not limits.checks:
        return limits
    found = (await execute(db_sess, _presence(limits), _origin(entity, limits, operation))).one()
    for check, present in zip(limits.checks, found, strict=True):
        if not present:
            raise entity.located(check.error(check.message), operation)
    return limits


def _origin(entity: Entity[Any, Any], limits: Limits, operation: str) -> Origin:
    """Say whose call the checks are, and that they are about other rows, which may be in another database."""
    elements: Iterator[Any] = (each for check in limits.checks for each in visitors.iterate(resolve(check.exists)))
    subjects = (each._annotations.get("parententity") for each in elements)  # pyright: ignore[reportPrivateUsage]
    subject = next((subject for subject in subjects if subject is not None), entity.info)
    return replace(entity.origin(operation), mapper=subject.mapper)


def _presence(limits: Limits) -> Any:
    # Not exists().where(...): its SELECT * cannot stand around a condition that is an EXISTS itself.
    return select(*(exists(limited(select(literal(1)), resolve(check.exists))) for check in limits.checks))


async def confirm(
    db_sess: AsyncSession, entity: Entity[Any, Any], limits: Limits, key: tuple[Any, ...], operation: str
) -> None:
    """Hold a row just written against the conditions of its scope that could not be stamped.

    Raises:
        ScopeMismatch: the row is outside; the caller must undo the write.
    """
    inside = select(limited(exists(), *entity.info.key_condition(key), *limits.others))
    if not (await execute(db_sess, inside, entity.origin(operation))).scalar_one():
        raise entity.located(ScopeMismatch(), operation)


@asynccontextmanager
async def savepoint(db_sess: AsyncSession) -> AsyncGenerator[None]:
    """Undo the block if it fails, without giving up the transaction around it."""
    async with translated(), db_sess.begin_nested():
        yield
