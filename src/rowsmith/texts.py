"""What an application writes into SQL as it is, and whether that ends what it begins.

SQLAlchemy quotes names and sends values apart, but puts some strings between its own words unseen: SQL given as text,
an operator, the field of an EXTRACT, a type, a prefix or hint, a name that is told not to be quoted. Such a string that
closes a parenthesis which it did not open ends the condition it stands in, and what follows is one on all rows.
:func:`is_any_open` tells of the parts of an expression; what ``@compiles`` renders is compiled by itself, and its text
is looked at, as it is once more where it stands in a condition; elsewhere :func:`complaint_about` refuses what cannot
be. Nothing here talks to a database.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import chain
from typing import Any, Final, TypeAlias, cast

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import (
    ClauseList,
    CollationClause,
    ColumnClause,
    _TStringText,  # pyright: ignore[reportPrivateUsage] - there is no public name
)
from sqlalchemy.sql.functions import FunctionElement, next_value
from sqlalchemy.sql.selectable import (
    HasHints,
    HasPrefixes,
    HasSuffixes,
    NamedFromClause,
    TableClause,
    TableValuedAlias,
)
from sqlalchemy.types import TypeEngine

ADVICE: Final = (
    "is made of text that does not stand for itself: in SQL given as text, in an operator, a field, a type or a name "
    "close each parenthesis and quote that it opens and no other, and leave comments and semicolons out"
)
"""What to write instead of an expression with an open text, to follow the expression's place."""


UNSEEN: Final = (
    "has a part that @compiles renders, and that cannot be rendered by itself, so that nothing is known of its text: "
    "have it rendered without asking what stands around it"
)
"""What to write instead of an expression with a text that nobody can look at, to follow the expression's place."""


def is_closed(text: str) -> bool:
    """Say whether SQL given as text ends what it begins, so that nothing around it changes its meaning, nor it theirs.

    Strings and quoted names are read as PostgreSQL reads them (its manual, "Lexical Structure"); a comment is none.
    """
    rest, depth = _QUOTED.sub("", text), 0
    if _LEFT_OPEN.search(rest):
        return False
    for parenthesis in re.findall(r"[()]", rest):
        depth += 1 if parenthesis == "(" else -1
        if depth < 0:
            return False
    return depth == 0


_QUOTED = re.compile(
    # After a letter an E is a word's, as a dollar sign is a name's.
    r"""(?<![\w$])[eE]'(?:\\.|''|[^'\\])*'|'(?:''|[^'])*'|"(?:""|[^"])*"|(?<![\w$])\$(?P<tag>\w*)\$.*?\$(?P=tag)\$""",
    re.DOTALL,
)
_LEFT_OPEN = re.compile(r"""['";]|--|/\*|\$\w*\$""")


def has_open_text(expression: Any) -> bool:
    """Say whether any part of an expression is made of text that does not end what it begins."""
    return is_any_open(visitors.iterate(expression))


def is_any_open(parts: Iterable[Any]) -> bool:
    """Say whether one of some parts of an expression is made of text that does not end what it begins.

    Their children are parts of their own, but for those that SQLAlchemy does not show as such.
    """
    for part in parts:
        for tells in _tellers(part.__class__):
            if tells(part):
                return True
    return False


def complaint_about(parts: Sequence[Any]) -> str | None:
    """Say what is wrong with the text of an expression that nobody looks at once more as it is rendered; or None."""
    if is_any_open(parts):
        return ADVICE
    is_unseen = any(_is_compiled(part.__class__) and not any(_rendered([_selected(part)])) for part in parts)
    return UNSEEN if is_unseen else None


_Tells: TypeAlias = Callable[[Any], bool]


@lru_cache(maxsize=1000)
def _tellers(kind: type[object]) -> tuple[_Tells, ...]:
    """Give what tells whether a part of a class is open; for most of them there is nothing to tell."""
    column: type[Any] = sa.Column
    found = [tells for base, tells in _TELLERS.items() if issubclass(kind, base) and not issubclass(kind, column)]
    if _is_compiled(kind):
        found.append(_is_rendered_open)
    return tuple(found)


def _is_compiled(kind: type[object]) -> bool:
    """Say whether somebody else renders a class, by ``@compiles``."""
    return hasattr(kind, "_compiler_dispatcher") and not kind.__module__.startswith("rowsmith.")


def _is_open_operator(operator: Any) -> bool:
    return isinstance(operator, operators.custom_op) and not is_closed(cast("Any", operator).opstring)


def _has_open_operator(part: Any) -> bool:
    return _is_open_operator(part.operator) or _is_open_operator(getattr(part, "modifier", None))


