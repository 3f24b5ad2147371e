"""Filters over text: literal matching, and PostgreSQL's full text search."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias, get_args

from pydantic import AfterValidator, Field, StrictBool, StringConstraints
from sqlalchemy import ColumnElement, false, func, literal_column, type_coerce
from sqlalchemy.dialects.postgresql import REGCONFIG
from sqlalchemy.types import Text
from typing_extensions import override

from rowsmith.errors import InvalidFilter
from rowsmith.filters.fields import MAX_VALUES, Compile, FieldFilter, Operator
from rowsmith.filters.operands import Operand, stored
from rowsmith.filters.operators import EQUALS, IN, IS_NULL, NOT_EQUALS, NOT_IN, complement
from rowsmith.filters.sql import Place, PostgresOnly, TextMatch, needle
from rowsmith.mapping.types import Comparison, text_complaint

MAX_TEXT: Final = 10_000
"""The most characters of one searched text."""


def _storable(text: str) -> str:
    if (complaint := text_complaint(text)) is not None:
        raise ValueError(f"a text column {complaint}")
    return text


SearchText: TypeAlias = Annotated[str, StringConstraints(strict=True, max_length=MAX_TEXT), AfterValidator(_storable)]
SearchTexts: TypeAlias = Annotated[list[SearchText], Field(max_length=MAX_VALUES)]


def _matches(place: Place, *, folded: bool = False) -> Compile:
    return lambda operand, text: TextMatch(operand.expression, text, place, folded=folded)


def _i_equals(operand: Operand, text: str) -> ColumnElement[bool]:
    return func.lower(operand.expression) == func.lower(needle(operand.expression, text))


def _i_in(operand: Operand, texts: list[str]) -> ColumnElement[bool]:
    subject = operand.expression
    return func.lower(subject).in_([func.lower(needle(subject, text)) for text in texts]) if texts else false()


_CONTAINS, _I_CONTAINS = _matches("contains"), _matches("contains", folded=True)
_STARTS, _I_STARTS = _matches("starts_with"), _matches("starts_with", folded=True)
_ENDS, _I_ENDS = _matches("ends_with"), _matches("ends_with", folded=True)
_NULLS = "A null field satisfies it."


class StringFilter(FieldFilter):
    """Operators on a text field. Searched text is literal: ``%``, ``_`` and backslash mean themselves.

    An ``i_`` operator ignores the case of letters, as the database's ``lower()`` does: all of the
    alphabet's letters in most PostgreSQL databases, A to Z in one of locale "C" and on SQLite.
    A ``not`` operator is the exact complement of its plain form, so a null field satisfies it.
    """

    equals: Annotated[SearchText | None, EQUALS] = None
    not_equals: Annotated[SearchText | None, NOT_EQUALS] = None
    contains: Annotated[SearchText | None, Operator(_CONTAINS, "The field contains this text.")] = None
    not_contains: Annotated[
        SearchText | None, Operator(complement(_CONTAINS), f"The field does not contain this text. {_NULLS}")
    ] = None
    starts_with: Annotated[SearchText | None, Operator(_STARTS, "The field starts with this text.")] = None
    not_starts_with: Annotated[
        SearchText | None, Operator(complement(_STARTS), f"The field does not start with this text. {_NULLS}")
    ] = None
    ends_with: Annotated[SearchText | None, Operator(_ENDS, "The field ends with this text.")] = None
    not_ends_with: Annotated[
        SearchText | None, Operator(complement(_ENDS), f"The field does not end with this text. {_NULLS}")
    ] = None
    in_: Annotated[SearchTexts | None, IN] = None
    not_in: Annotated[SearchTexts | None, NOT_IN] = None
    i_equals: Annotated[SearchText | None, Operator(_i_equals, "The field is this text, case ignored.")] = None
    i_not_equals: Annotated[
        SearchText | None, Operator(complement(_i_equals), f"The field is another text, case ignored. {_NULLS}")
    ] = None
    i_contains: Annotated[SearchText | None, Operator(_I_CONTAINS, "The field contains this, case ignored.")] = None
    i_not_contains: Annotated[
        SearchText | None,
        Operator(complement(_I_CONTAINS), f"The field does not contain this, case ignored. {_NULLS}"),
    ] = None
    i_starts_with: Annotated[SearchText | None, Operator(_I_STARTS, "The field starts with this, case ignored.")] = None
    i_not_starts_with: Annotated[
        SearchText | None,
        Operator(complement(_I_STARTS), f"The field does not start with this, case ignored. {_NULLS}"),
    ] = None
    i_ends_with: Annotated[SearchText | None, Operator(_I_ENDS, "The field ends with this, case ignored.")] = None
    i_not_ends_with: Annotated[
        SearchText | None, Operator(complement(_I_ENDS), f"The field does not end with this, case ignored. {_NULLS}")
    ] = None
    i_in: Annotated[
        SearchTexts | None, Operator(_i_in, "The field is one of these, case ignored; an empty list matches nothing.")
    ] = None
    i_not_in: Annotated[
        SearchTexts | None, Operator(complement(_i_in), f"The field is none of these, case ignored. {_NULLS}")
    ] = None
    is_null: Annotated[StrictBool | None, IS_NULL] = None

    _kind: ClassVar[str] = "text"
    _comparisons: ClassVar[tuple[Comparison, ...]] = (Comparison.TEXT,)


Language: TypeAlias = Literal[
    "simple", "arabic", "armenian", "basque", "catalan", "danish", "dutch", "english", "finnish", "french",
    "german", "greek", "hindi", "hungarian", "indonesian", "irish", "italian", "lithuanian", "nepali",
    "norwegian", "portuguese", "romanian", "russian", "serbian", "spanish", "swedish", "tamil", "turkish", "yiddish",
]  # fmt: skip
"""The text search configurations that every PostgreSQL since 14 brings (``\\dF`` in psql)."""


# As constants, so that an index on to_tsvector('english', column) can answer.
_CONFIGURATIONS: Final[dict[str, Any]] = {
    name: literal_column(f"'{name}'::regconfig", REGCONFIG()) for name in get_args(Language)
}


_MANY_NOTS: Final = re.compile(r"(?:-[^\w\"-]*){25}")
"""More negations of one word than PostgreSQL has room for: 32, other operators included."""


def _finds(operand: Operand, asked: tuple[str, Language]) -> ColumnElement[bool]:
    words, language = asked
    if _MANY_NOTS.search(words):
        raise InvalidFilter(f"{operand.where}: give a full text query with fewer dashes in a row")
    configuration = _CONFIGURATIONS[language]
    is_document = stored(operand.expression.type).compared is Comparison.LEXEMES
    document = operand.expression if is_document else func.to_tsvector(configuration, operand.expression)
    query = func.websearch_to_tsquery(configuration, type_coerce(words, Text()))
    return PostgresOnly(document.bool_op("@@")(query), "full text search")


class FullTextFilter(FieldFilter):
    """PostgreSQL's full text search on a text or ``tsvector`` column.

    The query is in the syntax of ``websearch_to_tsquery``
    (https://www.postgresql.org/docs/current/textsearch-controls.html): words, "phrases", ``or``, ``-not``.
    """

    matches: Annotated[SearchText | None, Operator(_finds, "The words to search for.")] = None
    not_matches: Annotated[SearchText | None, Operator(complement(_finds), f"What must not match. {_NULLS}")] = None
    language: Language = "english"

    _kind: ClassVar[str] = "text or tsvector"
    _comparisons: ClassVar[tuple[Comparison, ...]] = (Comparison.TEXT, Comparison.LEXEMES)

    @override
    def to_conditions(self, operand: Operand) -> list[ColumnElement[bool]]:
        given, values = self.model_fields_set, self.__dict__
        return [
            mark.compile(operand, (values[name], self.language))
            for name, mark in self.operators.items()
            if name in given
        ]
