"""What a test of a contract is: a law that gives what it has to complain of; and where it does not apply."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from functools import wraps
from typing import Any, Final, TypeAlias, TypeVar, cast

from rowsmith.operations import Conflict
from rowsmith.repository import Repository
from rowsmith.testing.contract.declared import Declared, entity_of, overrides, own_constraints

Self = TypeVar("Self", bound=Declared)
Need: TypeAlias = Callable[[type[Declared]], bool]
Law: TypeAlias = Callable[[Self], AsyncIterator[str]]
Test: TypeAlias = Callable[[Self], Coroutine[Any, Any, None]]

_NEEDS: Final = "__rowsmith_needs__"


def law(*needs: Need) -> Callable[[Law[Self]], Test[Self]]:
    """Make a test of a law; it is left out of the contracts that lack one of its needs."""

    def made(complaints: Law[Self]) -> Test[Self]:
        @wraps(complaints)
        async def test(self: Self) -> None:
            __tracebackhide__ = True
            if found := [each async for each in complaints(self)]:
                raise AssertionError("\n".join(found))

        vars(test).pop("__wrapped__")  # an asynchronous generator is no test to pytest
        setattr(test, _NEEDS, needs)
        return test

    return made


def applies(test: object, contract: type[Declared]) -> bool:
    """Say whether a test is one for a contract; a team's own always is."""
    needs: tuple[Need, ...] = getattr(test, _NEEDS, ())
    return all(need(contract) for need in needs)


def is_law(test: object) -> bool:
    """Say whether a test is one of the contract's, and none of a team's."""
    return hasattr(test, _NEEDS)


def is_written(contract: type[Declared]) -> bool:
    """Say whether rows are written at all."""
    return contract.writes


def is_changed(contract: type[Declared]) -> bool:
    """Say whether rows change."""
    return contract.writes and contract.changes


def is_deleted_softly(contract: type[Declared]) -> bool:
    """Say whether rows are deleted without being removed."""
    return contract.writes and entity_of(contract).soft_delete is not None


def has_versions(contract: type[Declared]) -> bool:
    """Say whether a writer may expect a version."""
    return is_changed(contract) and entity_of(contract).info.version is not None


def has_scopes(contract: type[Declared]) -> bool:
    """Say whether rows belong to tenants."""
    return overrides(contract, "scope")


def is_written_in_scopes(contract: type[Declared]) -> bool:
    """Say whether tenants write their rows."""
    return contract.writes and has_scopes(contract)


def has_refusals(contract: type[Declared]) -> bool:
    """Say whether it is told what is refused."""
    return contract.writes and overrides(contract, "refused")


def has_violations(contract: type[Declared]) -> bool:
    """Say whether constraints have errors of the domain's own."""
    return contract.writes and bool(own_constraints(contract))


def goes_both_ways(contract: type[Declared]) -> bool:
    """Say whether entities are made rows of."""
    to_row: Any = contract.repository.to_row
    return contract.writes and to_row is not cast("Any", Repository).to_row


def is_upserted(contract: type[Declared]) -> bool:
    """Say whether specs name the key that upserts go by: one that is declared, or one that nobody else fills."""
    entity = entity_of(contract)
    info, is_declared = entity.info, entity.conflict != Conflict()
    return is_changed(contract) and not info.is_joined and (is_declared or all(map(info.is_required, info.primary_key)))