_NAMED: Final[Any] = TableClause


def _is_open_column(part: Any) -> bool:
    names: tuple[Any, ...] = (part.name,)
    if isinstance(part.table, _NAMED):
        names += part.table.name, part.table.schema
    return (part.is_literal and not is_closed(part.name)) or _is_open_name(*names) or is_open_type(part.type)


def _is_open_function(part: Any) -> bool:
    """SQLAlchemy quotes a function's name where it is no word, for which it takes dollar signs too."""
    names = (getattr(part, "name", ""), *getattr(part, "packagenames", ()))
    is_open_word = any("$" in name and not is_closed(name) for name in names)
    return is_open_word or _is_open_name(*names) or is_open_type(part.type)


def _is_open_name(*names: Any) -> bool:
    return any(getattr(name, "quote", None) is False and not is_closed(name) for name in names)


def _has_open_prefix(part: Any) -> bool:
    given: Iterable[Any] = chain(getattr(part, "_prefixes", ()), getattr(part, "_suffixes", ()))
    return any(has_open_text(text) for text, _ in given)


def _has_open_hint(part: Any) -> bool:
    hints = chain((text for _, text in part._statement_hints), part._hints.values())
    return not all(map(is_closed, hints))


def _is_rendered_open(part: Any) -> bool:
    return not all(map(is_closed, _rendered([_selected(part)])))


def _selected(part: Any) -> Any:
    column: type[Any] = sa.ColumnElement
    return sa.select(part) if isinstance(part, column) else part


def _rendered(given: Iterable[Any]) -> Iterator[str]:
    """Give the SQL of expressions on each backend that can render them by themselves."""
    for expression in given:
        for dialect in _DIALECTS:
            text = ""
            with suppress(Exception):  # it raises what it likes, and is asked once more where it stands
                text = str(expression.compile(dialect=dialect, compile_kwargs={"render_postcompile": True}))
            yield text


_DIALECTS: Final = [sa.make_url(url).get_dialect()() for url in ("postgresql+asyncpg://", "sqlite+aiosqlite://")]


@lru_cache(maxsize=1000)
def is_open_type(declared: TypeEngine[Any]) -> bool:
    """Say whether the SQL for a type, or what it puts around its values, does not end what it begins."""
    if _is_plain(declared):
        return False
    value, read = sa.bindparam("value", type_=declared), sa.column("read", declared)
    used = (value, read, sa.cast(sa.null(), declared))
    return not all(map(is_closed, _rendered(map(sa.select, used))))


def _is_plain(given: Any) -> bool:
    """Say whether a type is SQLAlchemy's own and was given no text; as those that it is made of or that replace it."""
    match given:
        case TypeEngine():
            declared = cast("Any", given)
            is_own = declared.__class__.__module__.startswith("sqlalchemy.")
            return is_own and all(map(_is_plain, declared.__dict__.values()))
        case Mapping():
            return all(map(_is_plain, cast("Any", given).values()))
        case _:
            return not isinstance(given, str)


_TELLERS: Final[Mapping[type[Any], _Tells]] = {
    sa.BinaryExpression: lambda part: _is_open_operator(part.operator) or is_open_type(part.type),
    sa.UnaryExpression: _has_open_operator,
    ClauseList: _has_open_operator,
    sa.BindParameter: lambda part: is_open_type(part.type) or (part.literal_execute and _is_rendered_open(part)),
    sa.TextClause: lambda part: not is_closed(part.text),
    _TStringText: lambda part: not is_closed(part.text),
    ColumnClause: _is_open_column,
    sa.Extract: lambda part: not is_closed(part.field),
    FunctionElement: _is_open_function,
    next_value: lambda part: _is_open_name(part.sequence.name, part.sequence.schema),
    CollationClause: lambda part: _is_open_name(part.collation, part.collation_schema),
    sa.Label: lambda part: _is_open_name(part.name),
    **dict.fromkeys((sa.Cast, sa.TypeCoerce, sa.TypeClause, array), lambda part: is_open_type(part.type)),
    NamedFromClause: lambda part: _is_open_name(part.name, getattr(part, "schema", None)),
    TableValuedAlias: lambda part: any(is_open_type(each.type) or _is_open_name(each.name) for each in part.c),
    HasPrefixes: _has_open_prefix,
    HasSuffixes: _has_open_prefix,
    HasHints: _has_open_hint,
    sa.Values: _is_rendered_open,
    sa.UpdateBase: _is_rendered_open,
}
"""What tells of the parts that put strings of the application into SQL, SQLAlchemy's compiler read line by line."""
