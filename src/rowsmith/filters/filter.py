"""``Filter``: a request's conditions on one kind of row, declared field by field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from inspect import get_annotations
from typing import Annotated, Any, ClassVar, Final, Generic, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator
from sqlalchemy import ColumnElement
from typing_extensions import TypeVar

from rowsmith.conditions import Condition, Narrowing, conjunction, disjunction, given_conditions, negation, resolve_all
from rowsmith.errors import InvalidFilter, MappingError
from rowsmith.filters.bindings import Binding, bind, refuse_private, row_of
from rowsmith.filters.fields import FieldFilter
from rowsmith.mapping import RowInfo, row_info

TRow = TypeVar("TRow")

MAX_DEPTH: Final = 8
"""How deep groups and relationships may nest."""

MAX_SIZE: Final = 2_000
"""How many operators and list members one filter may hold: far below what a statement can bind."""

MAX_GROUP: Final = 100
"""How many filters one AND or OR may hold."""

_SELF: Any = Self
_GROUPS: Final[dict[str, Any]] = {
    "AND": Annotated[
        list[_SELF] | None,
        Field(default=None, min_length=1, max_length=MAX_GROUP, description="All of these hold."),
    ],
    "OR": Annotated[
        list[_SELF] | None,
        Field(default=None, min_length=1, max_length=MAX_GROUP, description="At least one of these holds."),
    ],
    "NOT": Annotated[
        _SELF | None,
        Field(default=None, description="This does not hold; its exact complement, nulls included."),
    ],
}
"""The fields that every filter has, given to each class anew: Self is that class, not the one it inherits from."""


class Filter(BaseModel, Narrowing[TRow], Generic[TRow]):
    """Base of filters: a pydantic model from the outside world whose fields compare attributes of a row.

    ::

        class GroupFilter(Filter[GroupRow]):
            name: StringFilter | None = None
            created_at: DateTimeFilter | None = None

    Everything given holds together: the fields, every filter in ``AND``, at least one in ``OR``, and not
    the one in ``NOT``. ``NOT`` is the exact complement, rows with NULL included. The empty filter limits
    nothing, and so may stand only at the top.

    Raises:
        MappingError: when the class is made: a field compares no attribute of the row, or one of a type
            that its operators do not fit. Where ``to_conditions`` is overridden, fields it compiles by
            itself are left to it.
        pydantic.ValidationError: when a filter is made: an unknown field, an empty group, too deep, too large.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    AND: list[Self] | None = None
    OR: list[Self] | None = None
    NOT: Self | None = None

    _depth: int = PrivateAttr(default=1)
    _size: int = PrivateAttr(default=0)

    # Names of this class's own are dunders, because every other name may be a column's.
    __rowsmith_bindings__: ClassVar[tuple[Binding, ...] | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        for name in (*_GROUPS, "to_conditions"):
            if name in get_annotations(cls):
                raise MappingError(
                    f"{cls.__name__}.{name} is a name of every filter's own: call the field otherwise, and say what it "
                    f"means with Annotated[..., On(Row.{name})]"
                )
        for name, annotation in _GROUPS.items():
            cls.__annotations__.setdefault(name, annotation)
        super().__init_subclass__(**kwargs)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        row = row_of(cls)
        if row is not None:
            refuse_private(cls, row_info(row), _PRIVATE)
        bound = None if row is None else tuple(_bindings(cls, row_info(row)))
        cls.__rowsmith_bindings__ = bound if cls.__pydantic_fields_complete__ else None
        # Whoever reads the fields one by one, as FastAPI does for its document, cannot know what Self is there.
        own: Any = cls
        for name in _GROUPS:
            cls.__pydantic_fields__[name].annotation = own | None if name == "NOT" else list[own] | None

    @model_validator(mode="after")
    def _measured(self) -> Self:
        groups = [*(self.AND or ()), *(self.OR or ())]
        if self.NOT is not None:
            groups.append(self.NOT)
        if any(is_empty(group) for group in groups):
            raise ValueError("an empty filter matches everything, so it cannot stand in AND, OR or NOT")
        fields = [value for value in self.__dict__.values() if isinstance(value, FieldFilter)]
        inside = [*(group._depth for group in groups), *(field.depth for field in fields)]
        self._depth = 1 + max(inside, default=0)
        self._size = sum(group._size + 1 for group in groups) + sum(field.size for field in fields)
        if self._depth > MAX_DEPTH or self._size > MAX_SIZE:
            raise ValueError(f"a filter is at most {MAX_DEPTH} deep and holds at most {MAX_SIZE} operators and values")
        return self

    @property
    def __rowsmith_depth__(self) -> int:
        """How deep it nests; 1 without groups and relationships."""
        return self._depth

    @property
    def __rowsmith_size__(self) -> int:
        """How many groups, operators and list members it holds."""
        return self._size

    def to_conditions(self) -> Sequence[Condition]:
        """Give the conditions, all of which hold together; none for the empty filter.

        Override to compile fields of your own, adding to ``super().to_conditions()``.

        Raises:
            InvalidValue: a value does not fit its column.
            MappingError: the class is for no row, or its late annotations map to nothing.
        """
        values, found = self.__dict__, list[ColumnElement[bool]]()
        for binding in self._bound():
            if (field := values[binding.name]) is not None:
                found += field.to_conditions(binding.operand)
        found += [together(group) for group in self.AND or ()]
        if self.OR is not None:
            found.append(disjunction([together(group) for group in self.OR]))
        if self.NOT is not None:
            found.append(negation(together(self.NOT)))
        return found

    @classmethod
    def _bound(cls) -> tuple[Binding, ...]:
        if cls.__rowsmith_bindings__ is not None:
            return cls.__rowsmith_bindings__
        # A class built inside of another one's schema is usable before its own annotations are settled.
        if not cls.__pydantic_fields_complete__ and not cls.model_rebuild(force=True, raise_errors=False):
            raise MappingError(
                f"an annotation of {cls.__name__} cannot be resolved: import what it names outside of TYPE_CHECKING"
            )
        cls.__rowsmith_bindings__ = tuple(_bindings(cls, info_of(cls)))
        return cls.__rowsmith_bindings__


_PRIVATE: Final = frozenset(Filter.__private_attributes__)
"""What every filter keeps for itself."""


def expressions_of(model: Filter[Any]) -> list[ColumnElement[bool]]:
    """Give a filter's conditions as SQL expressions; none for the empty filter."""
    return resolve_all(given_conditions(model))


def is_empty(model: Filter[Any]) -> bool:
    """Say whether nothing is given at all."""
    return all(value is None for value in model.__dict__.values())


def info_of(cls: type[Filter[Any]]) -> RowInfo[Any]:
    """Give what is known of the row a filter is for.

    Raises:
        MappingError: it is for none.
    """
    row = row_of(cls)
    if row is None:
        raise MappingError(f"{cls.__name__} is for no row: write class {cls.__name__}(Filter[YourRow])")
    return row_info(row)


def together(group: Filter[Any]) -> ColumnElement[bool]:
    """Give a nested filter as one condition.

    Raises:
        InvalidFilter: it is empty, and so would hold for every row.
    """
    conditions = expressions_of(group)
    if not conditions:
        raise InvalidFilter(f"an empty {type(group).__name__} matches everything, so it cannot stand in a group")
    return conditions[0] if len(conditions) == 1 else conjunction(conditions)


def _bindings(cls: type[Filter[Any]], info: RowInfo[object]) -> Iterator[Binding]:
    custom = cls.to_conditions is not Filter.to_conditions  # pyright: ignore[reportUnknownMemberType]
    for name, field in cls.__pydantic_fields__.items():
        waits = not field._complete  # pyright: ignore[reportPrivateUsage] - names a class yet to come
        if name in _GROUPS or waits or (custom and not info.mapper.has_property(name)):
            continue
        yield bind(cls, name, field, info)
