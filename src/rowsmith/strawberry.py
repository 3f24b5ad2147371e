"""GraphQL by Strawberry: inputs made of filters and orders, and pages as Relay connections.

One declaration, a :class:`~rowsmith.filters.SearchRequest`, serves a search over GraphQL as it does over REST::

    @strawberry.type
    class Query:
        @search_field
        async def groups(self, info: strawberry.Info, request: GroupSearch) -> Page[Group]:
            page = await repository(info).search(scope(info), request.to_query())
            return page.map(Group.of)


    schema = strawberry.Schema(Query, config=StrawberryConfig(scalar_map=SCALARS), extensions=[ErrorCodes])

gives ``groups(filter: GroupFilter, order: [GroupOrder!], first: Int, after: String, ...): GroupConnection!``. What a
client sends is held against the same models, so that both ways take and refuse the same.
"""

from __future__ import annotations

import datetime as dt
import enum
import inspect
import re
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from functools import partial, wraps
from itertools import chain
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Generic,
    Literal,
    NewType,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import AwareDatetime, BaseModel, NaiveDatetime, ValidationError
from pydantic.fields import FieldInfo
from typing_extensions import override

from rowsmith.errors import InvalidFilter, MappingError, MissingExtra, RepositoryError, kind_of
from rowsmith.filters import SearchRequest
from rowsmith.filters.fields import Operator
from rowsmith.pagination import CursorPagination, Page
from rowsmith.pagination.count import MAX_CAP
from rowsmith.pagination.modes import CLIENT_MODES

try:
    import strawberry
    from graphql import FloatValueNode, GraphQLError, IntValueNode, StringValueNode, ValueNode
    from strawberry import relay
    from strawberry.extensions import SchemaExtension
    from strawberry.scalars import JSON
except ModuleNotFoundError:
    raise MissingExtra("GraphQL needs strawberry-graphql: pip install 'rowsmith[strawberry]'") from None

TNode = TypeVar("TNode")

Number = NewType("Number", object)
"""An exact number of any size; GraphQL's own ``Int`` ends at 32 bits, and its ``Float`` is no decimal."""


def _number_written(node: ValueNode, _: Any = None) -> str:
    if not isinstance(node, IntValueNode | FloatValueNode | StringValueNode):
        raise GraphQLError("give a number", node)
    return node.value


SCALARS: Final[Mapping[object, Any]] = {
    Number: strawberry.scalar(
        name="Number",
        description="An exact number of any size, or the text of one.",
        parse_value=lambda given: given,  # the filter's own model reads it
        parse_literal=_number_written,
    )
}
"""For ``StrawberryConfig(scalar_map=SCALARS)``."""


@strawberry.type(description="One of those on a page.")
class Edge(Generic[TNode]):
    """An item with the cursor that leads to those before and after it."""

    cursor: str = strawberry.field(description="Give it as `after` or `before`.")
    node: TNode = strawberry.field(description="The item itself.")


@strawberry.type(description="A page of what was searched for, with the cursors that lead to those around it.")
class Connection(Generic[TNode]):
    """A :class:`~rowsmith.Page` as a Relay connection (https://relay.dev/graphql/connections.htm).

    Strawberry's own takes nodes with a global id only.
    """

    page_info: relay.PageInfo = strawberry.field(description="What lies around this page.")
    edges: list[Edge[TNode]] = strawberry.field(description="The items of this page, in display order.")
    total_count: int | None = strawberry.field(description="How many there are on all pages; null unless counted.")

    @classmethod
    def of(cls, page: Page[TNode]) -> Connection[TNode]:
        """Give a page as a connection; each of its items has its cursor."""
        around = relay.PageInfo(
            has_next_page=page.has_next_page,
            has_previous_page=page.has_previous_page,
            start_cursor=page.start_cursor,
            end_cursor=page.end_cursor,
        )
        edges = [Edge(cursor=cursor, node=node) for cursor, node in zip(page.cursors, page.items, strict=True)]
        return cls(page_info=around, edges=edges, total_count=page.total_count)


