"""States of a patch's field: leave it, set it, set it to NULL, or let the database work it out.

``OptionalState[T]`` is for a column that always has a value, ``TriState[T]`` for a nullable one. Both are
immutable values that know how to be read from JSON by pydantic: a field absent from the body is a nop,
``null`` is :meth:`TriState.nullify` and, for an ``OptionalState``, a validation error.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Generic, Never, Self, TypeVar, cast, get_args

from pydantic_core import PydanticSerializationError, core_schema
from typing_extensions import override

from rowsmith.errors import InvalidValue, kind_of
from rowsmith.signatures import takes

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from sqlalchemy.sql.elements import SQLCoreOperations

T_co = TypeVar("T_co", covariant=True)
V = TypeVar("V")


class Unset(enum.Enum):
    """The type of :data:`UNSET`; an enum of one member, so that ``is UNSET`` narrows for a type checker."""

    UNSET = "UNSET"

    @override
    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> bool:
        return False


UNSET: Final = Unset.UNSET
"""Not given. Never the same as ``None``, which is a value of its own: NULL."""


class _Kind(enum.Enum):
    NOP = "nop"
    NULLIFY = "nullify"
    UPDATE = "update"
    EXPRESSION = "expression"


_TAKES_NOTHING: Final = frozenset({_Kind.NOP, _Kind.NULLIFY})


class _State(Generic[T_co]):
    """What both states are: a kind, and the value or callable that goes with it.

    Not a dataclass, because pydantic would then read a parametrised one by its fields.
    """

    __slots__ = ("_held", "_kind")
    _kind: _Kind
    _held: Any

    def __init__(self, kind: _Kind, held: object = None) -> None:
        _keep_kind(self, kind)
        _keep_held(self, held)

    @override
    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: make another one")

    @override
    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: make another one")

    @override
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _State) or type(self) is not type(cast("object", other)):
            return NotImplemented
        return self._kind is other._kind and bool(self._held == other._held)

    @override
    def __hash__(self) -> int:
        return hash((type(self), self._kind, self._held))

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._kind, self._held)

    @property
    def is_nop(self) -> bool:
        """Whether the field is left as it is."""
        return self._kind is _Kind.NOP

    @property
    def is_expression(self) -> bool:
        """Whether the new value is worked out by the database."""
        return self._kind is _Kind.EXPRESSION

    def _plain(self) -> Any:
        if self.is_expression:
            raise InvalidValue("an expression has its value only in the database: use to_value() for its SQL")
        return UNSET if self.is_nop else self._held

    def to_value(self) -> Any:
        """What to write: the value, ``None`` for NULL, the SQL expression, or :data:`UNSET` for nothing."""
        if self._kind is _Kind.NOP:
            return UNSET
        if self._kind is not _Kind.EXPRESSION:
            return self._held
        make: Callable[[], object] = self._held
        try:
            return make()
        except TypeError:
            if takes(make):  # it is one of its own
                raise
        raise InvalidValue("expression() takes what takes no arguments: write expression(lambda: GroupRow.seats + 1)")

    @override
    def __repr__(self) -> str:
        # A patch is printed by loggers and tracebacks, and must not take a row's value there with it.
        return f"{type(self).__name__}.{self._kind.value}({'' if self._kind in _TAKES_NOTHING else '...'})"

    @classmethod
    def _read(cls, value: object, validate: core_schema.ValidatorFunctionWrapHandler) -> Self:
        if isinstance(value, cls):
            return value if value._kind is not _Kind.UPDATE else cls(_Kind.UPDATE, validate(value._held))
        if value is UNSET:
            return cls(_Kind.NOP)
        return cls(_Kind.UPDATE, validate(value))

    @classmethod
    def _write(
        cls, state: Any, serialize: core_schema.SerializerFunctionWrapHandler, info: core_schema.SerializationInfo
    ) -> Any:
        kind = state._kind if isinstance(state, cls) else None
        if kind is _Kind.UPDATE:
            return serialize(state._held)
        if kind is _Kind.NULLIFY:
            return None
        if kind is _Kind.NOP and info.mode == "python":
            return UNSET
        # null would be read back as "set to NULL", so "leave it" is said by absence or not at all.
        raise PydanticSerializationError(
            f"{state!r} has no JSON form: leave it out with model_dump(mode='json', exclude_defaults=True)"
        )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        arguments = get_args(source)
        if not arguments:
            # Pydantic asks for the type without parameters only to write a field's default into a JSON schema,
            # and warns when it cannot; what it writes there is dropped by _WithoutDefault.
            nothing = core_schema.plain_serializer_function_ser_schema(lambda _state: None, when_used="json")
            return core_schema.is_instance_schema(cls, serialization=nothing)
        inner = cls._inner(handler.generate_schema(arguments[0]))
        return core_schema.no_info_wrap_validator_function(
            cls._read,
            inner,
            serialization=core_schema.wrap_serializer_function_ser_schema(cls._write, schema=inner, info_arg=True),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return absent_by_default(handler(schema))

    @classmethod
    def _inner(cls, schema: core_schema.CoreSchema) -> core_schema.CoreSchema:
        return schema


# Past __setattr__, and a call of ``object.__setattr__`` for each.
_keep_kind: Final[Callable[[object, _Kind], None]] = cast("Any", _State)._kind.__set__
_keep_held: Final[Callable[[object, object], None]] = cast("Any", _State)._held.__set__


# A state while it is made: it is assigned to as any object is, and becomes one of its own class then.
_AS_ANY_OBJECT: Final = {name: getattr(object, name) for name in ("__init__", "__setattr__", "__delattr__")}
_Fresh: Final[Any] = type("_Fresh", (_State,), {"__slots__": (), **_AS_ANY_OBJECT})


def _setting(into: object, value: object) -> Any:
    """Make a state that sets a value, at half its class's cost: batches make one for each field of each patch."""
    state: Any = _Fresh()
    state._kind, state._held, state.__class__ = _UPDATE, value, into
    return state


