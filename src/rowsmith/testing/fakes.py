"""Fakes: a repository that answers what a test says, for code under test that is given repositories."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import wraps
from inspect import (
    BoundArguments,
    Parameter,
    Signature,
    getmembers_static,
    isasyncgenfunction,
    isawaitable,
    iscoroutinefunction,
    isfunction,
    signature,
)
from typing import TYPE_CHECKING, Any, Final, Never, TypeVar, cast, get_origin

from sqlalchemy.ext.asyncio import AsyncSession
from typing_extensions import is_protocol, override

from rowsmith.database import Database
from rowsmith.errors import MappingError, kind_of
from rowsmith.homes import OpenSession, innermost
from rowsmith.mapping import nearest
from rowsmith.operations import Stream
from rowsmith.unit_of_work import UnitOfWork, run_after_commit

T = TypeVar("T")


class NotFaked(AssertionError):
    """A fake was asked for what its test did not give it.

    It is none of the errors of a repository, so that code under test which handles those fails all the same.
    """


def fake(kind: type[T], db: Database | None = None, /, **methods: Callable[..., Any]) -> T:
    """Make an object of a class whose methods are those given, and which has no database.

    ::

        async def get(id: GroupId, scope: SearchScope | None) -> GroupData:
            return BERLIN

        groups = fake(GroupRepository, get=get, delete=AsyncMock(side_effect=GroupNotFound()))
        assert await GroupService(groups).population(BERLIN.id, scope) == BERLIN.population

    A function, asynchronous or plain, takes those arguments of the real method that it names, by the names they have
    there, and must take those that have no default. One with ``*args``, such as a mock of ``unittest.mock``, which also
    records its calls, is called just as the method is. A stream is given as an asynchronous generator. Calls are held
    against the real signature. What is not given and needs no database, such as ``to_row``, is the real one.

    Args:
        kind: the class, usually a repository; to a type checker the result is one of it.
        db: what its ``db`` is; without it, a :class:`FakeDatabase` of its own. Fakes of one service share one.
        methods: what stands for each method, by its name.

    Raises:
        MappingError: it is no class, or has no such method, or the function does not fit its signature.
        NotFaked: later, where something else is asked of it.
    """
    kind = get_origin(kind) or kind
    if not isinstance(cast("object", kind), type):
        raise MappingError(f"fake takes a class, not {kind_of(kind)}: write fake(GroupRepository, get=...)")
    given = {name: _stand_in(kind, name, function) for name, function in methods.items()}
    open_names: frozenset[str] = getattr(kind, "__abstractmethods__", frozenset())
    missing: dict[str, Callable[..., Any]] = {}
    for name, method in _methods(kind):
        needs_database = iscoroutinefunction(method) or isasyncgenfunction(method) or name == "stream"
        if needs_database or name in open_names or is_protocol(kind):  # an interface leaves all open
            missing[name] = _missing(kind, name, method)

    def unknown(_: Any, name: str) -> Never:
        if name.startswith("_"):
            raise AttributeError(name)
        _not_given(kind, name)

    shared = {
        "__init__": _nothing,
        "__getattr__": unknown,
        "__module__": __name__,
        "db": FakeDatabase() if db is None else db,
    }
    left_open = {name: property(_missing(kind, name, _nothing)) for name in open_names}
    made: Any = type(f"Fake{kind.__name__}", (kind,), left_open | missing | given | shared)
    made.__abstractmethods__ = frozenset()
    return cast("T", made())


class FakeDatabase(Database):
    """A database whose units of work are there and keep nothing; there is no session, nor an engine.

    Attributes:
        committed: how many units ended whole, those inside of another not counted.
        rolled_back: how many were left by an exception, those inside of another counted.
    """

    def __init__(self) -> None:
        self.committed = self.rolled_back = 0

    @override
    @asynccontextmanager
    async def unit_of_work(self) -> AsyncIterator[UnitOfWork]:
        """Open a unit of work: after it ends whole, the work that waits for its commit is done."""
        around = self.joined()
        unit = _FakeUnit(self, AsyncSession(), around)
        unit.push()
        try:
            yield unit
        except BaseException:
            self.rolled_back += 1
            raise
        finally:
            unit.pop(is_kept=True)
        if around is None:
            self.committed += 1
            await run_after_commit(unit.work)
        else:
            around.work.extend(unit.work)

    @property
    @override
    def is_in_session(self) -> bool:
        """Whether a call made here is inside of a unit of work."""
        return self.joined() is not None

    @override
    def joined(self) -> OpenSession | None:
        """Give the unit of work that a call made here is inside of."""
        return innermost(self)

    @override
    async def dispose(self) -> None:
        """Do nothing: there is nothing to close."""

    @override
    def begin_session(self) -> Never:
        """Refuse: a unit of work is all there is."""
        _no_database("begin_session()")

    @override
    def begin_readonly_session(self, *, snapshot: bool = False) -> Never:
        """Refuse: as :meth:`begin_session`."""
        _no_database("begin_readonly_session()")

    @override
    def reading(self, *, snapshot: bool = False, is_open_to_all: bool = True, has_deadline: bool = True) -> Never:
        """Refuse: as :meth:`begin_session`."""
        _no_database("reading()")

    @override
    def writing(self, *, is_open_to_all: bool = True) -> Never:
        """Refuse: as :meth:`begin_session`."""
        _no_database("writing()")

    if not TYPE_CHECKING:  # to a type checker a misspelt name is none

        def __getattr__(self, name: str) -> Never:
            if name.startswith("_"):
                raise AttributeError(name)
            _no_database(name)


class _FakeUnit(UnitOfWork):
    @property
    @override
    def session(self) -> AsyncSession:
        _no_database("session")


def _no_database(asked: str) -> Never:
    raise NotFaked(
        f"{asked} was asked for, and behind a fake there is no database: give what does it to fake(...) by its name, "
        "or test it on tables, with the fixture with_tables"
    )


def _methods(kind: type[object]) -> Iterable[tuple[str, Callable[..., Any]]]:
    """Give the public methods of a class, those that it inherits among them."""
    return [(name, method) for name, method in getmembers_static(kind, isfunction) if not name.startswith("_")]


def _missing(kind: type[object], name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def refuse(*_: object, **__: object) -> Never:
        _not_given(kind, name)

    async def refuse_awaited(*_: object, **__: object) -> Never:
        _not_given(kind, name)

    return wraps(method)(refuse_awaited if iscoroutinefunction(method) else refuse)


def _not_given(kind: type[object], name: str) -> Never:
    raise NotFaked(f"{kind.__name__}.{name} was not given to the fake: write fake({kind.__name__}, {name}=...)")


def _nothing(_: Any) -> None:
    """Take the place of what would open a database, and of a property's function."""


