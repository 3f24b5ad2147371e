"""SQL that is spelt differently on each backend, and the same in meaning.

Text matching is literal and minds the case everywhere: PostgreSQL gets LIKE with an escaped pattern
(so that an index with ``text_pattern_ops`` or ``pg_trgm`` can answer), SQLite, whose LIKE ignores the
case of A to Z, gets ``instr`` and ``substr``.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias, get_args

from sqlalchemy import Boolean, ColumnElement, Dialect, String, TypeDecorator, bindparam, func
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import operators
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.visitors import InternalTraversal
from sqlalchemy.types import TypeEngine
from typing_extensions import override

from rowsmith.errors import InvalidFilter
from rowsmith.mapping.types import is_sqlalchemys

Place: TypeAlias = Literal["contains", "starts_with", "ends_with", "whole"]

_WILDCARDS: Final[dict[str, tuple[str, str]]] = {
    "contains": ("%", "%"),
    "starts_with": ("", "%"),
    "ends_with": ("%", ""),
}
_ESCAPES: Final = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_"})
_BOOLEAN: Final = Boolean()


class _Needle(TypeDecorator[str]):
    """A searched text, bound through the type of what it is compared with: a LIKE pattern of it, but on SQLite."""

    impl = String
    cache_ok = True

    def __init__(self, place: Place, through: TypeEngine[Any] | None = None) -> None:
        super().__init__()
        self.place, self.through = place, through

    @override
    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        process: Any = None if self.through is None else self.through.dialect_impl(dialect).bind_processor(dialect)
        value = value if process is None else process(value)
        if value is None or dialect.name == "sqlite" or self.place == "whole":
            return value
        before, after = _WILDCARDS[self.place]
        return f"{before}{value.translate(_ESCAPES)}{after}"


class _OtherNeedle(_Needle):
    """The same through a type that SQLAlchemy must not remember a statement with."""

    cache_ok = False


def needle(subject: ColumnElement[Any], text: str, place: Place = "whole") -> ColumnElement[Any]:
    """Give the parameter for a text that is compared with an expression, bound as ``==`` would bind it."""
    declared: TypeEngine[Any] = subject.type
    if is_sqlalchemys(declared):
        return bindparam(None, text, _NEEDLES[place], unique=True)
    kind = _Needle if getattr(declared, "cache_ok", None) else _OtherNeedle
    bound = bindparam(None, text, kind(place, declared), unique=True)
    wrapped: ColumnElement[Any] | None = declared.bind_expression(bound)
    return bound if wrapped is None else wrapped


_NEEDLES: Final[dict[Place, _Needle]] = {place: _Needle(place) for place in get_args(Place)}


class TextMatch(ColumnElement[bool]):
    """Whether a text contains, starts with or ends with another one, character by character."""

    __visit_name__ = "rowsmith_text_match"
    _traverse_internals = [  # noqa: RUF012 - SQLAlchemy's own form
        ("subject", InternalTraversal.dp_clauseelement),
        ("needle", InternalTraversal.dp_clauseelement),
        ("place", InternalTraversal.dp_string),
    ]
    type = _BOOLEAN

    def __init__(self, subject: ColumnElement[Any], text: str, place: Place, *, folded: bool = False) -> None:
        sought = needle(subject, text, place)
        self.subject: Any = func.lower(subject) if folded else subject.self_group(against=operators.like_op)
        self.needle: Any = func.lower(sought) if folded else sought
        self.place: Place = place

    @property
    def _from_objects(self) -> Any:
        return self.subject._from_objects

    @override
    def self_group(self, against: object = None) -> Any:
        return self


@compiles(TextMatch)
def _like(element: TextMatch, compiler: SQLCompiler, **options: Any) -> str:
    subject, needle = compiler.process(element.subject, **options), compiler.process(element.needle, **options)
    # A backslash is PostgreSQL's escape character unless another is named.
    return f"({subject} LIKE {needle})"


@compiles(TextMatch, "sqlite")
def _instr(element: TextMatch, compiler: SQLCompiler, **options: Any) -> str:
    subject, needle = compiler.process(element.subject, **options), compiler.process(element.needle, **options)
    if element.place == "contains":
        return f"(instr({subject}, {needle}) > 0)"
    if element.place == "starts_with":
        return f"(substr({subject}, 1, length({needle})) = {needle})"
    return f"(substr({subject}, length({subject}) - length({needle}) + 1) = {needle})"


class PostgresOnly(ColumnElement[bool]):
    """A condition that only PostgreSQL can answer; compiling it for another backend says so."""

    __visit_name__ = "rowsmith_postgres_only"
    _traverse_internals = [  # noqa: RUF012 - SQLAlchemy's own form
        ("condition", InternalTraversal.dp_clauseelement),
        ("feature", InternalTraversal.dp_string),
    ]
    type = _BOOLEAN

    def __init__(self, condition: ColumnElement[Any], feature: str) -> None:
        self.condition: Any = condition
        self.feature = feature

    @property
    def _from_objects(self) -> Any:
        return self.condition._from_objects

    @override
    def self_group(self, against: object = None) -> Any:
        return self


@compiles(PostgresOnly)
def _postgresql(element: PostgresOnly, compiler: SQLCompiler, **options: Any) -> str:
    return f"({compiler.process(element.condition, **options)})"


@compiles(PostgresOnly, "sqlite")
def _refuse(element: PostgresOnly, compiler: SQLCompiler, **_: Any) -> str:
    raise InvalidFilter(f"{element.feature} needs PostgreSQL: {compiler.dialect.name} cannot answer it")


class PerBackend(ColumnElement[bool]):
    """One condition spelt twice: for PostgreSQL and for SQLite."""

    __visit_name__ = "rowsmith_per_backend"
    _traverse_internals = [  # noqa: RUF012 - SQLAlchemy's own form
        ("postgresql", InternalTraversal.dp_clauseelement),
        ("sqlite", InternalTraversal.dp_clauseelement),
    ]
    type = _BOOLEAN

    def __init__(self, postgresql: ColumnElement[Any], sqlite: ColumnElement[Any]) -> None:
        self.postgresql: Any = postgresql
        self.sqlite: Any = sqlite

    @property
    def _from_objects(self) -> Any:
        return self.postgresql._from_objects

    @override
    def self_group(self, against: object = None) -> Any:
        return self


@compiles(PerBackend)
def _spell(element: PerBackend, compiler: SQLCompiler, **options: Any) -> str:
    spelling = element.sqlite if compiler.dialect.name == "sqlite" else element.postgresql
    return f"({compiler.process(spelling, **options)})"
