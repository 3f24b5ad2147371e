"""Filters as classes: how they are declared, what they refuse, how groups become SQL."""

from __future__ import annotations

import datetime as dt
import enum
import pickle
import re
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Annotated, Any, TypeVar

import pytest
from pydantic import ValidationError, create_model
from sqlalchemy import ForeignKey, Interval, String, TypeDecorator, func, type_coerce
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from company import Color, LabelFilter, LabelRow, PaperRow, ThingFilter, ThingRow
from rowsmith.conditions import Condition, given_conditions
from rowsmith.errors import InvalidFilter, MappingError
from rowsmith.filters import (
    ArrayFilter,
    BoolFilter,
    DateFilter,
    DateTimeFilter,
    EnumFilter,
    Filter,
    FullTextFilter,
    JSONFilter,
    NumberFilter,
    On,
    Related,
    StringFilter,
    UUIDFilter,
)
from rowsmith.filters.filter import MAX_DEPTH, MAX_GROUP, MAX_SIZE, expressions_of, is_empty

TRow = TypeVar("TRow")


class OwnSpan(TypeDecorator[Any]):
    impl = Interval
    cache_ok = True


SPAN = type_coerce(ThingRow.small, Interval())
OWN_SPAN = type_coerce(ThingRow.small, OwnSpan())


class OtherColor(enum.Enum):
    RED = "red"


def sql(wanted: Filter[Any]) -> list[str]:
    """The filter's conditions as PostgreSQL, values in place."""
    dialect = postgresql.dialect(paramstyle="named")
    return [
        str(each.compile(dialect=dialect, compile_kwargs={"literal_binds": True})) for each in expressions_of(wanted)
    ]


def nested(depth: int) -> dict[str, Any]:
    """A filter this deep."""
    tree: dict[str, Any] = {"small": {"equals": 1}}
    for _ in range(depth - 1):
        tree = {"NOT": tree}
    return tree


def test_fields_map_by_name() -> None:
    """A field compares the attribute of its name, whatever the column is called."""
    assert sql(ThingFilter(text=StringFilter(equals="x"))) == ["filter_things.the_text = 'x'"]


def test_on_says_what_a_field_compares_where_names_differ() -> None:
    """`On` takes an attribute or an expression, and stands on either side of `| None`."""

    class Named(Filter[ThingRow]):
        title: Annotated[StringFilter | None, On(ThingRow.text)] = None
        inner: Annotated[StringFilter, On(ThingRow.text)] | None = None
        size: Annotated[NumberFilter | None, On(func.char_length(ThingRow.text, type_=ThingRow.small.type))] = None

    given = Named(title=StringFilter(equals="x"), inner=StringFilter(is_null=True), size=NumberFilter(gt=3))
    assert sql(given) == [
        "filter_things.the_text = 'x'",
        "filter_things.the_text IS NULL",
        "char_length(filter_things.the_text) > 3",
    ]


