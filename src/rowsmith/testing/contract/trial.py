"""One try of a repository: it, its tables, and what the laws do with both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import sqlalchemy as sa
from sqlalchemy.sql.elements import ClauseElement

from rowsmith.database import Database
from rowsmith.errors import ErrorCode, RepositoryError
from rowsmith.mapping import Patch, Spec
from rowsmith.testing.contract.declared import Declared, entity_of, error_of
from rowsmith.testing.contract.laws import is_changed, is_deleted_softly, is_upserted, is_written
from rowsmith.testing.contract.rows import StoredRows
from rowsmith.testing.contract.verbs import VERBS, VERSIONED, AnyRepository, Does, Outcome, VerbCall, answer

_MAY: Final[Mapping[Does, Callable[[type[Declared]], bool]]] = {
    Does.READ: lambda _: True,
    Does.MAKE: is_written,
    Does.PUT: is_upserted,
    Does.CHANGE: is_changed,
    Does.MARK: is_deleted_softly,
    Does.UNMARK: is_deleted_softly,
    Does.REMOVE: is_written,
}


@dataclass(frozen=True)
class Made:
    """A row that is there: its number, its id and what its maker was given."""

    n: int
    id: Any
    data: Any


class Trial:
    """A repository on a database that has its tables, and in them nothing but what it makes."""

    def __init__(self, contract: Declared, db: Database) -> None:
        self.contract = contract
        self.entity = entity_of(type(contract))
        self.info = self.entity.info
        tables: list[sa.Table] = [table for row in contract.tables for table in cast("Any", sa.inspect(row)).tables]
        self.rows = StoredRows(db.engine, self.info, list(dict.fromkeys(tables)))
        self.repository: AnyRepository = contract.connect(db)
        self._db = db

    async def begin(self) -> None:
        """Begin anew: no row of another try is there, nor in a cache."""
        await self.rows.clear()
        if self.repository.cache_source is not None:  # without one its plans are good for all tests
            self.repository = self.contract.connect(self._db)

    def verbs(self, *does: Does) -> list[str]:
        """Give the verbs that do one of these, and that the repository has."""
        may = {one for one in does if _MAY[one](type(self.contract))}
        return [
            name for name, verb in VERBS.items() if verb.does in may and not (verb.one_table and self.info.is_joined)
        ]

    async def each(self, *does: Does) -> AsyncIterator[str]:
        """Give the verbs that do one of these, each on tables that are empty again."""
        for verb in self.verbs(*does):
            await self.begin()
            yield verb

    async def make(self, *numbers: int) -> list[Made]:
        """Make rows, each in its scope."""
        made: list[Made] = []
        for n in numbers:
            try:
                if self.contract.writes:
                    data = await self.repository.create(self.contract.spec(n), scope=self.contract.scope(n))
                    id = self.contract.id_of(data)
                else:
                    row = self.contract.row(n)
                    async with self._db.begin_session() as db_sess:
                        db_sess.add(row)
                        await db_sess.flush()
                        key: tuple[Any, ...] = tuple(sa.inspect(row).identity or ())
                    id = key[0] if len(key) == 1 else key
                    data = await self.repository.get(id, self.contract.scope(n))
            except RepositoryError as error:
                error.add_note(
                    f"This is row {n} of {type(self.contract).__name__}: each row meets no other one, and lies in the "
                    "scope of its number, one tenant's for even numbers and another's for odd ones."
                )
                raise
            made.append(Made(n, id, data))
        return made

    async def delete(self, *rows: Made) -> None:
        """Delete rows softly, where rows are and these are not yet."""
        if is_deleted_softly(type(self.contract)):
            for made in rows:
                await answer("delete", self.call(made.n, made.id))

    async def absent(self, n: int) -> Any:
        """Give the id of a row that was there; others, made before, have higher ones."""
        (made, _) = await self.make(n, n + 2)
        await self.rows.remove(self.key(made.id))
        return made.id

    def call(self, n: int, *ids: Any, patch: int | None = None) -> VerbCall:
        """Give a call about rows, in the scope of row ``n``, with the patch of one of them."""
        given = self.contract.patch(n if patch is None else patch) if is_changed(type(self.contract)) else None
        return VerbCall(self.repository, self.contract.scope(n), ids, given)

    def making(self, n: int, *specs: Spec[Any]) -> VerbCall:
        """Give a call with specs, in the scope of row ``n``."""
        return VerbCall(self.repository, self.contract.scope(n), specs=specs)

    def together(self, *rows: Made) -> VerbCall:
        """Give a call about rows of one tenant's, each with its own patch where the verb takes several."""
        call = self.call(rows[0].n, *(made.id for made in rows))
        if call.patch is None:
            return call
        return replace(call, patch_of={made.id: self.contract.patch(made.n) for made in rows})

    async def expecting(self, verb: str, made: Made) -> VerbCall:
        """Give a call that expects a row in the version that it has now."""
        version = (await self.stored(made.id) or {})[str(self.info.version)]
        expected = {made.id: version} if VERBS[verb].many else version
        return replace(self.call(made.n, made.id), options={VERSIONED[verb]: expected})

    async def reads(self, n: int, id: Any, **options: Any) -> Mapping[str, Outcome]:
        """Give what each verb that reads says of a row, in the scope of row ``n``."""
        call = replace(self.call(n, id), options=options)
        return {verb: await answer(verb, call) for verb in self.verbs(Does.READ)}

    def key(self, id: Any) -> tuple[Any, ...]:
        """Give the parts of an id."""
        return self.info.key(id)

    async def stored(self, id: Any) -> Mapping[str, Any] | None:
        """Give the columns of a row by the names of their attributes; None where there is none."""
        return await self.rows.values(self.key(id))

    async def shown(self, data: Any) -> list[str]:
        """Give what data says otherwise than its row."""
        stored = await self.stored(self.contract.id_of(data))
        if stored is None:
            return ["which is not in the table"]
        both = {name: (getattr(data, name), value) for name, value in stored.items() if hasattr(data, name)}
        return [
            f"whose {name} is {given!r} where the row has {value!r}"
            for name, (given, value) in both.items()
            # A value of another type may be what a team makes of it.
            if given != value and (given is None or type(given) is type(value))
        ]

    async def given(self, verb: str, given: Outcome) -> list[str]:
        """Give what is wrong with data that a verb gave: it is not what is stored, or not what is read."""
        found: list[str] = []
        for data in () if isinstance(given.rows, int) else given.rows:
            found += [f"{verb} gives data {complaint}" for complaint in await self.shown(data)]
            if data != await self.repository.find(self.contract.id_of(data), self.contract.scope(0)):
                found.append(f"{verb} gives other data than find does afterwards")
        return found

    async def is_out_of_order(self, specs: Sequence[Spec[Any]], given: Outcome) -> bool:
        """Say whether a verb that makes rows gives one of them at another's place."""
        if isinstance(given.rows, int):
            return False
        rows = [await self.stored(self.contract.id_of(data)) or {} for data in given.rows]
        pairs = zip(specs, rows, strict=False)  # how many there are is another law's
        is_anothers = any(said(spec, row) and not all(said(other, row) for other in specs) for spec, row in pairs)
        return is_anothers or given.places not in (None, tuple(range(len(specs))))

    def not_found(self, verb: str) -> tuple[type[Exception], str | None]:
        """Give the class of the error that a row is not there, and its code."""
        error = error_of(self.entity.not_found)
        return error, self.code(verb, error)

    def code(self, verb: str, error: type[Exception]) -> str | None:
        """Give the code of a verb's error; None of what is no error of a repository's."""
        if not issubclass(error, RepositoryError):
            return None
        return str(ErrorCode(self.entity.domain, verb, error.detail))


def said(written: Spec[Any] | Patch[Any], stored: Mapping[str, object]) -> list[str]:
    """Give what a row has otherwise than a spec or patch says, SQL aside."""
    return [
        f"{name} is {stored[name]!r} where {value!r} was given"
        for name, value in written.to_values().items()
        if name in stored and not isinstance(value, ClauseElement) and stored[name] != value
    ]
