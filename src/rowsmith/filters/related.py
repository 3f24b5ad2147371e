"""Filters over a relationship, as EXISTS: rows are never multiplied, and each step is to an alias of its own."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Generic, cast

from pydantic import ConfigDict
from sqlalchemy import ColumnElement, not_
from sqlalchemy.orm import InstrumentedAttribute
from typing_extensions import TypeVar, override

from rowsmith.errors import MappingError
from rowsmith.filters.fields import FieldFilter, Operator
from rowsmith.filters.filter import Filter, expressions_of, info_of
from rowsmith.filters.operands import On, Operand, as_given
from rowsmith.relations import related

F = TypeVar("F", bound=Filter[Any])


def _exists(operand: Operand, model: Filter[Any]) -> ColumnElement[bool]:
    """Give EXISTS of a row that the relationship leads to and the filter lets through."""
    relationship = cast("InstrumentedAttribute[Any]", operand.expression)
    other, kind = relationship.property.mapper.class_, type(model)
    row = info_of(kind).row
    if not issubclass(other, row):
        raise MappingError(f"{operand.where} leads to {other.__name__}, and {kind.__name__} is for {row.__name__}")
    return related(relationship, *expressions_of(model))


_EXISTS: Final = Operator(_exists, "At least one related row satisfies this filter.")
_NONE: Final = Operator(lambda operand, model: not_(_exists(operand, model)), "No related row satisfies this filter.")


class Related(FieldFilter, Generic[F]):
    """Operators on the rows that a relationship leads to, each given as that row's own filter.

    ::

        class GroupFilter(Filter[GroupRow]):
            members: Related[UserFilter] | None = None

    The empty filter ``{}`` means any related row that the scope of the search lets be seen. Soft deletion is declared
    by a repository for its own row, so a soft-deleted related row counts unless its filter says no.
    """

    # Related[GroupFilter] is made while GroupFilter itself is, and must not look into it before it is done.
    model_config = ConfigDict(defer_build=True)

    exists: Annotated[F | None, _EXISTS] = None
    none: Annotated[F | None, _NONE] = None

    over_relationship: ClassVar[bool] = True

    @property
    @override
    def depth(self) -> int:
        return 1 + max(model.__rowsmith_depth__ for model in (self.exists, self.none) if model is not None)

    @override
    @classmethod
    def aim(cls, expression: Any, on: On, where: str) -> Operand:
        return Operand(expression, where, as_given)