@pytest.mark.parametrize(
    "name, annotation, complaint",
    [
        ("txet", StringFilter | None, "Wrong.txet is no attribute of ThingRow; did you mean 'text'?"),
        ("text", str | None, "Wrong.text must be a filter"),
        ("text", NumberFilter | None, "it compares numbers, and the column is String"),
        ("small", StringFilter | None, "Wrong.small .* it compares text, and the column is Integer"),
        ("color", StringFilter | None, "it compares text, and the column is Enum"),
        ("text", BoolFilter | None, "it compares booleans"),
        ("text", UUIDFilter | None, "it compares UUIDs"),
        ("text", DateFilter | None, "it compares dates"),
        ("moment", DateFilter | None, "it compares dates"),
        ("day", DateTimeFilter | None, "it compares points in time"),
        ("span", Annotated[DateTimeFilter | None, On(SPAN)], "it compares points in time, and the column is Interval"),
        ("span", Annotated[UUIDFilter | None, On(SPAN)], "it compares UUIDs, and the column is Interval"),
        ("span", Annotated[NumberFilter | None, On(SPAN)], "it compares numbers, and the column is Interval"),
        ("span", Annotated[EnumFilter[Color] | None, On(SPAN)], "it compares members of Color"),
        ("span", Annotated[DateTimeFilter | None, On(OWN_SPAN)], "and the column is Interval"),
        ("size", Annotated[NumberFilter | None, On(func.length(ThingRow.text))], r"no type: say it, .*type_=Integer"),
        ("low", Annotated[StringFilter | None, On(func.lower(ThingRow.text))], "the expression has no type"),
        ("low", Annotated[DateTimeFilter | None, On(func.lower(ThingRow.text))], "the expression has no type"),
        ("local", DateTimeFilter | None, r"the column has no time zone.*utc=True"),
        ("text", JSONFilter | None, "it compares JSON"),
        ("small", FullTextFilter | None, "it compares text or tsvector"),
        ("text", ArrayFilter[str] | None, "it compares arrays"),
        ("color", EnumFilter | None, r"write EnumFilter\[YourEnum\]"),
        ("color", EnumFilter[OtherColor] | None, "it compares members of OtherColor"),
        ("small", EnumFilter[Color] | None, "it compares members of Color"),
        ("labels", StringFilter | None, r"is a relationship: write Related\[...\]"),
        ("text", Related[LabelFilter] | None, "is no relationship"),
        ("name", Annotated[StringFilter | None, On(LabelRow.name)], "belongs to another table than ThingRow"),
        ("name", Annotated[StringFilter | None, On("text")], "must be a column or SQL expression, not str"),
    ],
)
def test_a_wrong_declaration_fails_when_the_class_is_made(name: str, annotation: Any, complaint: str) -> None:
    """A field that maps to nothing, or to a column of the wrong type, is a MappingError that says so."""
    with pytest.raises(MappingError, match=complaint):
        create_model("Wrong", __base__=Filter[ThingRow], **{name: (annotation, None)})


class LengthBase(DeclarativeBase):
    pass


class LengthRow(LengthBase):
    __tablename__ = "lengths"
    id: Mapped[int] = mapped_column(primary_key=True)
    length: Mapped[dt.timedelta]


def test_a_filter_of_times_is_none_of_a_length_of_time() -> None:
    """Of a column, and not only of an expression."""
    with pytest.raises(MappingError, match="it compares points in time, and the column is Interval"):
        create_model("Wrong", __base__=Filter[LengthRow], length=(DateTimeFilter | None, None))


def test_an_array_of_another_type_fails_when_the_class_is_made() -> None:
    """The members of an array filter have the type of the column's."""
    with pytest.raises(MappingError, match="array of String"):
        create_model("Wrong", __base__=Filter[PaperRow], tags=(ArrayFilter[int] | None, None))


def test_any_column_name_can_be_a_field() -> None:
    """The base class takes no name that a column might have."""
    public = {name for name in vars(Filter) if not name.startswith("_")} - {"model_config", "model_post_init"}
    assert public == {"to_conditions"}


def test_a_filter_of_no_row_says_so_when_used() -> None:
    """A filter class that names no row cannot compile."""

    class Bare(Filter):  # type: ignore[type-arg]
        pass

    with pytest.raises(MappingError, match="is for no row"):
        Bare().to_conditions()


def test_declaring_does_not_configure_mappers() -> None:
    """Rows may refer by name to rows that are not imported yet."""

    class LocalBase(DeclarativeBase):
        pass

    class Early(LocalBase):
        __tablename__ = "early"
        id: Mapped[int] = mapped_column(primary_key=True)
        late: Mapped[list[NotYetThere]] = relationship("NotYetThere")  # type: ignore[name-defined]  # noqa: F821

    class EarlyFilter(Filter[Early]):
        id: NumberFilter | None = None
        late: Related[LabelFilter] | None = None

    assert sql(EarlyFilter(id=NumberFilter(equals=1))) == ["early.id = 1"]