_UPDATE: Final = _Kind.UPDATE


def absent_by_default(schema: JsonSchemaValue) -> JsonSchemaValue:
    """Give the JSON schema of a field whose default is its absence, in a form that takes no ``default``.

    Pydantic notes a field's default beside the field's schema; absence has no JSON form, and anything
    written there would tell clients to send it.
    """
    # A bare reference would be followed, and what is noted beside it land in the referenced schema.
    return _WithoutDefault(allOf=[schema]) if "$ref" in schema else _WithoutDefault(schema)


class _WithoutDefault(dict[str, Any]):
    @override
    def __setitem__(self, key: str, value: object) -> None:
        if key != "default":
            super().__setitem__(key, value)


def _callable(make: object) -> Any:
    if not callable(make):
        raise InvalidValue(
            f"expression() takes what makes the SQL, not {kind_of(make)}: write expression(lambda: GroupRow.seats + 1)"
        )
    return make


class OptionalState(_State[T_co]):
    """Leave a field, or set it: for a column that is never NULL.

    Immutable, equal by kind and value, hashable when the value is. As the type of a pydantic field (model,
    dataclass, or a stdlib dataclass under a ``TypeAdapter``) it reads a plain ``T`` as ``update``.
    """

    __slots__ = ()

    @classmethod
    def nop(cls) -> OptionalState[Never]:
        """Leave the field as it is; the default of every patch field."""
        return _LEFT

    @classmethod
    def update(cls, value: V) -> OptionalState[V]:
        """Set the field to ``value``."""
        made: OptionalState[V] = _setting(OptionalState, value)
        return made

    @classmethod
    def expression(cls, make: Callable[[], SQLCoreOperations[V]]) -> OptionalState[V]:
        """Set the field to what ``make()`` says in SQL, such as ``lambda: TitleRow.uses + 1``, free of races."""
        return OptionalState(_Kind.EXPRESSION, _callable(make))

    @property
    def value(self) -> T_co | Unset:
        """The new value, or :data:`UNSET` for a nop.

        Raises:
            InvalidValue: it is an expression, whose value only the database knows.

        """
        return cast("T_co | Unset", self._plain())

    if TYPE_CHECKING:

        @override
        def to_value(self) -> T_co | SQLCoreOperations[T_co] | Unset: ...


class TriState(_State[T_co]):
    """Leave a field, set it, or set it to NULL: for a nullable column.

    As :class:`OptionalState`, and ``null`` in JSON is :meth:`nullify`.
    """

    __slots__ = ()

    @classmethod
    def nop(cls) -> TriState[Never]:
        """Leave the field as it is; the default of every patch field."""
        return _LEFT_TOO

    @classmethod
    def nullify(cls) -> TriState[Never]:
        """Set the field to NULL."""
        return _NULLIFIED

    @classmethod
    def update(cls, value: V) -> TriState[V]:
        """Set the field to ``value``.

        Raises:
            InvalidValue: the value is ``None``; that is spelt :meth:`nullify`.

        """
        if value is None:
            raise InvalidValue("TriState.update() takes a value: write TriState.nullify() to set NULL")
        made: TriState[V] = _setting(TriState, value)
        return made

    @classmethod
    def expression(cls, make: Callable[[], SQLCoreOperations[V]]) -> TriState[V]:
        """Set the field to what ``make()`` says in SQL, such as ``lambda: TitleRow.uses + 1``, free of races."""
        return TriState(_Kind.EXPRESSION, _callable(make))

    @property
    def is_nullify(self) -> bool:
        """Whether the field is set to NULL."""
        return self._kind is _Kind.NULLIFY

    @property
    def value(self) -> T_co | Unset | None:
        """The new value, ``None`` for NULL, or :data:`UNSET` for a nop.

        Raises:
            InvalidValue: it is an expression, whose value only the database knows.

        """
        return cast("T_co | Unset | None", self._plain())

    if TYPE_CHECKING:

        @override
        def to_value(self) -> T_co | SQLCoreOperations[T_co] | Unset | None: ...

    @override
    @classmethod
    def _read(cls, value: object, validate: core_schema.ValidatorFunctionWrapHandler) -> Self:
        return cls(_Kind.NULLIFY) if value is None else super()._read(value, validate)

    @override
    @classmethod
    def _inner(cls, schema: core_schema.CoreSchema) -> core_schema.CoreSchema:
        return core_schema.nullable_schema(schema)


_LEFT: Final = OptionalState[Never](_Kind.NOP)
_LEFT_TOO: Final = TriState[Never](_Kind.NOP)
_NULLIFIED: Final = TriState[Never](_Kind.NULLIFY)


def each_to_value(states: Iterable[Any]) -> list[Any]:
    """Give what each of many states writes, as ``to_value`` does, at a fraction of its cost.

    A value without its state is what is written, as it is where one patch is read.
    """
    given, update, nullify = list(states), _Kind.UPDATE, _Kind.NULLIFY
    if not _STATES.issuperset(map(type, given)):
        return [state.to_value() if isinstance(state, _State) else state for state in given]
    return [state._held if (kind := state._kind) is update or kind is nullify else state.to_value() for state in given]


_STATES: Final = frozenset({OptionalState, TriState})
