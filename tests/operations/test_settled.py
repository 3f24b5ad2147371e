"""What a scope says is asked once for a call; what is copied is what SQLAlchemy would build, and nothing else is."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import Condition, SearchScope
from rowsmith.operations.settled import Built, drawn, settle


class Base(DeclarativeBase):
    pass


class Kind(enum.Enum):
    OPEN = "open"
    SHUT = "shut"


class Loud(sa.TypeDecorator[str]):
    """Looks at a value before it says what it is compared as."""

    impl = sa.String
    cache_ok = True

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        return sa.Text() if value == "text" else self


class Folded(sa.String):
    """Is compared by SQL of its own."""

    class comparator_factory(sa.String.Comparator[str]):  # noqa: D106, N801 - SQLAlchemy's name
        def operate(self, op: Any, *other: Any, **kwargs: Any) -> Any:
            return sa.func.lower(self.expr) == sa.func.lower(other[0])


class NoteRow(Base):
    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str | None]
    at: Mapped[dt.datetime] = mapped_column(sa.DateTime(timezone=True))
    kind: Mapped[Kind]
    price: Mapped[Decimal]
    token: Mapped[uuid.UUID]
    flag: Mapped[bool]
    loud: Mapped[str] = mapped_column(Loud())
    folded: Mapped[str] = mapped_column(Folded())


class OtherRow(Base):
    __tablename__ = "others"
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]


@dataclass(frozen=True)
class Plain(SearchScope):
    tenant: Any

    def to_conditions(self) -> Sequence[Condition]:
        return [NoteRow.tenant == self.tenant]


@dataclass(frozen=True, slots=True)
class All(SearchScope):
    id: int
    at: dt.datetime
    kind: Kind
    price: Decimal
    token: uuid.UUID

    def to_conditions(self) -> Sequence[Condition]:
        return (
            NoteRow.id != self.id,
            NoteRow.at <= self.at,
            NoteRow.kind == self.kind,
            NoteRow.price > self.price,
            NoteRow.token == self.token,
        )


class Model(BaseModel, SearchScope):
    model_config = ConfigDict(frozen=True)
    tenant: str

    def to_conditions(self) -> Sequence[Condition]:
        return [NoteRow.tenant == self.tenant]


def all_of(id: int) -> All:
    return All(id, dt.datetime(2026, 1, id, tzinfo=dt.UTC), Kind.SHUT, Decimal(id), uuid.UUID(int=id))


def given_by(scope: SearchScope) -> list[Any]:
    settled = settle(scope)
    assert settled is not None
    return [*settled.given]


def sql(condition: Any) -> str:
    return str(condition.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True}))


def known_of(condition: Any) -> tuple[Any, ...]:
    """Everything that SQLAlchemy knows of a comparison, but for the name that each parameter has of its own."""
    bind = condition.right
    of_bind: dict[str, Any] = bind.__dict__
    of_condition: dict[str, Any] = condition.__dict__
    parameter = {name: str(value).replace(str(id(bind)), "ID") for name, value in of_bind.items()}
    outside = {name: value for name, value in of_condition.items() if name not in ("left", "right", "_orig")}
    compiled = condition.compile(dialect=postgresql.dialect())
    return parameter, outside, condition.left, condition._generate_cache_key().key, str(compiled), compiled.params


COPIED: dict[str, Callable[[int], SearchScope]] = {
    "one": lambda n: Plain(f"tenant {n}"),
    "several": all_of,
    "pydantic": lambda n: Model(tenant=f"tenant {n}"),
}


@pytest.mark.parametrize("made", COPIED.values(), ids=list(COPIED))
def test_a_copy_is_what_sqlalchemy_builds(made: Callable[[int], SearchScope], monkeypatch: pytest.MonkeyPatch) -> None:
    """In all that it consists of, and with the values of its own scope; it is built for the first one only."""
    scopes = [made(n) for n in (1, 2, 3)]
    built: list[list[Any]] = [list(scope.to_conditions()) for scope in scopes]
    settle(scopes[0])
    monkeypatch.setattr(Built, "of", None)
    for scope, conditions in zip(scopes, built, strict=True):
        assert list(map(known_of, given_by(scope))) == list(map(known_of, conditions))


@pytest.mark.parametrize("made", COPIED.values(), ids=list(COPIED))
def test_what_is_compared_is_known_before_it_is_built(
    made: Callable[[int], SearchScope], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each column, how, and the scope's own value, in the order of its conditions; nothing is copied for that."""
    conditions: list[Any] = list(made(2).to_conditions())
    settle(made(1))
    monkeypatch.setattr(Built, "copy", None)
    found = drawn(made(2))
    assert found is not None
    known = [(built.left, built.operator, value) for built, value in found]
    assert known == [(each.left, each.operator, each.right.value) for each in conditions]


def test_what_was_asked_once_is_not_asked_again() -> None:
    """By whoever has the call next."""
    settled = settle(Plain("a"))
    assert settled is not None
    assert settle(settled) is settled