class ErrorCodes(SchemaExtension):
    """Puts the ``error_code`` of rowsmith's errors into the ``extensions`` of GraphQL's, on every field of a schema."""

    @override
    def on_execute(self) -> Iterator[None]:
        """Look at what a request ended with."""
        yield
        result: Any = self.execution_context.result
        for error in getattr(result, "errors", None) or ():
            if isinstance(error.original_error, RepositoryError):
                error.extensions = {**(error.extensions or {}), "error_code": error.original_error.error_code}


def search_field(resolver: Callable[..., Awaitable[Page[Any]]] | None = None, **options: Any) -> Any:
    """Make a field of a coroutine function that takes a search request and gives a page.

    One of its arguments is a ``SearchRequest`` subclass, which becomes ``filter``, ``order``, ``first``, ``after``,
    ``last``, ``before``, ``count`` and ``countUpTo``; the others, ``info`` among them, are as Strawberry has them.
    ``Page[Group]`` becomes a connection of groups. ``@search_field(permission_classes=[...])`` passes on what
    ``strawberry.field`` takes.

    Raises:
        MappingError: the function is not annotated so.
        InvalidFilter: later, as an error of the GraphQL response: the request is refused; each reason says where.
    """
    if resolver is None:
        return partial(search_field, **options)
    if not callable(cast("object", resolver)) or isinstance(resolver, type):
        raise MappingError(f"search_field takes a coroutine function, not {kind_of(resolver)}: write @search_field")
    signature, hints = _read(resolver)
    name, request = _one(hints, resolver, lambda hint: inspect.isclass(hint) and issubclass(hint, SearchRequest))
    asked = _arguments(request)
    own = [
        parameter.replace(annotation=hints.get(parameter.name, parameter.annotation))
        for parameter in signature.parameters.values()
        if parameter.name != name
    ]
    _check_free(own, asked, resolver)

    @wraps(resolver)
    async def resolve(*args: Any, **kwargs: Any) -> Connection[Any]:
        given = {argument: kwargs.pop(argument) for argument in asked if argument in kwargs}
        page = await resolver(*args, **kwargs, **{name: _request(request, given)})
        return Connection[Any].of(page)

    returned: Any = Connection[_node(hints, resolver)]  # type: ignore[misc]
    made = cast("Any", resolve)
    made.__signature__ = inspect.Signature([*own, *asked.values()], return_annotation=returned)
    made.__annotations__ = {"return": returned}
    told: dict[str, Any] = {"description": inspect.getdoc(resolver), **options}
    return cast("Any", strawberry.field)(resolver=made, **told)


def _read(resolver: Callable[..., Any]) -> tuple[inspect.Signature, dict[str, Any]]:
    try:
        return inspect.signature(resolver), get_type_hints(resolver, include_extras=True)
    except NameError as exc:
        raise MappingError(
            f"{resolver.__name__}: {exc.name} must be known where the field is made: import it outside of "
            "TYPE_CHECKING, and write it above"
        ) from None


def _one(hints: Mapping[str, object], resolver: Callable[..., Any], fits: Callable[[Any], bool]) -> tuple[str, Any]:
    found = [(name, hint) for name, hint in hints.items() if fits(hint) and name != "return"]
    if len(found) != 1:
        raise MappingError(f"{resolver.__name__} must take one SearchRequest: write request: GroupSearch")
    return found[0]


def _check_free(
    own: Iterable[inspect.Parameter], asked: Mapping[str, inspect.Parameter], resolver: Callable[..., Any]
) -> None:
    for parameter in own:
        if parameter.name in asked:
            raise MappingError(
                f"{resolver.__name__}: {parameter.name} is an argument of the search already: give yours another name"
            )


def _node(hints: Mapping[str, object], resolver: Callable[..., Any]) -> Any:
    returned = hints.get("return")
    if get_origin(returned) is not Page:
        raise MappingError(f"{resolver.__name__} must give a page: write -> Page[Group]")
    return get_args(returned)[0]


class _Choice(enum.Enum):
    """Base of the enums that are made of literals."""