def _stand_in(kind: type[object], name: str, function: Any) -> Callable[..., Any]:
    """Give a method that hands its call to a function."""
    methods = dict(_methods(kind))
    if name not in methods:
        raise MappingError(f"{kind.__name__} has no method {name!r}{nearest(name, methods)}")
    if not callable(function):
        raise MappingError(f"{kind.__name__}.{name} of a fake is a function, not {kind_of(function)}")
    method = methods[name]
    call = _calling(f"{kind.__name__}.{name}", signature(method), function)

    @wraps(method)
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        answer = call(args, kwargs)
        return await answer if isawaitable(answer) else answer

    @wraps(method)
    def plain(*args: Any, **kwargs: Any) -> Any:
        answer = call(args, kwargs)
        is_stream = isasyncgenfunction(function) and not isasyncgenfunction(method)
        return Stream([item] async for item in answer) if is_stream else answer

    return awaited if iscoroutinefunction(method) else plain


_ANY_NUMBER: Final = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


def _calling(place: str, real: Signature, function: Callable[..., Any]) -> Callable[[Sequence[Any], Any], Any]:
    """Give what calls a function with those arguments of a method's call that it takes."""
    own = signature(function)
    _check_names(place, real, own)
    as_called = _takes_any_number(own) or _takes_any_number(real)

    def call(args: Sequence[Any], kwargs: Mapping[str, object]) -> Any:
        bound = real.bind(*args, **kwargs)
        if as_called:
            return function(*args[1:], **kwargs)
        bound.apply_defaults()
        _, *given = bound.arguments.items()
        for name, value in given:
            if name not in own.parameters and value is not real.parameters[name].default:
                raise NotFaked(f"{place} was called with {name!r}, which what stands for it does not take")
        taken = BoundArguments(own, {name: value for name, value in given if name in own.parameters})
        return function(*taken.args, **taken.kwargs)

    return call


def _takes_any_number(of: Signature) -> bool:
    return any(parameter.kind in _ANY_NUMBER for parameter in of.parameters.values())


def _check_names(place: str, real: Signature, own: Signature) -> None:
    _, *expected = real.parameters.values()
    names = [parameter.name for parameter in expected]
    for name, parameter in own.parameters.items():
        if name not in names and parameter.kind not in _ANY_NUMBER:
            raise MappingError(f"{place} takes no {name!r}{nearest(name, names)}")
    needed = [parameter.name for parameter in expected if parameter.default is Parameter.empty]
    left_out = next((name for name in needed if name not in own.parameters), None)
    if left_out is not None and not _takes_any_number(own):
        raise MappingError(f"what stands for {place} must take {left_out!r}, which has no default there")
