"""What the verbs take, held against what they can use: by the names of their parameters, once for all verbs.

It is done before a scope is admitted, so that nothing is sent for a call that could not be made. What stands in
``READ_LATER`` is held where it is read, before any row is touched.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from inspect import iscoroutinefunction
from types import MappingProxyType
from typing import Any, Final, TypeAlias, cast

from rowsmith.errors import InvalidValue, MappingError, kind_of
from rowsmith.lock import Lock
from rowsmith.mapping import Patch, RowInfo, Spec
from rowsmith.mapping.writes import all_belong, belongs_to
from rowsmith.operations.blocks.checks import check_column
from rowsmith.operations.conflict import Conflict
from rowsmith.operations.entity import check_into
from rowsmith.signatures import takes
from rowsmith.state import UNSET

Argument: TypeAlias = Callable[[Any, RowInfo[Any]], None]
"""Refuses what a parameter cannot be; takes it and the row that the call is about."""

_NO_LISTS: Final = (str, bytes, bytearray, memoryview)
CHANGEABLE: Final[frozenset[type[Any]]] = frozenset({list, dict, set, deque, OrderedDict, defaultdict})
"""The lists that a call keeps as they were given: whoever made it may change theirs while it waits."""


def checked_arguments(
    names: Sequence[str], args: tuple[Any, ...], kwargs: Mapping[str, Any], info: RowInfo[object]
) -> tuple[Any, Any]:
    """Refuse arguments that a verb cannot use, and give those it can as they are now.

    A call awaits, and whoever made it may change a list of theirs meanwhile: what is sent and told is what was given.

    Args:
        names: the verb's parameters, in their order.
        args, kwargs: what is given for them.
        info: the row that the call is about.

    Raises:
        InvalidValue, MappingError: one is of a wrong kind; the message names it, and what to write.
    """
    for name, given in (*zip(names, args, strict=False), *kwargs.items()):
        if name in ARGUMENTS:
            ARGUMENTS[name](given, info)
    own, named = args, kwargs
    for place, given in enumerate(args):
        if given.__class__ in CHANGEABLE:
            own = (*own[:place], given.copy(), *own[place + 1 :])
    for name, given in kwargs.items():
        if given.__class__ in CHANGEABLE:
            named = {**named, name: given.copy()}
    return own, named


def no_session(operation: str, given: object) -> MappingError:
    """Make the error for a verb that is given something else than a session to work in."""
    return MappingError(
        f"{operation} takes an AsyncSession first, not {kind_of(given)}: "
        "write async with db.begin_session() as db_sess, and give it db_sess"
    )


def check_begin(given: object) -> None:
    """Refuse what opens no sessions, where a verb opens them itself.

    Raises:
        MappingError: it is a session, a database, or something else.
    """
    if not callable(given) or isinstance(given, type):
        raise MappingError(f"what opens sessions is a function, not {kind_of(given)}: write db.begin_session")


def check_verb(given: object, first: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Refuse a verb of an application's own that cannot be called as it would be.

    Args:
        given: the verb.
        first: the name of what it is given before the arguments.
        args, kwargs: the arguments.

    Raises:
        MappingError: it is no function, or takes other arguments.
    """
    if not callable(given):
        raise MappingError(f"a verb is a function, not {kind_of(given)}: write async def own({first}): ...")
    if not takes(given, None, *args, **kwargs):
        names = ", ".join((first, *(f"argument_{place}" for place in range(1, len(args) + 1)), *kwargs))
        raise MappingError(
            f"{getattr(given, '__name__', 'the verb')} does not take what it is called with: write async def "
            f"own({names}), or call it with what it takes"
        )


def _pk(given: object, info: RowInfo[object]) -> None:
    if given is not UNSET:
        info.key(given)


def _ids(given: object, info: RowInfo[object]) -> None:
    if not isinstance(given, Sequence) or isinstance(given, _NO_LISTS):
        raise InvalidValue(f"ids are a list of keys, not {kind_of(cast('Any', given))}: write [id], or list(ids)")