class _SearchCount(_Choice):
    NONE = "none"
    EXACT = "exact"
    ESTIMATED = "estimated"


strawberry.enum(_SearchCount, name="SearchCount", description="Whether all that match are counted, or estimated.")

_BY_CURSOR: Final[tuple[type[CursorPagination], ...]] = get_args(CursorPagination)
_LEFT_OUT: Final = {"count", *chain(*(names for mode, names in CLIENT_MODES.items() if mode not in _BY_CURSOR))}
_SIZES: Final = {CLIENT_MODES[mode][0] for mode in _BY_CURSOR}


def _arguments(request: type[SearchRequest[Any, Any]]) -> dict[str, inspect.Parameter]:
    """Give the arguments of a field, by the names of the request's fields; a connection is walked by cursors alone."""
    fields = {name: field for name, field in request.__pydantic_fields__.items() if name not in _LEFT_OUT}
    sizes = dict.fromkeys(_SIZES, (int | None, _ABSENT))
    made = {
        name: _argument(name, sizes.get(name) or _optional(request, name, field), field.description)
        for name, field in fields.items()
    }
    up_to = f"Have totalCount end at this number, at most {MAX_CAP}."
    return {
        **made,
        "count": _argument("count", (_SearchCount | None, _ABSENT), "Whether totalCount is wanted."),
        "count_up_to": _argument("count_up_to", (int | None, _ABSENT), up_to),
    }


def _argument(name: str, typed: tuple[Any, Mapping[str, Any]], description: str | None) -> inspect.Parameter:
    annotation, default = typed
    described = Annotated[annotation, strawberry.argument(description=description)]  # type: ignore[valid-type]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=described, **default)


def _request(request: type[SearchRequest[Any, Any]], given: dict[str, Any]) -> SearchRequest[Any, Any]:
    capped = given.pop("count_up_to", None)
    body = {name: value for name, value in _plain(given).items() if value is not None}
    if capped not in (None, strawberry.UNSET):
        if "count" in body:
            raise InvalidFilter("give one of count and countUpTo, not both")
        body["count"] = {"capped": capped}
    try:
        return request.model_validate(body)
    except ValidationError as exc:  # what stands where a part is refused is not repeated
        problems = exc.errors(include_input=False, include_url=False, include_context=False)
        told = "; ".join(f"{'.'.join(map(str, problem['loc'])) or 'request'}: {problem['msg']}" for problem in problems)
        raise InvalidFilter(told) from None


class _Input:
    """Base of the inputs that are made of models."""

    rowsmith_names: ClassVar[Mapping[str, str]]
    """What each of its fields is called by the model."""


_INPUTS: Final[dict[type[BaseModel], Any]] = {}
_CHOICES: Final[dict[tuple[str, tuple[str, ...]], Any]] = {}


def input_type(model: type[BaseModel]) -> Any:
    """Give the Strawberry input of a filter, an order or any other pydantic model; one for each model.

    It is called as the model is (``EnumFilter[GroupKind]``: ``EnumFilterGroupKind``), and what has no type of its own
    in GraphQL is ``JSON``. Nothing is checked here that the model itself checks.

    Raises:
        MappingError: it is no model, or an annotation of it cannot be resolved.
    """
    given: Any = model
    if not (isinstance(given, type) and issubclass(given, BaseModel)):
        raise MappingError(f"input_type takes a pydantic model, not {kind_of(model)}: write input_type(GroupSearch)")
    if model in _INPUTS:
        return _INPUTS[model]
    if not model.__pydantic_fields_complete__ and not model.model_rebuild(raise_errors=False):
        raise MappingError(f"an annotation of {model.__name__} cannot be resolved: import what it names")
    name, fields = _name(model.__name__), model.__pydantic_fields__
    names = {field_name: field.alias or field_name for field_name, field in fields.items()}
    made: Any = type(name, (_Input,), {"__module__": __name__, "__annotations__": {}, "rowsmith_names": names})
    _INPUTS[model] = made  # before its fields, which may lead back to it
    for field_name, field in fields.items():
        made.__annotations__[field_name], default = _optional(model, field_name, field)
        alias, marks = names[field_name], [mark.description for mark in field.metadata if isinstance(mark, Operator)]
        shown = strawberry.field(
            name=alias if alias != field_name or alias.isupper() else None,  # the one in JSON
            description=marks[0] if marks else field.description,
            **default,
        )
        setattr(made, field_name, shown)
    origin: Any = model.__pydantic_generic_metadata__["origin"]
    text = inspect.cleandoc(model.__doc__ or (origin and origin.__doc__) or "")
    first = text.split("\n\n")[0]  # it goes on for those who write such models
    return strawberry.input(made, name=name, description=first or None)


