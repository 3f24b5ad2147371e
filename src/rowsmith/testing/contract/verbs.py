"""Each verb of a repository, as the contract calls it, and what came of a call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from typing import Annotated, Any, Final, TypeAlias, cast

import sqlalchemy as sa

from rowsmith.errors import RepositoryError
from rowsmith.mapping import count
from rowsmith.operations import BatchResult, PartialResult, PurgeReport, Stream, Upserted
from rowsmith.pagination import Page
from rowsmith.repository import Repository
from rowsmith.scope import SearchScope

AnyRepository: TypeAlias = Repository[Any, Any, Any]


class Does(Enum):
    """What a verb does to rows."""

    READ = "reads"
    MAKE = "makes"
    PUT = "makes or changes"
    CHANGE = "changes"
    MARK = "deletes"
    UNMARK = "restores"
    REMOVE = "purges"

    @classmethod
    def of_rows(cls) -> tuple[Does, ...]:
        """Give what is done to rows that are there."""
        return (cls.READ, cls.CHANGE, cls.MARK, cls.UNMARK, cls.REMOVE)


@dataclass(frozen=True)
class VerbCall:
    """What a verb is called with: rows that are there by their ids, or specs of new ones.

    ``patch_of`` has the patches of those ids that get another one than ``patch``; ``options`` are what reads, and
    updates of given ids, take by name besides.
    """

    repository: AnyRepository
    scope: SearchScope | None
    ids: Sequence[Any] = ()
    patch: Any = None
    specs: Sequence[Any] = ()
    patch_of: Mapping[Any, Any] = field(default_factory=dict[Any, Any])
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def id(self) -> Any:
        """The id, for a verb that takes one."""
        return self.ids[0]

    @property
    def these(self) -> list[sa.ColumnElement[bool]]:
        """The condition that a row is one of these, for a verb that takes filters."""
        info = self.repository.db_source.entity.info
        return [sa.or_(*(sa.and_(*info.key_condition(info.key(id))) for id in self.ids))]

    @property
    def patches(self) -> dict[Any, Any]:
        """The patch for each id."""
        return {id: self.patch_of.get(id, self.patch) for id in self.ids}


@dataclass(frozen=True)
class Verb:
    """How a verb is called.

    ``many`` says that it takes several rows, ``raises`` that a row which is not there is an error of the whole call,
    ``one_table`` that it refuses rows which are kept in several tables.
    """

    call: Callable[[VerbCall], Awaitable[Any]]
    does: Does = Does.READ
    many: bool = False
    raises: bool = False
    one_table: bool = False


@dataclass(frozen=True)
class _Number:
    rows: Annotated[int, count()]


async def _read(stream: Stream[Any]) -> list[Any]:
    return [item async for item in stream]


async def _counted(call: VerbCall) -> int:
    (number,) = await call.repository.aggregate(call.scope, call.these, into=_Number, **call.options)
    return number.rows


_change = partial(Verb, does=Does.CHANGE, many=True)
_mark = partial(Verb, does=Does.MARK, many=True)
_unmark = partial(Verb, does=Does.UNMARK, many=True)
_remove = partial(Verb, does=Does.REMOVE, many=True)
_make = partial(Verb, does=Does.MAKE, many=True, one_table=True)
_put = partial(Verb, does=Does.PUT, one_table=True)

VERBS: Final[dict[str, Verb]] = {
    "get": Verb(lambda c: c.repository.get(c.id, c.scope, **c.options), raises=True),
    "find": Verb(lambda c: c.repository.find(c.id, c.scope, **c.options)),
    "get_one": Verb(lambda c: c.repository.get_one(c.scope, c.these, **c.options), raises=True),
    "find_one": Verb(lambda c: c.repository.find_one(c.scope, c.these, **c.options)),
    "first": Verb(lambda c: c.repository.first(c.scope, c.these, **c.options)),
    "batch_get": Verb(lambda c: c.repository.batch_get(c.ids, scope=c.scope, **c.options), many=True, raises=True),
    "search": Verb(lambda c: c.repository.search(c.scope, c.these, **c.options), many=True),
    "stream": Verb(lambda c: _read(c.repository.stream(c.scope, c.these, **c.options)), many=True),
    "count": Verb(lambda c: c.repository.count(c.scope, c.these, **c.options), many=True),
    "exists": Verb(lambda c: c.repository.exists(c.scope, id=c.id, **c.options)),
    "aggregate": Verb(_counted, many=True),
    "create": Verb(lambda c: c.repository.create(c.specs[0], scope=c.scope), Does.MAKE),
    "batch_create": _make(lambda c: c.repository.batch_create(c.specs, scope=c.scope)),
    "batch_create_partial": _make(lambda c: c.repository.batch_create_partial(c.specs, scope=c.scope)),
    "load": _make(lambda c: c.repository.load(c.specs, scope=c.scope)),
    "upsert": _put(lambda c: c.repository.upsert(c.specs[0], scope=c.scope)),
    "batch_upsert": _put(lambda c: c.repository.batch_upsert(c.specs, scope=c.scope), many=True),
    "batch_upsert_partial": _put(lambda c: c.repository.batch_upsert_partial(c.specs, scope=c.scope), many=True),
    "update": Verb(lambda c: c.repository.update(c.id, c.patch, scope=c.scope, **c.options), Does.CHANGE, raises=True),
    "batch_update": _change(lambda c: c.repository.batch_update(c.ids, c.patch, scope=c.scope, **c.options)),
    "batch_update_each": _change(
        lambda c: c.repository.batch_update_each(c.patches, scope=c.scope, **c.options), one_table=True
    ),
    "batch_update_partial": _change(
        lambda c: c.repository.batch_update_partial(c.patches, scope=c.scope, **c.options), one_table=True
    ),
    "update_where": _change(lambda c: c.repository.update_where(c.these, c.patch, scope=c.scope)),
    "delete": Verb(lambda c: c.repository.delete(c.id, scope=c.scope), Does.MARK, raises=True),
    "batch_delete": _mark(lambda c: c.repository.batch_delete(c.ids, scope=c.scope)),
    "delete_where": _mark(lambda c: c.repository.delete_where(c.these, scope=c.scope)),
    "restore": Verb(lambda c: c.repository.restore(c.id, scope=c.scope), Does.UNMARK, raises=True),
    "batch_restore": _unmark(lambda c: c.repository.batch_restore(c.ids, scope=c.scope)),
    "restore_where": _unmark(lambda c: c.repository.restore_where(c.these, scope=c.scope)),
    "purge": Verb(lambda c: c.repository.purge(c.id, scope=c.scope), Does.REMOVE, raises=True),
    "batch_purge": _remove(lambda c: c.repository.batch_purge(c.ids, scope=c.scope)),
    "batch_purge_partial": _remove(lambda c: c.repository.batch_purge_partial(c.ids, scope=c.scope)),
    "purge_where": _remove(lambda c: c.repository.purge_where(c.these, scope=c.scope, pause=0)),
}
"""Every method of a repository that reads or writes rows."""

VERSIONED: Final = {
    "update": "expected_version",
    **dict.fromkeys(("batch_update", "batch_update_each", "batch_update_partial"), "expected_versions"),
}
"""The verbs that may be told which version is expected, and by which argument; batches are told by the ids."""


@dataclass(frozen=True)
class Outcome:
    """All that a caller sees of a call, but for the ids that it gave: the rows or their number, or what was refused.

    ``absent`` is at which places of the input were rows that are not there; ``error`` the class of an error,
    ``code`` its code and ``words`` what it says. ``places`` is at which places the rows stood, and ``inserted`` which
    of them are new, of verbs that say so.
    """

    rows: list[Any] | int = 0
    absent: tuple[int, ...] = ()
    error: type[Exception] | None = None
    code: str | None = None
    words: str | None = None
    places: tuple[int, ...] | None = field(default=None, compare=False)
    inserted: tuple[bool, ...] = field(default=(), compare=False)

    @property
    def number(self) -> int:
        """How many rows there are."""
        return self.rows if isinstance(self.rows, int) else len(self.rows)

    @property
    def is_of_one(self) -> bool:
        """Whether one row was reached, and nothing is said of any other."""
        return self.error is None and self.number == 1 and not self.absent

    @property
    def told(self) -> str:
        """The answer in a few words, for who reads of a test that failed."""
        if self.error is not None:
            return f"it raises {self.error.__name__} ({self.code}): {self.words}"
        return f"it gives {self.rows}" if isinstance(self.rows, int) else f"it gives {len(self.rows)} rows: {self.rows}"


async def answer(verb: str, call: VerbCall) -> Outcome:
    """Give what a verb answers to a call."""
    return await answered(VERBS[verb].call(call), call.ids)


async def answered(call: Awaitable[Any], ids: Sequence[Any] = ()) -> Outcome:
    """Give the answer to a call; what is no error of a repository's is an answer too."""
    try:
        return _answer(await call, list(ids))
    except Exception as error:  # noqa: BLE001 - a domain's own errors may be of any class
        return refusal(error)


def refusal(error: Exception) -> Outcome:
    """Give the answer that an error is."""
    code = error.error_code if isinstance(error, RepositoryError) else None
    return Outcome(error=type(error), code=code, words=str(error))


def _answer(result: object, ids: list[Any]) -> Outcome:
    given = cast("Any", result)
    match result:
        case BatchResult():
            return replace(_listed(given.succeeded), absent=tuple(map(ids.index, given.missing)))
        case PartialResult():
            told = refusal(given.failed[0].error) if given.failed else Outcome()
            return replace(
                _listed(given.data),
                error=told.error,
                code=told.code,
                words=told.words,
                absent=tuple(failure.index for failure in given.failed),
                places=tuple(success.index for success in given.succeeded),
            )
        case PurgeReport():
            return Outcome(result.rows)
        case bool() | int() | None:
            return Outcome(int(result or 0))
        case Page() | list():
            return _listed(given)
        case _:
            return _listed([given])


def _listed(given: Iterable[object]) -> Outcome:
    rows = [cast("Any", each).data if isinstance(each, Upserted) else each for each in given]
    return Outcome(rows, inserted=tuple(each.inserted for each in given if isinstance(each, Upserted)))
