"""Layouts: the expressions that a data class needs, and how records of them become its objects.

A to-one relationship is a join to an alias, so that conditions of a search never meet its table. A to-many
one is a :class:`Collection`: one further statement for the rows of all parents at once, however deep it is
nested. Soft deletion of the row read hides no related ones; what a scope says of these does (:meth:`Layout.within`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import itemgetter
from types import NoneType
from typing import Any, Final, TypeAlias, assert_never, cast

from sqlalchemy import Column, ColumnElement, Select, Table, and_, inspect, select, true, type_coerce
from sqlalchemy.orm import ColumnProperty, CompositeProperty, RelationshipDirection, RelationshipProperty, aliased
from sqlalchemy.sql import visitors
from sqlalchemy.sql.selectable import SelectBase
from sqlalchemy.sql.util import ClauseAdapter

from rowsmith.conditions import limited
from rowsmith.errors import MappingError, ScopeMismatch
from rowsmith.mapping.builders import builder, checked_builder
from rowsmith.mapping.expr import Aggregate, Expr, keep_to_row
from rowsmith.mapping.fields import Source, Stored, Untold, Wanted, hold, sources, wanted
from rowsmith.mapping.loads import Step, options, relationships_of
from rowsmith.mapping.nested import Nested
from rowsmith.mapping.relationships import equal_pairs, is_certain, is_plain, is_single, leads_to_alias
from rowsmith.mapping.row import RowInfo, row_info
from rowsmith.names import sql_name
from rowsmith.passed import rows_sorting
from rowsmith.reach import reads_rows
from rowsmith.relations import (
    Said,
    column_left,
    computes,
    joined_inside,
    led_to,
    narrowed,
    over,
    own_row,
    reached_by,
    refuse_inside,
    said_between,
    said_of,
)
from rowsmith.several import ANY, outside_subqueries
from rowsmith.sql import as_sql

Record: TypeAlias = Sequence[Any]
"""One row of a result: the values of ``Layout.selects``, in that order."""

Groups: TypeAlias = Mapping[tuple[Any, ...], Sequence[Any]]
"""The data of a collection by the key of the parent it belongs to."""

Make: TypeAlias = Callable[[Sequence[Record], Sequence[Groups]], list[Any]]
"""Makes what belongs to each record, given the groups of each collection of the layout."""

Conditions: TypeAlias = Sequence[ColumnElement[bool]]

AnySelect: TypeAlias = Select[*tuple[Any, ...]]

MEETS_ITSELF: Final = "rowsmith_meets_itself"
"""The execution option of a SELECT of whole rows that may come to one row over several paths."""

ROWS: Final = "rowsmith_rows"
"""The execution option of a SELECT of whole rows: its layout."""


_Expression: Final[Any] = ColumnElement  # which has a type parameter that isinstance() cannot tell


@dataclass(frozen=True)
class Layout:
    """What is selected for a data class, and how its objects are made.

    ``returnable`` says that RETURNING can give ``selects`` too: they read nothing but the row itself, for of other rows
    it knows what there was before the write; ``names`` are their attributes, where they are nothing but columns of the
    row. ``options`` load what comes with whole rows, which is ``loaded``; ``computed`` is what of that is no column,
    and ``unbidden`` what comes though no option says so, each with the classes of the rows that it reaches.
    ``is_several`` says that a read takes further statements, for it or for collections; ``meets_itself`` that one row
    may be come to over several paths, each of which loads something else of it; ``is_rows`` that whole rows are read,
    and ``keeps_rows`` that they are read beside the session, as nobody is given them. ``said`` is what holds of the
    related rows that it shows.
    """

    selects: tuple[Any, ...]
    make: Make
    names: tuple[str, ...] = ()
    joins: tuple[Join, ...] = ()
    collections: tuple[Collection, ...] = ()
    returnable: bool = True
    options: tuple[Any, ...] = ()
    loaded: tuple[Step, ...] = ()
    computed: tuple[ColumnProperty[Any], ...] = ()
    unbidden: tuple[tuple[Any, frozenset[type[Any]]], ...] = ()
    is_several: bool = False
    meets_itself: bool = False
    is_rows: bool = False
    keeps_rows: bool = False
    said: Said = field(default_factory=dict[type[Any], Any])

    def select_from(self, row: Any, *extra: Any) -> AnySelect:
        """Give the SELECT of this layout, and of further expressions after it."""
        statement: AnySelect = select(*self.selects, *extra).select_from(row)
        if self.meets_itself:
            statement = statement.execution_options(**{MEETS_ITSELF: True})
        if self.is_rows:
            statement = statement.execution_options(**{ROWS: self})
        return self.joined(statement.options(*self.options) if self.options else statement)

    def joined(self, statement: AnySelect) -> AnySelect:
        """Give the statement with the joins that the layout needs; they neither add nor drop rows."""
        for join in self.joins:
            statement = join.joined(statement)
        return statement

    @cached_property
    def reached(self) -> frozenset[type[Any]]:
        """The classes of all related rows that it shows, or asks about."""
        below: Iterable[Collection | Step] = (*self.collections, *self.loaded)
        asked = map(_asked, (self.selects, map(_expression, self.computed)))
        unbidden = (rows for _, rows in self.unbidden)
        joined = (reached_by(each.relationship.property) for each in self.joins)
        return frozenset[type[Any]]().union(*joined, *(each.reached for each in below), *asked, *unbidden)

    @cached_property
    def computes(self) -> bool:
        """Whether anything is come to over a relationship whose own condition computes what may fail for some row."""
        steps: list[Join | Collection] = [*self.joins, *self.collections]
        found: list[Any] = [
            step.relationship.property if isinstance(step, Join) else step.relationship for step in steps
        ]
        below = any(each.layout.computes for each in self.collections)
        return below or any(map(computes, (*found, *self._loaded_by)))

    @property
    def _loaded_by(self) -> Iterator[RelationshipProperty[Any]]:
        yield from relationships_of(self.loaded)
        yield from (attribute.property for attribute, _ in self.unbidden)

    def within(self, said: Said, own: Conditions = ()) -> Layout:
        """Give the layout that shows no other related rows than those that something holds of, by their classes.

        Args:
            said: what holds of related rows.
            own: what holds of the rows themselves, so that no condition of a relationship is computed of others.

        Raises:
            MappingError: whole rows come with what their mapping computes of some, or loads of those of subclasses,
                or by relationships which compute what may fail, which SQLAlchemy does as it is; or a relationship finds
                its rows by some that nothing outside can limit.
        """
        for relationship in self._loaded_by:
            refuse_inside(relationship, said, is_sorted=True)
        if failing := next(filter(computes, self._loaded_by), None):
            raise MappingError(
                f"whole rows are loaded with {failing}, whose own condition computes what may fail for some row, and "
                "SQLAlchemy has it computed of rows outside of the scope as well: compare columns there, generated "
                "ones if need be, or read it by a data class"
            )
        for each in self.computed:
            if row := next((row for row in led_to(_expression(each)) if row in said), None):
                raise _unlimited(each, row)
        for attribute, rows in self.unbidden:
            if row := next((row for row in rows if row in said), None):
                raise MappingError(
                    f"the mapping loads {attribute} with rows of {attribute.class_.__name__}, and {row.__name__}, of "
                    f"which the scope says something, by it: name it in loads, after what leads to it, as in "
                    f"[..., {attribute}]"
                )
        held = {join.target: said.get(join.row, ()) for join in self.joins}
        joins = tuple(join.within(said, held.get(join.above, own)) for join in self.joins)
        collections = tuple(each.within(said, held.get(each.above, own)) for each in self.collections)
        loading = options(inspect(self.selects[0]).mapper, self.loaded, said) if self.loaded else ()
        selects = _narrowed(self.selects, said)
        return replace(self, selects=selects, joins=joins, collections=collections, options=loading, said=said)


@dataclass(frozen=True)
class Join:
    """A to-one relationship from a row to an alias of the related one; inner only where no row can be lost by it.

    ``above`` is the entity that it comes from; ``held`` is what holds of that, and ``said`` of the related row.
    """

    relationship: Any
    above: Any
    target: Any
    is_outer: bool
    said: tuple[ColumnElement[bool], ...] = ()
    held: tuple[ColumnElement[bool], ...] = ()

    @property
    def row(self) -> type[Any]:
        """The class of the related rows."""
        return cast("type[Any]", inspect(self.target).mapper.class_)

    def joined(self, statement: AnySelect) -> AnySelect:
        """Give a statement with the join."""
        step = self.relationship.of_type(self.target)
        if not (self.said or self.held):
            return statement.join(step, isouter=self.is_outer)
        # Not step.and_(...), which would adapt what is said of the alias already.
        on = and_(joined_inside(step.expression, (*self.held, *self.said)), *self.said)
        return statement.join(self.target, on, isouter=self.is_outer)

    def within(self, said: Said, own: Conditions) -> Join:
        """Do as :meth:`Layout.within`; no row is lost, whichever related one is not shown."""
        refuse_inside(self.relationship.property, said)
        held = own if computes(self.relationship.property) else ()
        return replace(
            self, is_outer=True, said=_said_of(self.target, said.get(self.row, ())), held=_said_of(self.above, held)
        )


@dataclass(frozen=True)
class Collection:
    """The rows of a relationship, read for all parents in one statement.

    ``select`` gives the SELECT of its layout's expressions of them, then ``keys``, which are to be compared with the
    parents' keys; ``places`` say where a parent's record holds its key. ``entity`` is what it selects from, ``order``
    what the relationship is sorted by; ``said`` is of the rows, ``over`` of those of tables between. ``above`` is the
    entity of the parents, and ``held`` what holds of these, where that is asked for.
    """

    layout: Layout
    above: Any
    entity: Any
    relationship: RelationshipProperty[Any]
    select: Callable[[Collection], AnySelect] = field(repr=False)
    keys: tuple[ColumnElement[Any], ...]
    places: tuple[int, ...]
    order: tuple[Any, ...] = ()
    said: tuple[ColumnElement[bool], ...] = ()
    over: tuple[ColumnElement[bool], ...] = ()
    held: tuple[ColumnElement[bool], ...] = ()

    @property
    def row(self) -> type[Any]:
        """The class of the rows."""
        return cast("type[Any]", inspect(self.entity).mapper.class_)

    @cached_property
    def statement(self) -> AnySelect:
        """The SELECT of the rows of all parents."""
        return limited(self.select(self), *self.said)

    @property
    def reached(self) -> frozenset[type[Any]]:
        """The classes of the rows that it shows, goes over or asks about."""
        return self.layout.reached.union(
            reached_by(self.relationship), rows_sorting(self.relationship), _asked(self.order)
        )

    def within(self, said: Said, own: Conditions) -> Collection:
        """Do as :meth:`Layout.within`.

        Raises:
            MappingError: as there; or what may fail is computed over a join of tables between.
        """
        if computes(self.relationship) and not isinstance(self.relationship.secondary, (Table, NoneType)):
            raise MappingError(
                f"{self.relationship} goes over a join of tables and computes what may fail for some row, and no scope "
                "can have it computed of rows inside alone: give it a table as its secondary, or compare columns"
            )
        refuse_inside(self.relationship, said, is_sorted=True)
        over = tuple(said_between(self.relationship, said))
        conditions = tuple(said.get(self.row, ()))
        layout, order = self.layout.within(said, conditions), _narrowed(self.order, said)
        if self.entity is not self.row:
            conditions = _said_of(self.entity, conditions)
        held = tuple(own) if computes(self.relationship) else ()
        return replace(self, layout=layout, order=order, said=conditions, over=over, held=held)


@dataclass(frozen=True)
class _Level:
    """A row somewhere in the tree: the entity selected from, and the data classes on the way to it."""

    info: RowInfo[Any]
    entity: Any
    path: tuple[Any, ...]
    is_outer: bool = False

    @property
    def is_aliased(self) -> bool:
        return self.entity is not self.info.row

    def attribute(self, name: str) -> Any:
        """Give an attribute of the entity."""
        found = getattr(self.entity, name)
        self.hold(as_sql(found), name)
        return found

    def hold(self, expression: Any, name: str) -> None:
        """Hold an expression against the entity, which may be an alias of a subquery.

        Raises:
            MappingError: it is of a column that the alias has not, and so of any row of the class.
        """
        column = column_left(self.entity, outside_subqueries(expression)) if self.is_aliased else None
        if column is not None:
            raise MappingError(
                f"{self.info.row.__name__}.{name} is read of an alias that has no {column}: select that column in the "
                "subquery which aliased(...) is given"
            )

    def below(self, relationship: RelationshipProperty[Any], into: type[object]) -> tuple[Any, ...]:
        """Give the path of a nested data class.

        Raises:
            MappingError: it nests itself, without an end.
        """
        return self._longer((relationship, into), f"through {relationship}")

    def inside(self, into: type[object]) -> _Level:
        """Give the level of a data class that is made of the same row.

        Raises:
            MappingError: it nests itself, without an end.
        """
        return replace(self, path=self._longer((None, into), "in the same row"))

    def _longer(self, step: tuple[object, type[object]], how: str) -> tuple[Any, ...]:
        if step in self.path:
            raise MappingError(f"{step[1].__name__} nests itself {how}: write one data class a level")
        return (*self.path, step)


def layout_of(info: RowInfo[object], into: type[object]) -> Layout:
    """Work out the layout of a data class; mappers are configured where it nests others.

    Raises:
        MappingError: a field fits neither a column nor a relationship, in this class or in one it nests.
    """
    return _layout(_Level(info, info.row, ()), into)


def _layout(level: _Level, into: type[object]) -> Layout:
    draft = _Draft()
    make = draft.objects(level, into, alone=True)
    given = sources(level.info, into)
    names = draft.names if all(_is_of_columns(level.info, source) for source in given.values()) else ()
    whole = not (draft.joins or draft.collections or any(map(reads_rows, draft.selects)))
    several = bool(draft.collections)
    return Layout(
        tuple(draft.selects), make, names, tuple(draft.joins), tuple(draft.collections), whole, is_several=several
    )


class _Draft:
    """A layout while it is being worked out: what is selected, joined and collected so far."""

    def __init__(self) -> None:
        self.selects: list[Any] = []
        self.joins: list[Join] = []
        self.collections: list[Collection] = []
        self._places: dict[tuple[int, str], int] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The attributes that are selected, in their order."""
        return tuple(name for _, name in self._places)

    def objects(self, level: _Level, into: type[object], *, alone: bool = False) -> Make:
        """Have the objects of a data class made of records; ``alone`` says that these hold nothing else."""
        given = sources(level.info, into)
        build = builder(into, tuple(given))
        fields = [self._field(level, into, name, source) for name, source in given.items()]
        if all(isinstance(source, (Stored, Expr)) for source in given.values()) and alone:
            return lambda records, related: build(records)
        return lambda records, related: build(zip(*(field(records, related) for field in fields), strict=True))

    def place(self, level: _Level, name: str) -> int:
        """Have an attribute selected, once, and give its place."""
        key = (id(level.entity), name)
        if key not in self._places:
            attribute = level.attribute(name)
            expression = as_sql(attribute)
            # What a mapping computes is narrowed as what a data class does; SQLAlchemy would come back to it as it was.
            is_column = isinstance(expression, Column)
            self._places[key] = self._append(attribute if is_column else self._named(expression, name))
        return self._places[key]

    def _named(self, expression: ColumnElement[Any], name: str) -> ColumnElement[Any]:
        return expression.label(sql_name(f"{name}_{len(self.selects)}"))

    def _append(self, expression: object) -> int:
        self.selects.append(expression)
        return len(self.selects) - 1

    def _field(self, level: _Level, into: type[object], name: str, source: Source) -> Make:
        match source:
            case Stored():
                hold(level.info, into, name, source)
                return _column(self.place(level, name))
            case Expr():
                keep_to_row(source.resolve(), level.info, f"{into.__name__}.{name}", ANY)
                hold(level.info, into, name, source)
                return _column(self._append(self._named(_placed(level, source), name)))
            case Aggregate():
                raise MappingError(f"{into.__name__}.{name} is an aggregate: give this class to aggregate(...)")
            case Nested():
                made = self.objects(level.inside(source.into), source.into)
                return _converted(made, source.into, source.convert)
            case CompositeProperty():
                return _composed(source, [_column(self.place(level, part.key)) for part in source.props])
            case RelationshipProperty() | Untold.UNTOLD:
                return self._related(level, into, name)
            case _:
                assert_never(source)

    def _related(self, level: _Level, into: type[object], name: str) -> Make:
        meant: Any = level.info.meant(name)
        relationship = level.info.mapper.relationships[meant.key]
        wanted = _agreed(into, name, relationship)
        path = level.below(relationship, wanted.into)
        if is_single(relationship):
            return self._joined(level, relationship, wanted, path)
        grouped = self._collected(level, relationship, wanted, path)
        if wanted.container is not None:
            return _gathered(grouped, wanted.container)
        return _first_of(grouped, None if wanted.is_optional else relationship)

    def _joined(
        self, level: _Level, relationship: RelationshipProperty[Any], wanted: Wanted, path: tuple[object, ...]
    ) -> Make:
        target = aliased(relationship.mapper.class_, flat=True)
        is_outer = level.is_outer or not is_certain(relationship)
        step = getattr(level.entity, relationship.key)
        level.hold(step.of_type(target).expression, relationship.key)
        self.joins.append(Join(step, level.entity, target, is_outer))
        below = _Level(row_info(relationship.mapper.class_), target, path, is_outer)
        # The key, not "all NULL", says whether there is a row: every field wanted of it may well be NULL.
        presence = self.place(below, below.info.primary_key[0])
        make = _converted(self.objects(below, wanted.into), wanted.into, wanted.convert)

        def make_present(records: Sequence[Record], related: Sequence[Groups]) -> list[Any]:
            there = [record for record in records if record[presence] is not None]
            if len(there) == len(records):
                return make(there, related)
            if not wanted.is_optional:
                raise _unseen(relationship)
            made = iter(make(there, related))
            return [None if record[presence] is None else next(made) for record in records]

        return make_present

    def _collected(
        self, level: _Level, relationship: RelationshipProperty[Any], wanted: Wanted, path: tuple[object, ...]
    ) -> _Grouped:
        target = row_info(relationship.mapper.class_)
        entity = cast("Any", relationship.entity).entity if leads_to_alias(relationship) else target.row
        below = _Level(target, entity, path)
        layout = _layout(below, wanted.into)
        # Where the child itself says whose it is: the parent's column, and the child's.
        is_direct = relationship.direction is RelationshipDirection.ONETOMANY and is_plain(relationship)
        if is_direct:
            pairs = equal_pairs(relationship)
            names = tuple(level.info.mapper.get_property_by_column(local).key for local, _ in pairs)
            # The parents' own type reads and binds the key: both sides must give equal values.
            keys = tuple(type_coerce(remote, local.type) for local, remote in pairs)

            def found(made: Collection) -> AnySelect:
                return made.layout.select_from(entity, *_labelled(keys)).order_by(*made.order)
        else:
            parent, names = aliased(level.info.row, flat=True), level.info.primary_key
            keys = tuple(getattr(parent, name).__clause_element__() for name in names)
            step = getattr(parent, relationship.key)

            def found(made: Collection) -> AnySelect:
                way = step.and_(*made.over) if made.over else step
                reached: AnySelect = select(*made.layout.selects, *_labelled(keys)).select_from(parent)
                inside = (*made.said, *_said_of(parent, made.held))
                found = _joined_over(reached, way, entity, inside, made.over)
                return made.layout.joined(found).order_by(*_order_over(way, made.order))

        own_key = [below.attribute(name) for name in target.primary_key]
        places = tuple(self.place(level, name) for name in names)
        layout = replace(layout, make=_converted(layout.make, wanted.into, wanted.convert))

        def ordered(made: Collection) -> AnySelect:
            return found(made).order_by(*own_key)

        order = tuple(relationship.order_by or ())
        self.collections.append(Collection(layout, level.entity, entity, relationship, ordered, keys, places, order))
        return _Grouped(len(self.collections) - 1, places)


