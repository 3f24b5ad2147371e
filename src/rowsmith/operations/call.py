"""One call of a verb: whose it is, in which session, under which limits. What every verb shares stands here, once.

A verb is a method of an operation object, named by :func:`verb`. Its callers hand it a session; what it gets is a
:class:`Call` in that session, on which it admits the scope, sends its statements, and confirms what it wrote.
"""

from __future__ import annotations

import inspect
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial, wraps
from gc import collect
from operator import itemgetter
from typing import Any, Concatenate, Generic, Literal, NoReturn, ParamSpec, TypeAlias, TypeGuard, Unpack, cast

from sqlalchemy import (
    ColumnElement,
    Executable,
    ForeignKeyConstraint,
    Result,
    Select,
    exists,
    false,
    func,
    literal,
    select,
)
from sqlalchemy import cast as cast_to
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql import visitors
from sqlalchemy.types import TypeEngine
from typing_extensions import TypeVar

from rowsmith.conditions import limited, resolve
from rowsmith.errors import (
    InvalidValue,
    MappingError,
    ReferenceNotFound,
    RefusedByTrigger,
    RepositoryError,
    ScopeMismatch,
    made,
)
from rowsmith.execution import (
    Broken,
    Items,
    NativeLane,
    Origin,
    execute,
    execute_writing,
    give_up_since,
    note_undone,
    refused_by,
    translated,
    violation,
    writes_of,
)
from rowsmith.execution.driver import give_up
from rowsmith.execution.kinds import FOREIGN_KEY_VIOLATION
from rowsmith.execution.own_rows import OwnRows
from rowsmith.execution.standing import Standing
from rowsmith.identity import all_one, distinct
from rowsmith.lock import Lock
from rowsmith.mapping import RowInfo
from rowsmith.mapping.constraints import key_named
from rowsmith.mapping.layout import ROWS, AnySelect, Layout
from rowsmith.mapping.types import binds_itself, layers, reads_itself, stored_form
from rowsmith.operations.arguments import check_begin, checked_arguments, no_session
from rowsmith.operations.arrays.keys import Key, dialect_of, key_chunks, keys_condition
from rowsmith.operations.arrays.same import are_exact, as_read, as_told, comparisons, found_by
from rowsmith.operations.blocks.gate import is_quiet, standing_of
from rowsmith.operations.entity import Entity, HasEntity, Rules, make_entity
from rowsmith.operations.given_rows import GivenRows, watches
from rowsmith.operations.next_value import NextValue
from rowsmith.operations.results import PartialResult
from rowsmith.operations.savepoints import savepoint
from rowsmith.outcome import commit_outcome, tell
from rowsmith.references import Reference
from rowsmith.scope import (
    NO_LIMITS,
    ExistenceCheck,
    Limits,
    RelatedScope,
    SearchScope,
    Settled,
    itself,
    require_scope,
    resolve_scope,
)
from rowsmith.several import outside_subqueries

