"""Rows of a call's own: a session beside another, in its transaction, with all its listeners, and none of its objects.

A session has one object for each row, and whatever reads the row sets anew what that relates to. Rows that only data is
made of are read beside the session, so that what one call is shown is shown to nobody else who holds the row.

It could be a new session on the same connection (without the listeners, the class and the ways of the first), or the
session itself with another identity map for a while (which a stream would have to change at each of its steps). It is a
copy of the session, as it is at each statement, that keeps only its rows for itself.
"""

from __future__ import annotations

from copy import copy
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.session import _new_sessionid, _sessions  # pyright: ignore[reportPrivateUsage]

from rowsmith.execution.driver import connection_of
from rowsmith.execution.execute import flush
from rowsmith.execution.origin import Origin
from rowsmith.mapping.unchanged import BESIDE


class OwnRows:
    """What a call reads the rows in that it makes data of; they are in a session as long as this is there.

    Args:
        db_sess: the session that the call is made in.
    """

    def __init__(self, db_sess: AsyncSession) -> None:
        self._db_sess = db_sess
        self._own: Any = None

    async def session(self, origin: Origin) -> AsyncSession:
        """Give the session for a statement, with which all is written that the other holds unflushed.

        Raises:
            RepositoryError: that could not be written, or there is no connection to be had.
        """
        db_sess = self._db_sess
        await flush(db_sess, origin)
        known: Any = db_sess.sync_session
        if known._transaction is None:
            await connection_of(db_sess, origin)  # which begins: the transaction is one for both
        if self._own is None:
            self._own = copy(db_sess)
            sync: Any = copy(known)
            self._own.sync_session = self._own._proxied = self._own._assign_proxied(sync)
            sync.identity_map, sync._new, sync._deleted = type(sync.identity_map)(), {}, {}
            sync.hash_key = _new_sessionid()
            _sessions[sync.hash_key] = sync
            setattr(sync, BESIDE, known)
        own: AsyncSession = self._own
        sync = own.sync_session
        sync._transaction, sync._nested_transaction = known._transaction, known._nested_transaction
        sync._close_state = known._close_state
        return own

    def forget(self) -> None:
        """Have what was read until now be read anew where it is met again."""
        if self._own is not None:
            for row in [*self._own.identity_map.values()]:
                if row in self._own:  # and not gone with another one
                    self._own.expunge(row)