@dataclass(frozen=True)
class _Grouped:
    """Where a record's part of a collection is found."""

    collection: int
    places: tuple[int, ...]


def _between(relationship: Any) -> Any:
    """Give the alias that the table between has in a step from an alias; None where there is no such table."""
    secondary, sources = relationship.property.secondary, relationship.expression._from_objects
    return next((source for source in sources if secondary is not None and _stands_for(source, secondary)), None)


def _stands_for(source: Any, table: Any) -> bool:
    return getattr(source, "element", None) is table


def _joined_over(
    reached: AnySelect, relationship: Any, entity: Any, inside: Conditions, passed: Conditions
) -> AnySelect:
    """Join what a relationship leads to; what that computes, and may fail, of rows alone that something holds of.

    ``passed`` is what holds of those of the table between, which has an alias.
    """
    between = _between(relationship)
    if between is None:
        if not (inside and computes(relationship.property)):
            return reached.join(relationship)
        return reached.join(entity, joined_inside(relationship.expression, inside))
    inside = (*inside, *(ClauseAdapter(between).traverse(each) for each in passed))
    return reached.join(between, true()).join(entity, joined_inside(relationship.expression, inside))


def _order_over(relationship: Any, order: Sequence[Any]) -> Sequence[Any]:
    """Have the order of a relationship speak of the table between, which has an alias."""
    between = _between(relationship)
    return order if between is None else [ClauseAdapter(between).traverse(item) for item in order]


