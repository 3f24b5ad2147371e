"""Which rows a verb writes: noted in its session, for those who keep copies of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, cast

from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith.errors import InvalidValue, kind_of
from rowsmith.mapping import RowInfo, row_info
from rowsmith.operations.entity import Entity
from rowsmith.operations.results import BatchResult, PartialResult, Upserted
from rowsmith.touched import Ids, Writing, note


async def noting(
    entity: Entity[object, object], verb: Any, run: Any, db_sess: AsyncSession, /, *args: Any, **kwargs: Any
) -> Any:
    """Run a verb that writes, or what stands for it, and note in its session what it does.

    Where that is not known, it may be any row.

    It is noted before the verb runs, as it may fail half-way in a unit of work that goes on; which rows it made is
    known only afterwards.
    """
    touches = getattr(verb, "touches", None)
    writing = _writing(entity.info, makes=touches == "new", removes=getattr(verb, "removes", True))
    is_known_after = touches in ("made", "new")
    if not is_known_after:
        note(db_sess, writing, given_ids(touches, args))
    try:
        result = await run(db_sess, *args, **kwargs)
    except BaseException:
        if is_known_after:
            note(db_sess, writing, None)
        raise
    made = made_ids(entity, result)
    if is_known_after or made:  # an update may give a row another key
        note(db_sess, writing, made)
    return result


def note_new(db_sess: AsyncSession, row: type[object]) -> None:
    """Note that a session makes rows of a class, whose keys nobody is told."""
    note(db_sess, _writing(row_info(row), makes=True, removes=False), None)


def any_writing(entity: Entity[object, object]) -> Writing:
    """Say what is done to rows of an entity where that is not known: it may be anything."""
    return _writing(entity.info, makes=False, removes=True)


def _writing(info: RowInfo[object], *, makes: bool, removes: bool) -> Writing:
    return Writing(
        [part.table.fullname for part in info.all_parts], info.mapper.primary_key, makes=makes, removes=removes
    )


def given_ids(touches: str | None, args: Sequence[object]) -> Ids:
    """Give the ids that a verb is given; None where they are not plainly there."""
    if not args or touches is None:
        return None
    if touches == "id":
        return [args[0]]
    return list(cast("Iterable[Any]", args[0])) if isinstance(args[0], _LISTS) else None


_LISTS: Final = (Mapping, AbstractSet, list, tuple)
"""What ids are given in; of a mapping they are the keys."""


def made_ids(entity: Entity[object, object], result: object) -> Ids:
    """Give the ids of the rows that a verb gives; None where its data does not have them as the row does."""
    if entity.shape.is_row:
        return None
    try:
        keys = [tuple(getattr(data, name) for name in entity.info.primary_key) for data in _data_in(result)]
    except AttributeError:
        return None
    return [key if key[1:] else key[0] for key in keys]


def _data_in(result: object) -> Iterator[Any]:
    """Give the data in a result of a verb, of whichever kind that is."""
    given: Any = result  # of whichever of the kinds it is
    items: Iterable[Any] = (given,)
    if isinstance(result, PartialResult):
        items = given.data
    elif isinstance(result, BatchResult):
        items = given.succeeded
    elif isinstance(result, list):
        items = given
    for item in items:
        upserted: Any = item
        yield upserted.data if isinstance(item, Upserted) else upserted


def check_ids(ids: object) -> None:
    """Refuse what is no list of keys.

    Raises:
        InvalidValue: it is not.
    """
    if ids is not None and not isinstance(ids, _LISTS):
        raise InvalidValue(f"ids is a list of keys, not {kind_of(ids)}: write invalidate([id])")