def test_filters_that_name_each_other_lose_no_field() -> None:
    """A class whose annotations settle late compiles all of its fields, however it was reached first."""
    wanted = ThingFilter.model_validate({"labels": {"exists": {"thing": {"exists": {"small": {"equals": 7}}}}}})
    assert re.search(r"filter_things_\d+\.small = 7", sql(wanted)[0])


SELF_REFERENCE = """
from __future__ import annotations
from company import ThingRow
from rowsmith.filters import Filter, NumberFilter, Related

class NodeFilter(Filter[ThingRow]):
    small: NumberFilter | None = None
    parent: Related[NodeFilter] | None = None
"""


def test_a_filter_may_name_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """From its first use on, a filter over a relationship to its own row has all of its fields on every level."""
    module = ModuleType("self_reference")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(SELF_REFERENCE, vars(module))  # noqa: S102 - a class that nobody has used before
    leaf = {"small": {"equals": 7}}
    for tree in ({"NOT": leaf}, {"OR": [leaf]}, {"parent": {"exists": {"AND": [leaf]}}}):
        assert "small = 7" in sql(module.NodeFilter.model_validate(tree))[0]


def test_a_generic_filter_may_stand_between() -> None:
    """Fields of a generic base bind to the row of the class that names one."""

    class Common(Filter[TRow]):
        id: NumberFilter | None = None

    class Labels(Common[LabelRow]):
        name: StringFilter | None = None

    given = Labels(id=NumberFilter(lt=3), name=StringFilter(equals="a"))
    assert sql(given) == ["filter_labels.id < 3", "filter_labels.name = 'a'"]


class OnlyOdd(Filter[ThingRow]):
    odd: bool | None = None
    small: NumberFilter | None = None

    def to_conditions(self) -> Sequence[Condition]:
        own: list[Condition] = [] if self.odd is None else [lambda: ThingRow.id % 2 == int(bool(self.odd))]
        return [*super().to_conditions(), *own]


def test_a_filter_may_compile_fields_of_its_own() -> None:
    """An overridden `to_conditions` adds to what is generated, in groups too."""
    given = OnlyOdd(odd=True, OR=[OnlyOdd(odd=False), OnlyOdd(small=NumberFilter(equals=1))])
    assert sql(given) == ["(filter_things.id % 2 = 0) OR (filter_things.small = 1)", "filter_things.id % 2 = 1"]


class Wanting(Filter[ThingRow]):
    small: NumberFilter | None = None

    def to_conditions(self, size: int) -> Sequence[Condition]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().to_conditions()


def test_an_overridden_method_takes_nothing_more() -> None:
    """Alone and in a group the message says what to write."""
    given = Wanting(small=NumberFilter(equals=1))
    for filters in (given, ThingFilter.model_construct(AND=[given])):
        with pytest.raises(InvalidFilter, match=r"Wanting.to_conditions takes no arguments: write def to_conditions"):
            given_conditions(filters)


class Upper(TypeDecorator[str]):
    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return value and value.upper()


def test_type_decorators_are_seen_through() -> None:
    """A decorated column takes the operators of the type below, and binds by its own rules."""

    class LocalBase(DeclarativeBase):
        pass

    class Shouting(LocalBase):
        __tablename__ = "shouting"
        id: Mapped[int] = mapped_column(ForeignKey("shouting.id"), primary_key=True)
        name: Mapped[str] = mapped_column(Upper)

    class ShoutingFilter(Filter[Shouting]):
        name: StringFilter | None = None

    assert sql(ShoutingFilter(name=StringFilter(equals="a"))) == ["shouting.name = 'A'"]


