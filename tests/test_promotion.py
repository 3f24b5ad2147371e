"""A standby is late, or is promoted while there is work: no read is older than it may, nothing acknowledged is lost.

Small in the suite; ``nox -s replicas`` takes sizes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count

import pytest
import sqlalchemy as sa

from rowsmith import CommitOutcomeUnknown, Database, DatabaseUnavailable, OptionalState
from rowsmith.testing import FaultProxy, tables
from standby import Pair, pair_of_servers, served
from support import until
from tenants import OwnedBy, ThingPatch, ThingRepository, ThingRow
from verbs import read, spec

logger = logging.getLogger("rowsmith.tests")

A = OwnedBy("a")
WRITERS = int(os.environ.get("ROWSMITH_PROMOTION_WRITERS", "3"))
READS = int(os.environ.get("ROWSMITH_LAGGING_READS", "60"))
LAG = os.environ.get("ROWSMITH_LAG", "100")


@asynccontextmanager
async def behind(pair: Pair) -> AsyncIterator[None]:
    """Have the standby keep what it receives to itself for so many milliseconds."""
    for value in (LAG, "0"):
        async with pair.reader.connect() as connection:
            await connection.execute(sa.text(f"ALTER SYSTEM SET recovery_min_apply_delay = {value}"))
        await pair.tell("SELECT pg_reload_conf()")
        if value != "0":
            yield


async def test_no_read_is_older_than_what_its_reader_wrote(pair: Pair) -> None:
    """Readers that write, in one process and, by tokens, in two; the replica is late all the time."""
    here, there = pair.database(pool_size=10), pair.database(pool_size=10)
    async with tables(here, ThingRow), behind(pair):
        with served(here) as taken:
            reads = await asyncio.gather(*(_write_and_read(here, there, id) for id in range(8)))
        logger.info("%d reads, of %d connections %d to the replica", sum(reads), len(taken), taken.count("replica"))
    for each in (here, there):
        await each.dispose()


async def _write_and_read(here: Database, there: Database, id: int) -> int:
    things, others, reads = ThingRepository(here), ThingRepository(there), 0
    await things.create(spec(id), scope=A)
    for uses in count(2):
        await things.update(id, ThingPatch(uses=OptionalState.update(uses)), scope=A)
        assert (await things.get(id, A)).uses == uses
        assert (await things.search(A, [ThingRow.id == id])).items[0].uses == uses
        assert [one.uses for one in await read(things.stream(A, [ThingRow.id == id]))] == [uses]
        async with there.reading_from(await here.position()):
            assert (await others.get(id, A)).uses == uses
        reads += 4
        if reads >= READS / 8:
            return reads
    raise AssertionError


async def test_writes_go_on_after_a_promotion() -> None:
    """The primary dies under its writers, whose rows the standby has, as a commit waits for it.

    One Database names the addresses of both servers, the other one an address that leads to the new one from then on.
    """
    with pair_of_servers() as pair:
        async with FaultProxy(pair.primary.url()) as proxy, pair.writer.connect() as connection:
            await connection.run_sync(ThingRow.metadata.tables["things"].create)
            await connection.execute(sa.text("ALTER SYSTEM SET synchronous_standby_names = '*'"))
            await connection.execute(sa.text("SELECT pg_reload_conf()"))
            addresses = [pair.database(), Database.from_url(proxy.url, replicas=[pair.standby.url()])]
            kept, stop = [set[int]() for _ in addresses], asyncio.Event()
            async with asyncio.TaskGroup() as writers:
                for place in range(max(2, WRITERS)):
                    writers.create_task(_keep_writing(addresses[place % 2], place, kept[place % 2], stop))
                await until(lambda: _has_more(kept, [5 * WRITERS] * 2))
                await asyncio.to_thread(pair.primary.stop)
                await asyncio.to_thread(pair.standby.promote)
                promoted, before = time.monotonic(), [len(each) for each in kept]
                proxy.redirect(pair.standby.url())
                await until(lambda: _has_more(kept, before))
                took = time.monotonic() - promoted
                await until(lambda: _has_more(kept, [each + 5 * WRITERS for each in before]))
                stop.set()
            for db, ids in zip(addresses, kept, strict=True):
                found = {one.id for one in await read(ThingRepository(db).stream(A))}
                logger.info("%d kept, %d lost, both write again after %.2f s", len(ids), len(ids - found), took)
                assert ids <= found
                await db.dispose()


def _reads(proxy: FaultProxy) -> int:
    return sum(text.startswith("SELECT things.") for text in proxy.seen)


async def test_a_primary_that_comes_back_as_a_standby_is_read_from(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its address was given as the primary's only; until then nobody speaks of it."""
    monkeypatch.setattr("rowsmith.replicas.RETURN", 0.0)
    async with FaultProxy(pair.primary.url()) as first, FaultProxy(pair.standby.url()) as second:
        db = Database.from_url(first.url, replicas=[second.url])
        async with tables(Database.from_url(pair.primary.url(), poolclass=sa.NullPool), ThingRow):
            things = ThingRepository(db)
            await things.create(spec(1), scope=A)
            await pair.caught_up()
            await things.get(1, A)
            assert [record.getMessage() for record in caplog.records if record.name == "rowsmith.replicas"] == []
            for proxy, url in ((first, pair.standby.url()), (second, pair.primary.url())):
                proxy.redirect(url)
                proxy.cut()
                proxy.seen.clear()

            async def is_read_from() -> bool:
                with suppress(DatabaseUnavailable):
                    assert (await things.get(1, A)).uses == 1
                return _reads(first) > 0

            await until(is_read_from)
            await things.update(1, ThingPatch(uses=OptionalState.update(7)), scope=A)
            assert (await things.get(1, A)).uses == 7
        await db.dispose()


async def _keep_writing(db: Database, place: int, kept: set[int], stop: asyncio.Event) -> None:
    """Make things one after the other, and read each again; note which were acknowledged."""
    things = ThingRepository(db)
    for id in count(place, max(2, WRITERS)):
        if stop.is_set():
            return
        try:
            await things.create(spec(id), scope=A)
            kept.add(id)
            await things.get(id, A)
        except (DatabaseUnavailable, CommitOutcomeUnknown):
            await asyncio.sleep(0.02)


async def _has_more(kept: list[set[int]], than: list[int]) -> bool:
    return all(len(ids) > number for ids, number in zip(kept, than, strict=True))
