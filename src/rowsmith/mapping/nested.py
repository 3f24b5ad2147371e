"""``Nested``: which columns a field of a data class is made of, where its own type does not say so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar, cast

from rowsmith.errors import MappingError, kind_of
from rowsmith.signatures import takes

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Nested(Generic[T]):
    """Says what a field is read as, and how that becomes its value: a value object needs to know nothing of rows.

    ::

        @dataclass(frozen=True)
        class Names:
            first_name: str
            last_name: str

        @dataclass(frozen=True)
        class TalkData:
            title: str
            speaker: Annotated[Person | None, Nested(Names, convert=Person.of)]  # over the relationship
            others: Annotated[tuple[Person, ...], Nested(Names, convert=Person.of)]  # each row of it
            time: Annotated[Slot, Nested(SlotColumns, convert=lambda slot: Slot(slot.begins, slot.ends))]  # of the talk

    What ``to_data`` is for a whole repository, ``convert`` is for a field. A field that names no relationship is made
    of the row's own columns. Where there is no related row there is nothing to convert: the field is None.

    Args:
        into: the data class of the rows, whose fields name their columns, relationships and expressions.
        convert: makes the field's value of one of its objects; without it the object is the value.

    Raises:
        MappingError: ``into`` is no class, or ``convert`` no function of one object.
    """

    __rowsmith_mark__: ClassVar[bool] = True

    into: type[T]
    convert: Callable[[T], Any] | None = None

    def __post_init__(self) -> None:
        if not isinstance(cast("object", self.into), type):
            raise MappingError(
                f"Nested takes a data class, not {kind_of(self.into)}: write Nested(UserData); below "
                "`from __future__ import annotations` that may be declared further down"
            )
        if self.convert is not None and not (callable(cast("object", self.convert)) and takes(self.convert, object())):
            raise MappingError(
                f"convert of Nested({self.into.__name__}) takes one object and gives the field's value, and "
                f"{kind_of(self.convert)} does not: write Nested({self.into.__name__}, convert=Person.of)"
            )