def test_everything_given_holds_together_and_groups_stay_groups() -> None:
    """Fields, AND, OR and NOT of one filter are a conjunction; an OR never flattens the ANDs inside."""
    given = ThingFilter.model_validate(
        {
            "small": {"gte": 1, "lt": 5},
            "flag": {"equals": True},
            "AND": [{"big": {"equals": 1}}],
            "OR": [{"big": {"equals": 2}, "id": {"equals": 3}}, {"big": {"equals": 4}}],
            "NOT": {"id": {"equals": 5}},
        }
    )
    assert sql(given) == [
        "filter_things.small >= 1",
        "filter_things.small < 5",
        "filter_things.flag = true",
        "filter_things.big = 1",
        "((filter_things.id = 3) AND (filter_things.big = 2)) OR (filter_things.big = 4)",
        "(filter_things.id = 5) IS NOT true",
    ]


def test_the_empty_filter_limits_nothing() -> None:
    """At the top, nothing given is no condition; null is not given."""
    assert list(ThingFilter().to_conditions()) == []
    assert is_empty(ThingFilter.model_validate({"small": None, "AND": None, "NOT": None}))


@pytest.mark.parametrize(
    "tree",
    [
        {"OR": []},
        {"AND": []},
        {"OR": [{}]},
        {"OR": [{"small": {"equals": 1}}, {}]},
        {"AND": [{}]},
        {"NOT": {}},
        {"NOT": {"small": None}},
        {"OR": [{"OR": [{"OR": []}]}]},
        {"small": {}},
        {"labels": {}},
        {"unknown": {"equals": 1}},
        {"text": {"equal": "x"}},
        {"OR": {"small": {"equals": 1}}},
        {"NOT": [{"small": {"equals": 1}}]},
        [],
        "text",
    ],
)
def test_what_has_no_meaning_is_refused(tree: Any) -> None:
    """An empty group, an empty field and an unknown name are validation errors, never all rows."""
    with pytest.raises(ValidationError):
        ThingFilter.model_validate(tree)


def test_an_empty_group_is_refused_even_unvalidated() -> None:
    """A filter made past validation still cannot open everything."""
    with pytest.raises(InvalidFilter, match="empty"):
        ThingFilter.model_construct(OR=[ThingFilter()], AND=None, NOT=None).to_conditions()


def test_depth_is_capped() -> None:
    """Groups nest to the cap and no further, and a body nested absurdly deep is an error, not a crash."""
    assert ThingFilter.model_validate(nested(MAX_DEPTH)).__rowsmith_depth__ == MAX_DEPTH
    for depth in (MAX_DEPTH + 1, 100, 5_000):
        with pytest.raises(ValidationError):
            ThingFilter.model_validate(nested(depth))
    with pytest.raises(ValidationError):
        ThingFilter.model_validate_json('{"NOT":' * 100_000)


def test_relationships_count_as_depth() -> None:
    """Nesting through relationships is capped, too."""
    tree: dict[str, Any] = {"small": {"equals": 1}}
    for _ in range(MAX_DEPTH):
        tree = {"parent": {"exists": tree}}
    with pytest.raises(ValidationError, match="deep"):
        ThingFilter.model_validate(tree)