def _labelled(keys: Sequence[ColumnElement[Any]]) -> list[ColumnElement[Any]]:
    return [key.label(sql_name(f"parent_{place}")) for place, key in enumerate(keys)]


def _column(place: int) -> Make:
    value = itemgetter(place)
    return lambda records, related: list(map(value, records))


def _composed(composite: CompositeProperty[Any], parts: Sequence[Make]) -> Make:
    """Have what a mapping makes of several columns made of their values, as SQLAlchemy does it in its own rows."""
    into: Any = composite.composite_class
    is_nothing = cast("Any", composite).return_none_on

    def composed(records: Iterable[Sequence[object]]) -> list[Any]:
        return [None if callable(is_nothing) and is_nothing(*values) else into(*values) for values in records]

    build = checked_builder(into, composed, [part.key for part in composite.props])
    return lambda records, related: build(zip(*(part(records, related) for part in parts), strict=True))


def _is_of_columns(info: RowInfo[Any], source: Source) -> bool:
    if isinstance(source, CompositeProperty):
        return all(part.key in info.columns for part in source.props)
    return source == Stored()


def _converted(make: Make, into: type[object], convert: Callable[[Any], object] | None) -> Make:
    """Have a field's values made of the objects that its columns were read as."""
    if convert is None:
        return make
    build = checked_builder(into, lambda items: [convert(item) for item in items])
    return lambda records, related: build(make(records, related))