TRow = TypeVar("TRow")
TData = TypeVar("TData", default=TRow)
TRow_co = TypeVar("TRow_co", covariant=True)
TData_co = TypeVar("TData_co", covariant=True, default=TRow_co)
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Call(Generic[TRow_co, TData_co]):
    """One call of a verb.

    ``entity`` is what it is about, ``operation`` the verb's name in error codes, ``db_sess`` the session whose
    transaction it works in; ``limits`` is what the scope says about the entity's rows, and about others: nothing before
    :meth:`under` has admitted a scope. ``already_written`` is what the verb's first
    statement has written, by key, where that was sent already: it is not sent again. ``tries_parts`` says that the call
    goes on where it has undone some of its work: its savepoints stay until the one around them ends. ``own_rows``
    is what it reads the rows in that it makes data of. ``may_come_back`` says that triggers may put back what went.
    """

    entity: Entity[TRow_co, TData_co]
    operation: str
    db_sess: AsyncSession
    limits: Limits = NO_LIMITS
    already_written: Mapping[Any, Any] | None = None
    tries_parts: bool = False
    own_rows: OwnRows | None = None
    may_come_back: bool = False

    async def under(self, scope: SearchScope | None) -> Call[TRow_co, TData_co]:
        """Admit a scope: resolve it, and run its existence checks, all in one statement.

        Raises:
            ScopeError: the scope is used wrongly.
            Exception: the error declared by the first check that fails.
        """
        if self.entity.scope_required:
            require_scope(scope, self.info.row)
        if isinstance(scope, SearchScope):  # what is none is told there
            scope = Settled.of(scope)
        limits = resolve_scope(scope, self.info)
        if limits.checks:
            await self._run(limits.checks)
        limits = replace(limits, related=RelatedScope(scope, self.info, self.entity.scope_required))
        entity = self.entity.within(limits) if self.entity.shape.layout.reached else self.entity
        own_rows = OwnRows(self.db_sess) if entity.shape.is_row else None
        return replace(self, entity=entity, limits=limits, own_rows=own_rows)

    async def writing(self, scope: SearchScope | None, *, several: bool = False) -> Call[TRow_co, TData_co]:
        """Admit a scope for a write that changes or makes rows, ``several`` by one statement or not."""
        call = await self.under(scope)
        return call.unsettled() if await call.is_meddled_with(several=several) else call

    async def marking(self, scope: SearchScope | None, becoming: ColumnElement[bool]) -> Call[TRow_co, TData_co]:
        """Admit a scope for a write by which a condition comes to hold of rows, unless a trigger keeps them from it.

        One that runs before a row is written may do so, too.
        """
        call = await self.under(scope)
        return call.unsettled(becoming) if await call.is_meddled_with(several=True) else call

    async def removing(self, scope: SearchScope | None) -> Call[TRow_co, TData_co]:
        """Admit a scope for a write that removes rows."""
        call = await self.under(scope)
        return replace(call, may_come_back=await call.is_meddled_with(several=True, removes=True))

    async def creating(self, scope: SearchScope | None, *, several: bool = False) -> Call[TRow_co, TData_co]:
        """Admit a scope for a write that makes rows, and so writes all their foreign keys."""
        return (await self.writing(scope, several=several)).setting({}, self.info.columns)

    def setting(self, values: Mapping[str, object], others: Collection[str] = ()) -> Call[TRow_co, TData_co]:
        """Give the call for rows of which these attributes are set: foreign keys among them have to lead inside.

        As far as the scope speaks of what they lead to. That to the parent within which rows are numbered is seen to
        where they are.

        Args:
            values: what they are set to, by attribute name; None leads nowhere.
            others: those that are set to nobody knows what.
        """
        related, referring, unasked = self.limits.related, self.info.referring, self.info.referring_unasked
        if related is None or not (referring or unasked):
            return self
        written = (*values, *others)
        # Of several scopes the row may come into another one than what it refers to.
        moves = related.is_put_together and self.limits.must_verify(written, self.info)
        if not (moves or unasked or referring.intersection(written)):
            return self
        names = {*others, *unasked, *(name for name, value in values.items() if value is not None)}
        kept = referring.difference(written) if moves else ()
        number: NextValue | None = self.entity.next_value
        counted = None if number is None else number.foreign_key(self.info)
        found = {each.key: each for each in related.references(self.info, kept, self.limits.stamps) if each.ways[1:]}
        found |= {each.key: each for each in related.references(self.info, names, self.limits.stamps)}
        # Of several scopes it is any one where they are; this row has to be inside the same one.
        references = tuple(each for each in found.values() if each.key is not counted or len(each.ways) > 1)
        return replace(self, limits=replace(self.limits, references=references))

    async def is_meddled_with(self, *, several: bool, removes: bool = False) -> bool:
        """Say whether triggers may change what is written once a statement has given it, in whichever of its tables."""
        for part in self.info.all_parts:
            if not await is_quiet(self.db_sess, part.table, self.origin(), several=several, removes=removes):
                return True
        return False

    def unsettled(self, *becoming: ColumnElement[bool]) -> Call[TRow_co, TData_co]:
        """Give the call for rows that triggers may change: they are read, and held against the scope, at the end.

        So they are against what is to hold of them then.
        """
        return replace(self, entity=self.entity.read_again, limits=self.limits.unsettled(*becoming))

    def in_parts(self) -> Call[TRow_co, TData_co]:
        """Give the call for work done in parts, some of which may be undone while it goes on."""
        return replace(self, tries_parts=True)

    def below(self, row: type[object]) -> Call[Any, Any]:
        """Give the call for rows below those it is about, under what its scope says of them.

        Raises:
            ScopeRequired: it says nothing, and a scope is required.
        """
        entity: Entity[Any, Any] = make_entity(row)
        related = self.limits.related
        limits = resolve_scope(None, entity.info) if related is None else related.require(entity.info)
        return Call(entity, self.operation, self.db_sess, replace(limits, related=related))

    def beneath(self, above: RowInfo[object], links: Sequence[tuple[str, str]]) -> Call[TRow_co, TData_co]:
        """Give the call for rows of a tree, which are to be inside the scope together with the rows above them.

        Args:
            above: the class of the rows above.
            links: attributes of those, each with the one of these rows that takes it.
        """
        related = self.limits.related
        if related is None:
            return self
        pairs = [(self.info.columns[own], above.columns[other]) for other, own in links]
        others = (*self.limits.others, *related.beneath(self.info, above, pairs))
        return replace(self, limits=replace(self.limits, others=others))

    @property
    def info(self) -> RowInfo[TRow_co]:
        """What is known of the mapped class, on the database that the session has it in."""
        info = self.entity.info
        return info.on_postgresql if info.varies and self.dialect.name == "postgresql" else info

    @property
    def dialect(self) -> Dialect:
        """The dialect of the database that the session has these rows in."""
        return dialect_of(self.db_sess, self.entity.info)

    async def standing(self) -> Standing:
        """Say what the table of these rows is in the session's database: of a view less can be asked."""
        return await standing_of(self.db_sess, self.info.table, self.origin())

    def locked(self, statement: AnySelect, lock: Lock | None) -> AnySelect:
        """Give a SELECT that locks the rows it is about; those joined to them are not, and could not all be."""
        return statement if lock is None else statement.with_for_update(of=self.info.tables, **lock.options())

    def conditions(self, include_deleted: bool = False) -> list[ColumnElement[bool]]:
        """Give what holds of every row that the call may see: the scope's conditions, and that it is not deleted."""
        return [*self.limits.conditions, *self.entity.live(include_deleted)]

    def on_shard(self, keys: Sequence[Sequence[Any]] = ()) -> list[ColumnElement[bool]]:
        """Give the condition that keeps a statement to one shard, for each of its tables; none for rows of one place.

        What rows a CTE has found says nothing to a planner that has to know the shard beforehand.

        Args:
            keys: those of the rows, where they are known.

        Raises:
            InvalidValue: the rows may be of several shards.
        """
        name = self.info.shard_key
        if name is None:
            return []
        values = {key[self.info.primary_key.index(name)] for key in keys}
        if name in self.limits.stamps:
            values = {self.limits.stamps[name]}
        if len(values) != 1:
            raise InvalidValue(
                f"{self.info.row.__name__} is distributed by {name}, and rows of several cannot be written at once: "
                "give a scope that names one, or make a call for each"
            )
        return [self.info.attribute(name) == value for value in values]

    def origin(self, *, deletes: bool = False, writes: Collection[str] | None = None) -> Origin:
        """Say whose call a statement is; ``writes`` are the attributes that an UPDATE changes."""
        return self.entity.origin(self.operation, deletes=deletes, writes=writes)

    async def execute(
        self,
        statement: Executable,
        options: Mapping[str, Any] | None = None,
        parameters: Sequence[Mapping[str, Any]] | Mapping[str, Any] | None = None,
        *,
        items: Items | None = None,
    ) -> Result[Any]:
        """Send a statement; see :func:`rowsmith.execution.execute`. ``items`` are what its rows are made of."""
        origin = self.origin() if items is None else replace(self.origin(), items=items)
        if not self.entity.shape.is_row:
            return await execute(self.db_sess, statement, origin, options, parameters)
        reader = await self.reader(statement, origin)

        async def sent() -> Result[Any] | Exception:
            given = self.given(statement)
            result = await execute(reader, statement, origin, options, parameters)
            refusal = None if given is None else given.settle()
            return result if refusal is None else refusal

        found = await sent()
        if isinstance(found, Exception):
            collect()  # what nobody holds any more may be there still, and is in nobody's way then
            found = await sent()
        if isinstance(found, Exception):
            raise found
        return found

    async def reader(self, statement: Executable, origin: Origin) -> AsyncSession:
        """Give the session that a SELECT of rows is sent in: beside the call's own where only data is made of them.

        Raises:
            RepositoryError: what the session holds unflushed could not be written, or there is no connection.
        """
        layout: Layout | None = statement.get_execution_options().get(ROWS)
        if layout is None or not layout.keeps_rows:
            return self.db_sess
        return await (self.own_rows or OwnRows(self.db_sess)).session(origin)

    def given(self, statement: Executable) -> GivenRows | None:
        """Give what the session's objects hold before a SELECT of rows reads some into it; None where it does not."""
        layout: Layout | None = statement.get_execution_options().get(ROWS)
        if layout.keeps_rows if layout is not None else not watches(self.db_sess.sync_session):
            return None
        related = self.limits.related or RelatedScope(None, self.info)
        scope = None if related.scope is None else itself(related.scope)
        loaded, said = (layout.loaded, layout.said) if layout is not None else ((), dict[type[Any], Any]())
        return GivenRows(self.db_sess.sync_session, loaded, said, scope, related.seen)

    async def execute_writing(self, statement: Executable, origin: Origin) -> Result[Any]:
        """Send an UPDATE or DELETE; see :func:`rowsmith.execution.execute_writing`."""
        given = self.given(statement) if self.entity.shape.is_row else None
        result = await execute_writing(self.db_sess, statement, origin)
        if given is not None:
            given.settle()
        return result

    async def sole(self, result: Result[Any], *, undo: bool = False) -> Any:
        """Give the record of the one row that a key names, or None; ``undo`` as for :meth:`refuse_twins`.

        Raises:
            MappingError: several rows have the key.
        """
        records = result.fetchmany(2)
        if len(records) > 1:
            await self.refuse_twins(undo=undo)
        return records[0] if records else None

    async def refuse_twins(self, *, undo: bool) -> NoReturn:
        """Say that several rows have the same key; ``undo`` what was written to them, so that nothing of it stays."""
        if undo:
            await give_up(self.db_sess)
        names = ", ".join(self.info.primary_key)
        raise MappingError(
            f"several rows of {self.info.table.name} have the same key: {self.info.row.__name__} declares ({names}) as "
            "its primary key, and the table is not unique over that; map what tells its rows apart"
        )

    @asynccontextmanager
    async def savepoint(self) -> AsyncGenerator[None]:
        """Undo the block if it fails, without giving up the transaction around it."""
        with self._undoing():
            async with translated(), savepoint(self.db_sess, stays=self.tries_parts):
                yield

    @asynccontextmanager
    async def savepoint_of_statements(self) -> AsyncGenerator[None]:
        """Do as :meth:`savepoint` for statements that no object of the session takes part in: nothing is flushed."""
        if self.tries_parts:  # which the session has to know of
            async with self.savepoint():
                yield
            return
        with self._undoing():
            async with translated():
                connection = await self.db_sess.connection(bind_arguments=cast("Any", self.origin().binds))
                async with connection.begin_nested():
                    yield

    @contextmanager
    def _undoing(self) -> Generator[None]:
        """Have it noted that what is written in the block is undone if it fails."""
        before = writes_of(self.db_sess)
        try:
            yield
        except BaseException:
            note_undone(self.db_sess, before)
            raise

    def absent(self, ids: Sequence[object]) -> Exception:
        """Give the domain's error for rows that are not there for this caller."""
        return self.located(self.entity.absent(ids))

    def located(self, error: Exception) -> Exception:
        """Give the error with this call's domain and operation in its code."""
        if isinstance(error, RepositoryError):
            error.locate(self.entity.domain, self.operation)
        return error

    def own_failures(self, result: PartialResult[Any]) -> Any:
        """Give what became of items with the domain's own errors for those that failed."""
        return replace(result, failed=[replace(failure, error=self.own(failure.error)) for failure in result.failed])

    def own(self, error: Exception) -> Exception:
        """Give the domain's own error for what ends the call, or this one, located."""
        self.located(error)
        return self.entity.own(error) if isinstance(error, RepositoryError) else error

    @contextmanager
    def locating(self) -> Generator[None]:
        """Do what :meth:`located` does to every error that leaves the block."""
        try:
            yield
        except RepositoryError as exc:
            self.located(exc)
            raise

    async def confirm(self, keys: Sequence[Key], refusal: Callable[[int], Exception] | None = None) -> None:
        """Hold rows just written against what of the scope could not be stamped, and their references against it.

        Args:
            keys: the rows', as the database has them.
            refusal: makes the error for the row at a place among the keys.

        Raises:
            ScopeMismatch: one is outside; the caller must undo the write.
            ReferenceNotFound: what one refers to is; or the error declared for its foreign key.
            RefusedByTrigger: one is not there at all, as a trigger took it away or never wrote it; or it is inside, and
                not what it was to become.
        """
        place = await self._first_outside(keys, self.limits.held) if self.limits.held else None
        if place is None:
            return
        left = ScopeMismatch() if refusal is None else refusal(place)
        if self.limits.is_unsettled and await self._is_kept(keys[place]):
            index = left.index if isinstance(left, ScopeMismatch) else None
            raise self.located(RefusedByTrigger() if index is None else RefusedByTrigger.at(index))
        if (reference := await self._first_dangling(keys)) is not None:
            raise self.dangling(reference)
        raise self.located(left)

    async def _is_kept(self, key: Key) -> bool:
        """Say whether a row is not there, or inside by itself: then it is no scope that it is refused by."""
        if await self._first_outside([key], ()) is not None:
            return True
        others, becoming = self.limits.others, self.limits.becoming
        if not becoming or await self._first_outside([key], becoming) is None:
            return False
        return await self._first_outside([key], others) is None

    async def _first_dangling(self, keys: Sequence[Key]) -> Reference | None:
        """Give the first foreign key that leads some rows outside; None where one is outside by itself."""
        for reference, conditions in self.limits.parts if self.limits.references else ():
            if await self._first_outside(keys, conditions) is not None:
                return reference
        return None

    async def _first_outside(self, keys: Sequence[Key], conditions: Sequence[ColumnElement[bool]]) -> int | None:
        """Give the place of the first row for which some conditions do not hold."""
        found = await self._found(keys, conditions)
        if len(keys) == len(found) == 1:
            return None
        inside = await self.as_stored(self.info.key_columns, keys, set(found))
        return next((place for place, key in enumerate(keys) if key not in inside), None)

    async def first_back(self, keys: Sequence[Key]) -> int | None:
        """Give the place of the first of the rows just removed that is there: a trigger has put it back."""
        found = await self._found(keys) if self.may_come_back and keys else ()
        back = await self.as_stored(self.info.key_columns, keys, set(found)) if found else ()
        return next((place for place, key in enumerate(keys) if key in back), None)

    async def _found(self, keys: Sequence[Key], conditions: Sequence[ColumnElement[bool]] = ()) -> list[Key]:
        """Give the keys of those rows that are there and satisfy some conditions, as the database has them."""
        found, dialect = list[Key](), self.dialect
        for chunk in key_chunks(keys, dialect, self.info.key_columns):
            written = keys_condition(self.info, chunk, dialect)
            there = limited(select(*self.info.key_attributes), written, *conditions)
            found.extend(map(tuple, (await self.execute(there)).all()))
        return found

    def dangling(self, reference: Reference) -> Exception:
        """Give the error for a foreign key that leads to no row inside, which is none that is there."""
        number: NextValue | None = self.entity.next_value
        if number is not None and reference.key is number.foreign_key(self.info):
            return self.parentless(reference.key)
        sqlstate = FOREIGN_KEY_VIOLATION if self.dialect.name == "postgresql" else None
        return self.located(refused_by(ReferenceNotFound, Broken.of(reference.key), self.origin(), sqlstate))

    def parentless(self, key: ForeignKeyConstraint) -> Exception:
        """Give the error for a row that would be numbered within a parent which is not there, or not inside."""
        message = f"the {key.referred_table.name} row to count within does not exist"
        return self.located(violation(ReferenceNotFound, message, Broken.of(key), self.origin()))

    def in_one_answer(self, failure: Exception) -> Exception:
        """Give the error for a broken constraint: a foreign key that leads nowhere is as one that leads outside."""
        constraint = failure.facts.constraint if isinstance(failure, RepositoryError) else None
        led = (each for each in self.limits.references if key_named(each.key.table, constraint) is each.key)
        reference = next(led, None)
        return failure if reference is None else self.dangling(reference)

    async def as_stored(
        self, columns: Sequence[ColumnElement[Any]], keys: Sequence[Key], stored: Collection[Key]
    ) -> Mapping[Key, Key]:
        """Give of each key that is among the stored ones how it is stored, which may be otherwise than it was given.

        Only the database knows what it holds to be equal: it is asked where Python's answer could be another one.

        Args:
            columns: what the keys are values of.
            keys: those that were given.
            stored: those that the database gave for them.
        """
        found = {key: key for key in keys if key in stored}
        rest = [key for key in dict.fromkeys(keys) if key not in found]
        if not (rest and stored) or (len(found) == len(stored) and are_exact(columns, self.dialect)):
            return found
        read = {key: as_read(columns, key, self.dialect) for key in rest}
        found.update((key, other) for key, other in read.items() if other in stored)
        rest, others = [key for key in rest if key not in found], list[Any](stored)
        for statement in comparisons(columns, rest, others, self.dialect):
            pairs: Sequence[Any] = (await self.execute(statement)).all()
            found.update({rest[key]: others[other] for key, other in pairs})
        return found

    async def as_found(
        self, columns: Sequence[ColumnElement[Any]], keys: Sequence[Key], stored: Collection[Key]
    ) -> Mapping[Key, Key]:
        """Do as :meth:`as_stored` for keys of rows that are there, whatever the mapping says of their columns.

        A column may hold more to be equal than its mapped type (a migration gave it another collation): where rows came
        back under keys that nobody asked for, the database is asked which of those given they are found by.
        """
        found = await self.as_stored(columns, keys, stored)
        rest = [key for key in dict.fromkeys(keys) if key not in found]
        if not rest or set(stored) <= set(found.values()):
            return found
        told = dict(found)
        for statement in found_by(columns, rest, self.dialect):
            rows: Sequence[Any] = (await self.execute(statement)).all()
            told.update({rest[place]: tuple(key) for place, *key in rows if tuple(key) in stored})
        return told

    async def twins(self, columns: Sequence[ColumnElement[Any]], keys: Sequence[Key]) -> Mapping[int, int]:
        """Give the places of keys that are earlier ones to the database, though not to Python, each with that one's."""
        first = dict[int, int]()
        for statement in () if are_exact(columns, self.dialect) else comparisons(columns, keys, keys, self.dialect):
            pairs: Sequence[Any] = (await self.execute(statement, items=Items(range(len(keys)), "id"))).all()
            for place, other in pairs:
                if other < place:
                    first[place] = min(other, first.get(place, other))
        return first

    async def keep_stamps(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Hold what the database has of rows just written against what the scope fixed: a trigger may have changed it.

        Args:
            columns: by attribute name, at least those of ``limits.stamps``, one value for each row.

        Raises:
            ScopeMismatch: a row is outside; the transaction cannot be committed then.
        """
        for name, told in as_told(self.info, self.limits.stamps, self.dialect).items():
            kind, stored = self.info.columns[name].type, columns[name]
            if not all_one(kind, stored, told):
                await self._ask_whether_same(kind, distinct(kind, stored, [told]), self.limits.stamps[name])

    async def _ask_whether_same(self, kind: TypeEngine[Any], stored: Sequence[object], value: object) -> None:
        """Have the database compare what Python tells apart (a CHAR's blanks, letters that a type folds), or may not.

        What was read is what is stored, unless its type makes something else of that as it reads.
        """
        form = kind if any(map(reads_itself, layers(kind))) else stored_form(kind)
        is_odd = binds_itself(form) and not any(map(reads_itself, layers(form)))
        read = None if is_odd else form  # a team's class would make something else of it once more
        for other in stored:
            one, fixed = cast_to(literal(other, read), kind), cast_to(literal(value, kind), kind)
            same = False
            with suppress(InvalidValue):  # it does not bind what it reads
                same = (await self.execute(select(func.coalesce(one == fixed, false())))).scalar_one()
            if not same:
                raise await self.left()

    async def keep_inside(self, records: Sequence[Sequence[Any]]) -> None:
        """Refuse rows just written that left the scope, of which its guard, the last of each record, is not true.

        Raises:
            ScopeMismatch: there is one; the transaction cannot be committed then.
        """
        if not all(map(itemgetter(-1), records)):
            raise await self.left()

    async def left(self) -> Exception:
        """Give the error for a row that the database itself took out of the scope, and have nothing of it committed."""
        await give_up(self.db_sess)
        return self.located(ScopeMismatch("a trigger of the database took a row out of its scope"))

    async def _run(self, checks: Sequence[ExistenceCheck]) -> None:
        # Not exists() limited by itself: its SELECT * cannot stand around a condition that is an EXISTS itself.
        conditions = [resolve(check.exists) for check in checks]
        asked = (exists(limited(_whole_rows(condition), condition)) for condition in conditions)
        # They are about other rows, which may be in another database.
        elements: Iterator[Any] = (each for condition in conditions for each in visitors.iterate(condition))
        subjects = (each._annotations.get("parententity") for each in elements)  # pyright: ignore[reportPrivateUsage]
        subject = next((subject for subject in subjects if subject is not None), self.info)
        origin = replace(self.origin(), mapper=subject.mapper)
        found = (await execute(self.db_sess, select(*asked), origin)).one()
        for check, exists_ in zip(checks, found, strict=True):
            if not exists_:
                raise self.located(made(check.error, check.message))


def _whole_rows(condition: ColumnElement[bool]) -> Select[Any]:
    """Give the SELECT of rows that a condition is about, each with all of its tables where it is kept in several."""
    parts: list[Any] = [part._annotations.get("parententity") for part in outside_subqueries(condition)]
    entities = {subject.entity: None for subject in parts if subject is not None and len(subject.mapper.tables) > 1}
    return select(literal(1)).select_from(*entities) if entities else select(literal(1))


class Operation(Generic[TRow, TData]):
    """Base of the operation objects: stateless, made once, usable with any AsyncSession.

    ``Querier(GroupRow)`` gives rows, for private methods; ``Querier(GroupRow, into=GroupData)`` gives data.
    An entity that was read already, such as a DBSource's, may stand in for the row.

    Raises:
        MappingError: row, data and rules do not fit, or ``violations`` names a constraint that is not there.
    """

    def __init__(
        self, row: type[TRow] | Entity[TRow, TData], *, into: type[TData] | None = None, **rules: Unpack[Rules]
    ) -> None:
        self.entity: Entity[TRow, TData] = row if isinstance(row, Entity) else make_entity(row, into, **rules)
        _ = self.entity.known_violations


TOperation = TypeVar("TOperation", bound=HasEntity)
TCall = TypeVar("TCall")
_Method = Callable[Concatenate[TOperation, TCall, P], Coroutine[Any, Any, R]]
_Verb = Callable[Concatenate[TOperation, AsyncSession, P], Coroutine[Any, Any, R]]
_Stream = Callable[Concatenate[TOperation, TCall, P], AsyncGenerator[R, None]]
_StreamVerb = Callable[Concatenate[TOperation, AsyncSession, P], AsyncGenerator[R, None]]
_Chunked = Callable[Concatenate[TOperation, P], Coroutine[Any, Any, R]]


Ask: TypeAlias = Callable[[Any, NativeLane, list[Any], dict[str, Any]], Any]
"""Says of the operation object, a lane and the verb's arguments what has to be sent; None where a session is needed."""


@dataclass(frozen=True)
class Native:
    """The way of a verb that needs no session: only of the function itself, and not of one that stands around it."""

    function: Any
    ask: Ask
    writes: bool
    resume: Callable[..., Awaitable[Any]]
    """Goes on in a session with a call whose first statement was sent, which wrote some rows, or none."""


Touches: TypeAlias = Literal["id", "ids", "made", "new"]
"""Which rows a verb writes: those of the id or ids that it is given first, those that it gives, or new ones only."""


TellItem: TypeAlias = Callable[[Call[Any, Any], InvalidValue, Any, Mapping[str, Any]], Awaitable[None]]
"""Has an error about a stored value say which item it is: of the call, the error, the items, the named arguments."""


def is_unread(failure: BaseException) -> TypeGuard[InvalidValue]:
    """Say whether a stored value could not be read."""
    return isinstance(failure, InvalidValue) and failure.is_stored


def _begun(operation: str, db_sess: Any) -> int:
    """Say how many statements have written in what a verb is given as its session.

    Raises:
        MappingError: it is none.
    """
    if not isinstance(db_sess, AsyncSession):
        raise no_session(operation, db_sess)
    return writes_of(db_sess)


async def _tell_item(
    tells: TellItem,
    operation: str,
    first: str,
    self: HasEntity,
    db_sess: AsyncSession,
    failure: InvalidValue,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> None:
    """Have an error say which item it is about; what fails as it is looked for leaves it as it is."""
    items = args[0] if args else kwargs[first]
    with suppress(RepositoryError):
        await tells(Call(self.entity, operation, db_sess), failure, items, kwargs)


def verb(
    operation: str,
    *,
    singly: str | None = None,
    native: Ask | None = None,
    touches: Touches | None = None,
    removes: bool = True,
    lost: Callable[..., bool] | None = None,
    tells: TellItem | None = None,
    late: Callable[..., bool] | None = None,
) -> Callable[[_Method[TOperation, TCall, P, R]], _Verb[TOperation, P, R]]:
    """Make a verb of a coroutine method: its callers give a session, and it gets the :class:`Call` in that session.

    Args:
        operation: the verb's name in error codes, said here and nowhere else.
        singly: says that the verb writes many rows into one table, and what to call for rows that are kept in several.
        native: says what has to be sent for a call, where no session is needed for it. Among the named arguments it may
            put a scope that was asked already.
        touches: which rows it writes, for those who keep copies; None where it may be any.
        removes: whether it may remove some, and so what hangs on them by foreign keys.
        lost: says of the operation object, a failure and the verb's arguments by name that others came in between, and
            that the call would find what they wrote: a transaction of its own is run once more then.
        tells: has an error about a stored value say which item of a batch it is.
        late: says of the operation object and what COMMIT was refused with that an item may be at fault: a transaction
            of its own is run once more then, with all that the verb tries checked at once.
    """

    def decorate(method: _Method[TOperation, TCall, P, R]) -> _Verb[TOperation, P, R]:
        names = _parameters(method)
        tell_item = None if tells is None else partial(_tell_item, tells, operation, names[0])

        @wraps(method)
        async def run(self: TOperation, db_sess: AsyncSession, *args: P.args, **kwargs: P.kwargs) -> R:
            return await resume(self, db_sess, None, *args, **kwargs)

        async def resume(self: TOperation, db_sess: AsyncSession, written: Any, *args: Any, **kwargs: Any) -> R:
            call: Any = Call(self.entity, operation, db_sess, already_written=written)
            before: int | None = None
            try:
                before = _begun(operation, db_sess) - bool(written)
                if singly is not None:
                    self.entity.info.one_statement(operation, singly)
                args, kwargs = checked_arguments(names, args, kwargs, self.entity.info)
                result = await method(self, call, *args, **kwargs)
                return result if result.__class__ is not PartialResult else call.own_failures(result)
            except BaseException as exc:
                give_up_since(db_sess, before)
                if tell_item is not None and is_unread(exc):
                    await tell_item(self, db_sess, exc, args, kwargs)
                failure = call.own(exc)
                if failure is exc:
                    raise
            raise failure

        signed = _signed(run, operation, method)
        signed.native = None if native is None else Native(signed, native, touches is not None, resume)
        signed.touches, signed.removes, signed.lost = touches, removes, lost
        signed.tell_item, signed.late = tell_item, late
        return cast("_Verb[TOperation, P, R]", signed)

    return decorate


@contextmanager
def of_one() -> Generator[None]:
    """Have an error about the one item of a batch say nothing of its place: the verb was given it by itself."""
    try:
        yield
    except (InvalidValue, RefusedByTrigger, ScopeMismatch) as exc:
        exc.alone()
        raise


def stream_verb(operation: str) -> Callable[[_Stream[TOperation, TCall, P, R]], _StreamVerb[TOperation, P, R]]:
    """Do what :func:`verb` does, for a method that is an asynchronous generator."""

    def decorate(method: _Stream[TOperation, TCall, P, R]) -> _StreamVerb[TOperation, P, R]:
        names = _parameters(method)

        @wraps(method)
        def run(self: TOperation, db_sess: AsyncSession, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[R, None]:
            call: Any = Call(self.entity, operation, db_sess)
            with call.locating():
                if not isinstance(cast("Any", db_sess), AsyncSession):
                    raise no_session(operation, db_sess)
                args, kwargs = checked_arguments(names, args, kwargs, self.entity.info)
            return method(self, call, *args, **kwargs)

        return cast("_StreamVerb[TOperation, P, R]", _signed(run, operation, method))

    return decorate


def chunked_verb(operation: str) -> Callable[[_Chunked[TOperation, P, R]], _Chunked[TOperation, P, R]]:
    """Name a method that opens sessions itself, one after the other, and makes a :class:`Call` in each."""

    def decorate(method: _Chunked[TOperation, P, R]) -> _Chunked[TOperation, P, R]:
        names = ("begin", *_parameters(method))

        @wraps(method)
        async def run(self: TOperation, *args: P.args, **kwargs: P.kwargs) -> R:
            try:
                check_begin(args[0] if args else kwargs.get("begin"))
                args, kwargs = checked_arguments(names, args, kwargs, self.entity.info)
                return await method(self, *args, **kwargs)
            except RepositoryError as exc:
                exc.locate(self.entity.domain, operation)
                failure = self.entity.own(exc)
                if failure is exc:
                    raise
                tell(failure, commit_outcome(exc))
            raise failure

        return cast("_Chunked[TOperation, P, R]", _signed(run, operation, method))

    return decorate


def _parameters(method: Any) -> tuple[str, ...]:
    """Give the names of what a verb takes, after itself and what its session is in."""
    return tuple(inspect.signature(method).parameters)[2:]


def _signed(run: Any, operation: str, method: Any) -> Any:
    """Give the verb its name, and the signature that its callers see."""
    given = inspect.signature(method)
    seen = [
        parameter.replace(name="db_sess", annotation="AsyncSession") if parameter.name == "call" else parameter
        for parameter in given.parameters.values()
    ]
    run.operation, run.__signature__ = operation, given.replace(parameters=seen)
    return run


def operation_of(verb: Any) -> str:
    """Give the name of an operation as error codes have it: what the verb says, else the function's own name."""
    try:
        named: str = verb.operation
    except AttributeError:
        named = ""
    return named or str(getattr(verb, "__name__", None) or type(verb).__name__)
