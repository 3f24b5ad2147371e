"""What is promised of errors: each in the domain's own words, of its kind, and with a code of its own."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final, cast

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ExcludeConstraint

from rowsmith import errors
from rowsmith.errors import RepositoryError
from rowsmith.mapping import Patch, Spec
from rowsmith.mapping.constraints import item_named, refers_to
from rowsmith.operations import Entity
from rowsmith.testing.contract.declared import Declared, Refused, breakable_constraints, error_of, own_item
from rowsmith.testing.contract.laws import has_refusals, has_violations, law
from rowsmith.testing.contract.trial import Made, Trial
from rowsmith.testing.contract.verbs import VERBS, Does, Outcome, VerbCall, answer, answered

_DETAIL: Final = re.compile(r"[a-z0-9]+([_-][a-z0-9]+)*")


class Refusing(Declared):
    """The laws of errors."""

    _trial: Trial

    @law(has_refusals)
    async def test_what_is_refused_is_refused_in_the_domains_words(self) -> AsyncIterator[str]:
        """By each verb that would write it; nothing is written."""
        trial = self._trial
        (made,) = await trial.make(0)
        before = await trial.rows.contents()
        for error, refused in self.refused(0).items():
            async for verb, found in _tries(trial, made, refused):
                if found.error is not error:
                    yield f"{verb} of what is to be refused with {error.__name__}: {found.told}"
                elif verb in VERBS and found.code != trial.code(verb, error):
                    yield f"{verb} is refused with the code {found.code}, and not with {trial.code(verb, error)}"
            if await trial.rows.contents() != before:
                yield f"what is to be refused with {error.__name__} is written all the same"
                await trial.begin()
                await trial.make(0)

    @law(has_violations)
    async def test_each_declared_violation_is_shown(self) -> AsyncIterator[str]:
        """``refused(n)`` has each error that is declared for a constraint which what is written here may break."""
        shown = self.refused(0)
        for name in breakable_constraints(self):
            error = error_of(self._trial.entity.violations[name])
            if error not in shown:
                yield f"{name} is declared to be {error.__name__}: give refused(n) what is refused with it"

    @law()
    async def test_each_error_is_of_its_kind(self) -> AsyncIterator[str]:
        """A unique key's is no error that a row is not there, and so on."""
        for name, error, kind in _kinds(self._trial.entity):
            own = next((base for base in error.__mro__ if base.__module__ == errors.__name__), None)
            if own is not None and not issubclass(kind, own):
                yield f"{error.__name__} is declared for {name}: have it inherit {kind.__name__}, not {own.__name__}"

    @law()
    async def test_each_error_has_a_code_of_its_own(self) -> AsyncIterator[str]:
        """Errors that the repository tells apart, its callers can tell apart by their codes."""
        seen: dict[str, type[Exception]] = {}
        for error in map(error_of, (self._trial.entity.not_found, *self._trial.entity.violations.values())):
            if issubclass(error, RepositoryError):
                other = seen.setdefault(error.detail, error)
                if other is not error:
                    yield f"{other.__name__} and {error.__name__} both have the detail {error.detail!r} in their codes"
                if not _DETAIL.fullmatch(error.detail):
                    yield f"{error.__name__}.detail is {error.detail!r}: write small letters, digits and underscores"


async def _tries(trial: Trial, made: Made, refused: Refused) -> AsyncIterator[tuple[str, Outcome]]:
    """Give what each verb that would write it answers to what is refused."""
    if not isinstance(refused, (Spec, Patch)):
        yield "the call", await answered(refused(trial.repository))
        return
    call = VerbCall(trial.repository, trial.contract.scope(made.n), (made.id,), refused, (cast("Any", refused),))
    for verb in trial.verbs(Does.MAKE if isinstance(refused, Spec) else Does.CHANGE):
        yield verb, await answer(verb, call)


def _kinds(entity: Entity[Any, Any]) -> Iterator[tuple[str, type[Exception], type[Exception]]]:
    """Give each declared error, what it is for, and what kind it has to be of."""
    yield "not_found", error_of(entity.not_found), errors.EntityNotFound
    for key, factory in entity.violations.items():
        kind = key if isinstance(key, type) else _kind_of(entity, key)
        if kind is not None:
            yield key if isinstance(key, str) else key.__name__, error_of(factory), kind


def _kind_of(entity: Entity[Any, Any], name: str) -> type[Exception] | None:
    """Give the kind of error that a violated constraint is; None where that cannot be told from the mapping."""
    owner, _, bare = name.rpartition(".")  # it may say of which table it is
    others = (table for table in entity.info.table.metadata.tables.values() if owner in ("", table.name))
    match own_item(entity, name):
        case sa.PrimaryKeyConstraint() | sa.UniqueConstraint() | sa.Index():
            return errors.EntityAlreadyExists
        case ExcludeConstraint():
            return errors.ExclusionViolation
        case sa.CheckConstraint():
            return errors.CheckViolation
        case sa.ForeignKeyConstraint() as key if key.referred_table not in entity.info.tables:
            return errors.ReferenceNotFound
        case None if any(refers_to(item_named(table, bare), entity.info.table) for table in others):
            return errors.StillReferenced
        case _:
            return None