def _gathered(grouped: _Grouped, container: type[Any]) -> Make:
    """Give each record its part of a collection, in the container that the field asks for."""
    index, places = grouped.collection, grouped.places
    return lambda records, related: [
        container(related[index].get(tuple(record[place] for place in places), ())) for record in records
    ]


def _first_of(grouped: _Grouped, certain: RelationshipProperty[Any] | None) -> Make:
    """Give each record the one of its collection, or None; there has to be one where a relationship is ``certain``."""
    gather = _gathered(grouped, tuple)

    def first(records: Sequence[Record], related: Sequence[Groups]) -> list[Any]:
        found = gather(records, related)
        if certain is not None and not all(found):
            raise _unseen(certain)
        return [next(iter(items), None) for items in found]

    return first


def _unseen(relationship: RelationshipProperty[Any]) -> Exception:
    """Give the error for a row whose related one has to be given, and must not be seen."""
    return ScopeMismatch(
        f"{relationship} leads to a row outside of the scope, and the field for it takes no None: annotate it as "
        "optional, or have to_related() say what may be seen"
    )


def _said_of(entity: object, conditions: Conditions) -> tuple[ColumnElement[bool], ...]:
    return tuple(said_of(entity, each) for each in conditions)


def _narrowed(expressions: Sequence[Any], said: Said) -> tuple[Any, ...]:
    def seen(row: type[Any]) -> Sequence[ColumnElement[bool]]:
        return said.get(row, ())

    return tuple(narrowed(each, seen) if isinstance(each, _Expression) else each for each in expressions)