def test_copies_stand_in_one_statement() -> None:
    """Each has a parameter of its own, and SQLAlchemy's cache takes them for the same statement with other values."""
    given: Any = [condition for name in ("a", "b") for condition in given_by(Plain(name))]
    either: Any = sa.select(NoteRow.id).where(sa.or_(*given))
    assert sorted(either.compile(dialect=postgresql.dialect()).params.values()) == ["a", "b"]


class Other(Plain):
    def to_conditions(self) -> Sequence[Condition]:
        return [NoteRow.id > 0]


@dataclass(frozen=True)
class Branching(SearchScope):
    tenant: str

    def to_conditions(self) -> Sequence[Condition]:
        return [NoteRow.tenant == self.tenant] if self.tenant else [NoteRow.id == 0]


@dataclass(frozen=True)
class Computed(SearchScope):
    number: int

    @property
    def tenant(self) -> str:
        return f"tenant {self.number}"

    def to_conditions(self) -> Sequence[Condition]:
        return [NoteRow.tenant == self.tenant]


@dataclass(frozen=True)
class Calling(SearchScope):
    tenant: str

    def to_conditions(self) -> Sequence[Condition]:
        return [NoteRow.tenant == self.tenant.lower()]


@dataclass(frozen=True)
class Turned(SearchScope):
    tenant: Any

    def to_conditions(self) -> Sequence[Condition]:
        return [self.tenant == NoteRow.tenant]


@dataclass(frozen=True)
class Looking(SearchScope):
    tenant: str

    def to_conditions(self) -> Sequence[Condition]:
        return [NoteRow.loud == self.tenant]


@dataclass(frozen=True)
class Folding(SearchScope):
    tenant: str

    def to_conditions(self) -> Sequence[Condition]:
        return [NoteRow.folded == self.tenant]


@dataclass(frozen=True)
class Told(SearchScope):
    tenant: str

    def __getattribute__(self, name: str) -> Any:
        return "told" if name == "tenant" else super().__getattribute__(name)

    def to_conditions(self) -> Sequence[Condition]:
        return [NoteRow.tenant == self.tenant]


@dataclass(frozen=True)
class Flagged(SearchScope):
    flag: bool

    def to_conditions(self) -> Sequence[Condition]:
        return [NoteRow.flag == self.flag]


@dataclass(frozen=True)
class Lazy(SearchScope):
    tenant: str

    def to_conditions(self) -> Any:
        yield NoteRow.tenant == self.tenant


@dataclass(frozen=True)
class Empty(SearchScope):
    tenant: str

    def to_conditions(self) -> Sequence[Condition]:
        return ()


RUN = {
    "nothing": (Empty("a"), Empty("b")),
    "a branch": (Branching("a"), Branching("")),
    "a property": (Computed(1), Computed(2)),
    "a call": (Calling("A"), Calling("B")),
    "the other way round": (Turned("a"), Turned("b")),
    "a type that looks at values": (Looking("a"), Looking("text")),
    "operators of its own": (Folding("a"), Folding("b")),
    "attributes of its own": (Told("a"), Told("b")),
    "true and false": (Flagged(True), Flagged(False)),
    "NULL": (Plain("a"), Plain(None)),
    "values of another type": (Plain("a"), Plain(3)),
    "an expression": (Plain("a"), Plain(sa.func.current_user())),
    "a parameter": (Plain(sa.literal("a")), Plain(sa.bindparam("q", "b"))),
    "a generator": (Lazy("a"), Lazy("b")),
}


@pytest.mark.parametrize("scopes", RUN.values(), ids=list(RUN))
def test_what_does_more_is_run(scopes: Sequence[SearchScope]) -> None:
    """Whatever was asked before, the conditions are those that its code gives."""
    for scope in (*scopes, *scopes):
        assert list(map(sql, given_by(scope))) == list(map(sql, scope.to_conditions()))
        known = drawn(scope)
        assert known is None or [sql(built.copy(value)) for built, value in known] == list(map(sql, given_by(scope)))
    assert None in map(drawn, scopes)


def test_code_that_is_put_in_its_place_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the class, or in the module that its code looks rows up in."""
    scope = Plain("a")
    settle(scope)
    with monkeypatch.context() as patch:
        patch.setattr(Plain, "to_conditions", Other.to_conditions)
        assert list(map(str, given_by(scope))) == ["notes.id > :id_1"]
    monkeypatch.setitem(globals(), "NoteRow", OtherRow)
    assert list(map(str, given_by(scope))) == ["others.tenant = :tenant_1"]


def test_code_that_is_put_in_its_functions_place_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """As reloading a module may do; or in one scope's alone."""
    scope = Plain("a")
    settle(scope)
    with monkeypatch.context() as patch:
        patch.setattr(Plain.to_conditions, "__code__", Other.to_conditions.__code__)
        assert list(map(str, given_by(scope))) == ["notes.id > :id_1"]
    object.__setattr__(scope, "to_conditions", lambda: [NoteRow.id == 1])
    assert list(map(str, given_by(scope))) == ["notes.id = :id_1"]


def test_an_error_of_its_own_passes() -> None:
    """As it would without any of this."""
    broken = object.__new__(Plain)
    settle(Plain("a"))
    with pytest.raises(AttributeError, match="tenant"):
        settle(broken)