def _specs(given: object, info: RowInfo[object]) -> None:
    is_many = isinstance(given, Iterable | AsyncIterable) and not isinstance(given, (*_NO_LISTS, Mapping, Spec, Patch))
    if not is_many or isinstance(given, type):
        raise InvalidValue(
            f"specs are a list or any iterable, also an asynchronous one, not {kind_of(cast('Any', given))}: [spec]"
        )
    if isinstance(given, Sequence):
        _each(cast("Any", given), info, Spec)


def _patches(given: object, info: RowInfo[object]) -> None:
    if not isinstance(given, Mapping):
        raise InvalidValue(f"patches are a mapping of ids to patches, not {kind_of(given)}: write {{id: patch}}")
    _each(list(cast("Any", given).values()), info, Patch)


def _each(given: Sequence[object], info: RowInfo[object], base: type[Spec[Any] | Patch[Any]]) -> None:
    all_belong(given, info, base, range(len(given)))


def _versions(given: object, info: RowInfo[object]) -> None:
    if given is None:
        return
    if not isinstance(given, Mapping):
        raise InvalidValue(
            f"expected_versions are a mapping of ids to versions, not {kind_of(given)}: write {{id: version}}"
        )
    version = info.kept_version
    versions = list(cast("Any", given).values())
    kinds = set(map(type, versions))
    if type(None) in kinds:
        raise InvalidValue("expected_versions has None for an id: give the version last seen")
    check_column(info, version, versions, kinds, 0, noun="version")


def _conflict(given: object, info: RowInfo[object]) -> None:
    if given is None:
        return
    if not isinstance(given, Conflict):
        raise MappingError(
            f"conflict is a Conflict, not {kind_of(given)}: write Conflict(columns=[...]) or Conflict(constraint='...')"
        )
    given.resolve(info)


def _progress(given: object, info: RowInfo[object]) -> None:
    if given is not None and not (callable(given) and not iscoroutinefunction(given) and takes(given, 0)):
        raise InvalidValue(
            f"progress is a plain function of one number, not {kind_of(given)}: write lambda done: print(done)"
        )


def _idempotency_key(given: object, info: RowInfo[object]) -> None:
    if given is None:
        return
    if not isinstance(given, str) or not given.strip():
        raise InvalidValue(
            "idempotency_key is a text that the caller chose for this one write, such as a request's Idempotency-Key: "
            "give it, or leave it out"
        )


def _lock(given: object, info: RowInfo[object]) -> None:
    if given is not None and not isinstance(given, Lock):
        raise InvalidValue(f"lock is a Lock, not {kind_of(given)}: write lock=Lock()")


def _flag(name: str) -> Argument:
    def check(given: object, info: RowInfo[object]) -> None:
        if not isinstance(given, bool):
            raise InvalidValue(f"{name} is True or False, not {kind_of(given)}")

    return check


ARGUMENTS: Final[Mapping[str, Argument]] = MappingProxyType(
    {
        "pk": _pk,
        "ids": _ids,
        "spec": lambda given, info: belongs_to(given, info, Spec),
        "specs": _specs,
        "patch": lambda given, info: belongs_to(given, info, Patch),
        "patches": _patches,
        "expected_versions": _versions,
        "conflict": _conflict,
        "progress": _progress,
        "idempotency_key": _idempotency_key,
        "into": lambda given, _: check_into(given),
        "lock": _lock,
        **{name: _flag(name) for name in ("include_deleted", "for_update", "all_rows", "dry_run")},
    }
)
"""How each parameter is held, by its name, whatever the verb."""

READ_LATER: Final = frozenset(
    {"scope", "filters", "pagination", "orders", "group_by", "count", "chunk_size", "expected_version", "pace"}
)
"""The parameters that are held where they are read."""