def _asked(expressions: Iterable[Any]) -> list[type[Any]]:
    return [row for each in expressions if isinstance(each, _Expression) for row in led_to(each)]


def _expression(computed: ColumnProperty[Any]) -> ColumnElement[Any]:
    return computed.columns[0]


def _unlimited(computed: ColumnProperty[Any], row: type[Any]) -> Exception:
    """Give the error for what whole rows come with though a scope would have its say about it."""
    return MappingError(
        f"{computed} asks about {row.__name__}, of which the scope says something, and no scope can limit what whole "
        "rows are loaded with: declare it with deferred=True and leave it out of loads, and read it by a data class "
        f"with the field {computed.key}"
    )


def _placed(level: _Level, source: Expr) -> ColumnElement[Any]:
    """Give a computed field's expression over the entity that its row stands for in the statement."""
    expression = source.resolve()
    if not level.is_aliased:
        return expression
    adapted = None if _has_subquery(expression) else over(level.entity, expression)
    if adapted is not None:
        return adapted
    # A SELECT of its own, in which the row has its own name: subqueries and text find it as they were written.
    own = select(expression).select_from(level.info.row).correlate(level.entity)
    return limited(own, *own_row(level.entity)).scalar_subquery()


def _has_subquery(expression: Any) -> bool:
    return any(isinstance(part, SelectBase) for part in visitors.iterate(as_sql(expression)))


def _agreed(into: type[object], name: str, relationship: RelationshipProperty[Any]) -> Wanted:
    """Read a relationship's field, and hold it against how many rows there may be.

    Raises:
        MappingError: the field says one and there may be many or none, or the other way round.
    """
    found = wanted(into, name, is_many=bool(relationship.uselist))
    kind = found.into.__name__
    if relationship.uselist and found.container is None:
        raise MappingError(f"{into.__name__}.{name}: {relationship} leads to many rows: write tuple[{kind}, ...]")
    if not relationship.uselist and found.container is not None:
        raise MappingError(f"{into.__name__}.{name}: {relationship} leads to one row: write {kind}")
    if not relationship.uselist and not found.is_optional and not is_certain(relationship):
        raise MappingError(f"{into.__name__}.{name}: {relationship} may lead to no row: write {kind} | None")
    return found