def _plain(given: Any) -> Any:
    """Give what was sent as the model reads it, without what was not sent."""
    if isinstance(given, _Choice):
        return given.value
    if isinstance(given, _Input):
        return _plain({given.rowsmith_names[name]: value for name, value in vars(given).items()})
    if isinstance(given, dict):
        items = cast("dict[str, Any]", given).items()
        return {name: _plain(value) for name, value in items if value is not strawberry.UNSET}
    if isinstance(given, list):
        return [_plain(each) for each in given]  # pyright: ignore[reportUnknownVariableType]
    return given


_SCALARS: Final[dict[Any, Any]] = {
    **dict.fromkeys((str, bool, uuid.UUID, dt.date, dt.time)),
    **dict.fromkeys((int, float, Decimal), Number),
    **dict.fromkeys((dt.datetime, AwareDatetime, NaiveDatetime), dt.datetime),
}
"""The types that are scalars of GraphQL; None where they have their own."""


_ABSENT: Final[Mapping[str, Any]] = {"default": strawberry.UNSET}


def _optional(model: type[BaseModel], name: str, field: FieldInfo) -> tuple[Any, Mapping[str, Any]]:
    """Give a field's type and its default, which says that nothing was sent.

    JSON may be null, which GraphQL has for nothing that must be there; the model itself asks for it then.
    """
    # Models that inherit a field have one enum for it, called after the class that says what it is.
    kinds = [kind for kind in model.__mro__ if name in inspect.get_annotations(kind) and "[" not in kind.__name__]
    owner = kinds[0].__name__ if kinds else model.__name__
    found = _type(field.annotation, _name(owner) + _name(name))
    is_needed = field.is_required() and found is not JSON and NoneType not in get_args(field.annotation)
    return (found, {}) if is_needed else (found | None, _ABSENT)


def _type(annotation: Any, name: str) -> Any:
    """Give the type of GraphQL for an annotation; a choice of texts is an enum of this name."""
    origin, arguments = get_origin(annotation), [part for part in get_args(annotation) if part is not NoneType]
    if origin is Annotated:
        return _type(arguments[0], name)
    if origin in (Union, UnionType):
        found = {_type(part, name) for part in arguments}
        return found.pop() if len(found) == 1 else JSON
    if origin in (list, tuple):
        return list[_type(arguments[0], name)]  # type: ignore[misc]
    if origin is Literal and all(isinstance(value, str) for value in arguments):
        values = tuple(arguments)
        if (name, values) not in _CHOICES:
            members = {re.sub(r"\W", "_", value).upper(): value for value in values}
            _CHOICES[name, values] = strawberry.enum(cast("Any", _Choice)(name, members))
        return _CHOICES[name, values]
    return _class_type(annotation) if inspect.isclass(annotation) else JSON


def _class_type(kind: type[object]) -> Any:
    if kind in _SCALARS:
        return _SCALARS[kind] or kind
    if issubclass(kind, BaseModel):
        return input_type(kind)
    if issubclass(kind, enum.Enum):
        return kind if hasattr(kind, "__strawberry_definition__") else strawberry.enum(kind)
    return JSON


def _name(given: str) -> str:
    """Give a name as GraphQL has them for types."""
    return "".join(part[0].upper() + part[1:] for part in re.findall(r"[^\W_]+", given))
