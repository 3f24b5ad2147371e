"""What every field of a filter is: a frozen model whose fields are operators, all of which hold together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import NoneType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeAlias, Union, cast, get_args

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer, model_validator
from sqlalchemy import ColumnElement
from sqlalchemy.types import NullType, TypeEngine

from rowsmith.errors import InvalidValue, MappingError
from rowsmith.filters.operands import On, Operand, Prepare, as_given, stored, stored_name
from rowsmith.mapping.types import Comparison

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import core_schema

from rowsmith.state import absent_by_default

MAX_VALUES: Final = 1_000
"""The most values one list operator (``in``, ``contains`` of an array, ...) takes."""

Compile: TypeAlias = Callable[[Operand, Any], ColumnElement[bool]]
"""Makes an operator's condition from what it compares and the value given."""

FORMS: Final = ConfigDict(
    extra="forbid",
    frozen=True,
    hide_input_in_errors=True,
    populate_by_name=True,
    alias_generator=lambda name: name.removesuffix("_"),  # in_ is spelt "in" outside of Python
    json_schema_extra={"minProperties": 1},
)


_UNTYPED: Final = "the expression has no type: say it, as in func.length(..., type_=Integer)"


@dataclass(frozen=True, slots=True, eq=False)
class Operator:
    """Metadata of one operator's field: how it compiles and what its JSON schema says.

    The field is written ``T | None = None`` for Python, yet ``None`` is nobody's value: the schema, and
    so validation, knows ``T`` alone. "Equal to null" would otherwise silently become "not limited".
    """

    compile: Compile
    description: str

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        given = tuple(part for part in get_args(source) if part is not NoneType)
        return handler.generate_schema(Union[given])  # noqa: UP007 - the parts are known only now

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        described = absent_by_default(handler(schema))
        described["description"] = self.description
        return described


class FieldFilter(BaseModel):
    """Base of the operators of one field. At least one must be given; those given all hold together.

    A row whose field is NULL satisfies no operator but ``is_null`` and the negated ones, each of which is
    the exact complement of its plain form.
    """

    model_config = FORMS

    operators: ClassVar[dict[str, Operator]] = {}
    """The operators by field name, in the order they are compiled."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.operators = {
            name: mark
            for name, field in cls.__pydantic_fields__.items()
            for mark in field.metadata
            if isinstance(mark, Operator)
        }

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        kind = type(self)
        if kind.__pydantic_generic_metadata__["parameters"]:
            raise MappingError(f"{kind.__name__} says nothing of its values' type: write {kind.__name__}[Status](...)")
        if self.model_fields_set.isdisjoint(self.operators):
            raise ValueError("give at least one operator, or leave the field out")
        return self

    # Operators that were not given stay away, because null is no value of theirs to be read back. A
    # lambda, because an annotated result would replace the model's own schema for serialization.
    _only_given = model_serializer(mode="wrap")(lambda self, handler: _drop_absent(handler, self))  # pyright: ignore[reportUnknownVariableType, reportUnknownLambdaType, reportUnknownArgumentType]

    over_relationship: ClassVar[bool] = False
    """Whether the operators search a relationship instead of comparing an expression."""

    @property
    def depth(self) -> int:
        """How many levels of filters lie inside."""
        return 0

    @property
    def size(self) -> int:
        """The number of operators and list members, which the cap on a whole filter counts."""
        values = [self.__dict__[name] for name in self.model_fields_set]
        # A related row's filter says its own size.
        return sum(1 + (len(v) if isinstance(v, list) else getattr(v, "__rowsmith_size__", 0)) for v in values)  # pyright: ignore[reportUnknownArgumentType]

    def to_conditions(self, operand: Operand) -> list[ColumnElement[bool]]:
        """Give one condition an operator, in a fixed order whatever the order they were given in."""
        given, values = self.model_fields_set, self.__dict__
        try:
            return [mark.compile(operand, values[name]) for name, mark in self.operators.items() if name in given]
        except InvalidValue as refused:
            refused.facts = replace(refused.facts, columns=operand.columns)
            raise

    @classmethod
    def aim(cls, expression: ColumnElement[Any], on: On, where: str) -> Operand:
        """Give the operand for an expression.

        Raises:
            MappingError: the expression's type is none that these operators compare.
        """
        prepare: Prepare | str = _UNTYPED
        if not isinstance(expression.type, NullType):
            prepare = cls._prepare(expression.type, on, where)
        if isinstance(prepare, str):
            raise MappingError(f"{where} cannot be a {cls.__name__}: {prepare}")
        return Operand(expression, where, prepare)

    @classmethod
    def _prepare(cls, declared: TypeEngine[Any], on: On, where: str) -> Prepare | str:
        """Give how values are bound against the declared type, or why they cannot be."""
        if stored(declared).compared in cls._comparisons:
            return as_given
        return f"it compares {cls._kind}, and the column is {stored_name(declared)}"

    _kind: ClassVar[str] = "nothing"
    _comparisons: ClassVar[tuple[Comparison, ...]] = ()


def type_argument(cls: type[Any]) -> type[Any] | None:
    """Give the class that a generic model was made for, such as ``Status`` of ``EnumFilter[Status]``."""
    for base in cls.__mro__:
        for argument in getattr(base, "__pydantic_generic_metadata__", {}).get("args", ()):
            if isinstance(argument, type):
                return cast("type[Any]", argument)
    return None


def _drop_absent(handler: SerializerFunctionWrapHandler, model: FieldFilter) -> dict[str, Any]:
    return {name: value for name, value in handler(model).items() if value is not None}