def test_size_is_capped() -> None:
    """Operators and list members are counted over the whole filter."""
    part = {"small": {"in": list(range(MAX_SIZE // 4))}}
    assert ThingFilter.model_validate({"OR": [part] * 3}).__rowsmith_size__ <= MAX_SIZE
    with pytest.raises(ValidationError, match="at most"):
        ThingFilter.model_validate({"OR": [part] * 4})
    with pytest.raises(ValidationError):
        ThingFilter.model_validate({"OR": [{"small": {"equals": 1}}] * (MAX_GROUP + 1)})
    with pytest.raises(ValidationError):
        ThingFilter.model_validate({"small": {"in": [1] * 40_000}})


def test_filters_are_values() -> None:
    """Equal by what they say, unchangeable, and pickled whole."""
    one, two = (ThingFilter.model_validate({"OR": [{"small": {"equals": 1}}]}) for _ in range(2))
    assert one == two == pickle.loads(pickle.dumps(one))  # noqa: S301
    assert sql(one) == sql(pickle.loads(pickle.dumps(one)))  # noqa: S301
    with pytest.raises(ValidationError):
        one.small = NumberFilter(equals=2)  # type: ignore[misc]


def test_a_filter_survives_json() -> None:
    """What a client dumps, a server reads as the same filter."""
    given = ThingFilter(
        text=StringFilter(in_=["a"], i_not_contains="%"),
        moment=DateTimeFilter(before=dt.datetime(2024, 1, 1, tzinfo=dt.UTC)),
        price=NumberFilter(equals=1.5),
        color=EnumFilter[Color](not_in=[Color.RED]),
        OR=[ThingFilter(labels=Related[LabelFilter](none=LabelFilter()))],
    )
    assert sql(ThingFilter.model_validate_json(given.model_dump_json(by_alias=True))) == sql(given)
    assert sql(ThingFilter.model_validate_json(given.model_dump_json())) == sql(given)


def test_errors_do_not_show_what_was_given() -> None:
    """A validation error names the place and never the value."""
    with pytest.raises(ValidationError) as caught:
        ThingFilter.model_validate({"text": {"equals": ["s3cret"]}, "small": {"equals": "s3cret"}, "NOT": "s3cret"})
    assert "s3cret" not in str(caught.value)
    assert caught.value.error_count() == 3


def test_the_json_schema_says_it_all() -> None:
    """Every operator is described, none takes null, unknown names are refused, groups refer to the filter itself."""
    schema = ThingFilter.model_json_schema()
    own = schema["$defs"]["ThingFilter"]
    assert own["additionalProperties"] is False
    assert own["properties"]["OR"]["anyOf"][0] == {
        "items": {"$ref": "#/$defs/ThingFilter"},
        "maxItems": MAX_GROUP,
        "minItems": 1,
        "type": "array",
    }
    operators = schema["$defs"]["StringFilter"]
    assert operators["additionalProperties"] is False
    assert operators["minProperties"] == 1
    assert operators["properties"]["in"]["items"]["type"] == "string"
    assert "in_" not in operators["properties"]
    kinds = [each for each in schema["$defs"].values() if "properties" in each and each is not own]
    for field in (field for kind in kinds if "AND" not in kind["properties"] for field in kind["properties"].values()):
        assert field["description"]
        assert "default" not in field
        assert {"type": "null"} not in field.get("anyOf", ())
    assert schema["$defs"]["Color"] == {"enum": ["red", "green", "blue"], "title": "Color", "type": "string"}


class AgainstARow(Filter[LabelRow]):
    """Adds a condition of its own, which compares with a row."""

    name: StringFilter | None = None

    def to_conditions(self) -> Sequence[Condition]:
        wrong: Any = LabelRow()
        return [*super().to_conditions(), LabelRow.name == wrong]


def test_a_filter_that_compares_with_a_row_is_told() -> None:
    """By its own name, in a group too, and without what SQLAlchemy says, which quotes the row."""
    for filters in (AgainstARow(), AgainstARow(OR=[AgainstARow(name=StringFilter(equals="x"))])):
        with pytest.raises(
            InvalidFilter, match=r"^AgainstARow\.to_conditions\(\) cannot .* ArgumentError in line"
        ) as told:
            given_conditions(filters)
        assert told.value.__cause__ is told.value.__context__ is None


@pytest.mark.parametrize("make", [lambda: EnumFilter(equals=Color.RED), lambda: ArrayFilter(contains=["x"])])
def test_a_filter_of_no_type_says_how_it_is_written(make: Callable[[], object]) -> None:
    """Of the operators that nobody gave it says nothing."""
    with pytest.raises(MappingError, match=r"says nothing of its values' type: write \w+Filter\[Status\]"):
        make()
    assert EnumFilter[Color](equals=Color.RED).equals is Color.RED
