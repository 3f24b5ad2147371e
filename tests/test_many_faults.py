"""Faults one after the other, as many as are asked for: what is told is true of each, and nothing is lost or doubled.

Small in the suite; ``nox -s faults`` takes the sizes, and prints what was counted and measured.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from rowsmith import (
    CommitOutcome,
    Database,
    DatabaseUnavailable,
    DeadlineExceeded,
    RepositoryError,
    TransactionError,
    commit_outcome,
)
from rowsmith.embedded import EmbeddedPostgres
from rowsmith.idempotency import IdempotencyKeyRow
from rowsmith.resilience import Policy, Resilience, RetryArgs, RetryPolicy
from rowsmith.testing import FaultProxy, WithFaults, WithTables, tables
from support import checked_out
from tenants import TokenCreate, TokenRepository, TokenRow

LOST = int(os.environ.get("ROWSMITH_LOST", "4"))
"""How many requests for a COMMIT, and how many answers to one, are lost with a key and without."""
CRASHES = int(os.environ.get("ROWSMITH_CRASHES", "1"))
POISONED = int(os.environ.get("ROWSMITH_POISONED", "12"))
FREEZES = int(os.environ.get("ROWSMITH_FREEZES", "5"))
OUTAGE = int(os.environ.get("ROWSMITH_OUTAGE", "60"))
"""How many calls are made while there is no server."""

MEASURED = 100
"""From this many freezes on, it is held to a limit how late deadlines are; in the suite nothing is timed."""
AT_ONCE = Resilience([RetryPolicy(RetryArgs(retry_delay=0, budget=None))])
NOBODY_KNOWS = "rowsmith.execution.committing.RESOLVING"


async def rows_of(db: Database) -> Counter[str]:
    """Count the rows by their labels."""
    async with db.begin_readonly_session() as session:
        return Counter((await session.execute(sa.select(TokenRow.label))).scalars())


def untrue(told: dict[str, CommitOutcome], rows: Counter[str]) -> list[str]:
    """Give the labels of rows of which something else was told than what is."""
    allowed = {CommitOutcome.COMMITTED: {1}, CommitOutcome.NOT_COMMITTED: {0}, CommitOutcome.UNKNOWN: {0, 1}}
    return [label for label, outcome in told.items() if rows[label] not in allowed[outcome]]


def say(capsys: pytest.CaptureFixture[str], what: str, figures: object) -> None:
    """Show figures to who runs it at a size."""
    if "ROWSMITH_LOST" in os.environ:
        with capsys.disabled():
            print(f"\n{what}: {figures}")  # noqa: T201


async def outcome_of(call: Awaitable[Any]) -> CommitOutcome:
    try:
        await call
    except RepositoryError as exc:
        return commit_outcome(exc)
    return CommitOutcome.COMMITTED


@pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "unkeyed"])
@pytest.mark.parametrize("drop", [FaultProxy.drop_answer, FaultProxy.drop_request], ids=["answer", "request"])
async def test_lost_commits(
    with_faults: WithFaults,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    drop: Callable[[FaultProxy, str], None],
    keyed: bool,
) -> None:
    """Each is resolved, or unknown where nobody can be asked; with a key there is one row; without, one COMMIT."""
    told: dict[str, CommitOutcome] = {}
    async with with_faults(TokenRow, IdempotencyKeyRow, pool_size=2) as (db, proxy):
        tokens = TokenRepository(db, resilience=AT_ONCE)
        for number in range(LOST):
            label = f"{number}"
            monkeypatch.setattr(NOBODY_KNOWS, 60 * (number % 2))
            proxy.seen.clear()
            drop(proxy, "COMMIT")
            told[label] = await outcome_of(tokens.create(TokenCreate(label), idempotency_key=label if keyed else None))
            is_certain = number % 2 == 1 and drop is not FaultProxy.drop_answer
            commits = sum("COMMIT" in statement for statement in proxy.seen)
            assert commits == (1 if not (keyed and number % 2 == 0) and not is_certain else 2)
        assert untrue(told, await rows_of(db)) == []
    tally = Counter(told.values())
    assert tally[CommitOutcome.COMMITTED] == (LOST if keyed else LOST // 2)
    assert tally[CommitOutcome.NOT_COMMITTED] == 0
    say(capsys, f"lost {drop.__name__} keyed={keyed}", dict(tally))


class Crashing:
    """A server that is killed with all its processes, and comes back on the same data."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.start()

    @property
    def url(self) -> sa.URL:
        return self._server.url()

    def start(self) -> None:
        # Its own log stays unwritten for as long as nobody commits, so that a crash loses what it can.
        self._server = EmbeddedPostgres(self._folder, settings={"wal_writer_delay": "10s"}).start()

    def crash(self) -> None:
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        parents = dict(map(int, line.split()) for line in listed.splitlines())
        for pid in [*(pid for pid, parent in parents.items() if parent == self._server.pid), self._server.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._server.stop()


@pytest.fixture(scope="module")
def crashing() -> Iterator[Crashing]:
    folder = Path(tempfile.mkdtemp(prefix="rs-"))
    server = Crashing(folder / "data")
    yield server
    server.crash()
    shutil.rmtree(folder)


@pytest.fixture
async def direct(crashing: Crashing) -> AsyncIterator[Database]:
    db = Database.from_url(crashing.url, pool_size=8)
    async with tables(db, TokenRow, IdempotencyKeyRow):
        yield db
    await db.dispose()


async def test_an_id_that_a_crashed_server_gives_again_is_not_believed(
    crashing: Crashing, direct: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is another transaction's that was committed; nothing is kept of the one that is asked for."""
    monkeypatch.setattr(NOBODY_KNOWS, 60)
    async with FaultProxy(crashing.url) as proxy:
        tokens = TokenRepository(Database.from_url(proxy.url), resilience=None)
        proxy.delay("COMMIT", 3600)
        writing = asyncio.create_task(outcome_of(tokens.create(TokenCreate("lost"))))
        while not any("COMMIT" in statement for statement in proxy.seen):  # noqa: ASYNC110
            await asyncio.sleep(0)
        await proxy.refuse()
        await asyncio.to_thread(crashing.crash)
        await asyncio.to_thread(crashing.start)
        others = TokenRepository(direct)
        for number in range(5):
            await others.create(TokenCreate(f"{number}"))
        await proxy.accept()
        assert await writing is CommitOutcome.NOT_COMMITTED
        assert (await rows_of(direct))["lost"] == 0
        await tokens.db.dispose()


async def test_a_server_that_is_killed_under_load(
    crashing: Crashing, direct: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No row that was acknowledged is lost, none is doubled, every outcome is found out, and the next write works."""
    monkeypatch.setattr(NOBODY_KNOWS, 60)
    tokens, told, ended = TokenRepository(direct), dict[str, CommitOutcome](), asyncio.Event()
    acknowledged = Counter[int]()

    async def write(writer: int) -> None:
        number = 0
        while not ended.is_set():
            number += 1
            label = f"{writer}-{number}"
            key = label if writer % 2 else None
            told[label] = outcome = await outcome_of(tokens.create(TokenCreate(label), idempotency_key=key))
            acknowledged[writer] += outcome is CommitOutcome.COMMITTED
            if outcome is not CommitOutcome.COMMITTED:
                await asyncio.sleep(0.01)

    async def all_have_written(more: int) -> None:
        goal = {writer: acknowledged[writer] + more for writer in range(8)}
        while any(acknowledged[writer] < rows for writer, rows in goal.items()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        for writer in range(8):
            group.create_task(write(writer))
        for _ in range(CRASHES):
            await all_have_written(random.randint(1, 4))
            await asyncio.to_thread(crashing.crash)
            await asyncio.to_thread(crashing.start)
        await all_have_written(1)
        ended.set()
    rows, tally = await rows_of(direct), Counter(told.values())
    assert untrue(told, rows) == []
    assert tally[CommitOutcome.UNKNOWN] == 0
    assert not [label for label, count in rows.items() if count > 1]
    assert checked_out(direct) == 0
    say(capsys, f"{CRASHES} crashes under 8 writers", {outcome.name: count for outcome, count in tally.items()})


async def fail_in_session(db: Database, label: str) -> None:
    async with db.begin_session() as session:
        session.add(TokenRow(label=label))
        await session.flush()
        with suppress(Exception):
            await session.execute(sa.text("SELECT 1 / 0"))


async def fail_in_unit(db: Database, label: str) -> None:
    async with db.unit_of_work():
        row = await TokenRepository(db).create(TokenCreate(label))
        with suppress(Exception):
            await TokenRepository(db).update(2**40 + row.id, TokenCreate(label))  # type: ignore[arg-type]
        with suppress(Exception):
            await TokenRepository(db).create(TokenCreate("\x00"))
        async with db.begin_session() as session:
            with suppress(Exception):
                await session.execute(sa.text("INSERT INTO tokens (id) VALUES (NULL)"))


async def fail_underneath(db: Database, label: str) -> None:
    async with db.begin_session() as session:
        await session.execute(sa.insert(TokenRow).values(label=label, token=uuid.uuid4()))
        raw = await (await session.connection()).get_raw_connection()
        driver: Any = raw.driver_connection
        with suppress(Exception):
            await driver.execute("SELECT 1 / 0")


async def roll_back_by_hand(db: Database, label: str) -> None:
    async with db.begin_session() as session:
        await session.execute(sa.insert(TokenRow).values(label=label, token=uuid.uuid4()))
        await session.execute(sa.text("ROLLBACK"))


POISONS = [fail_in_session, fail_in_unit, fail_underneath, roll_back_by_hand]


async def test_poisoned_transactions(with_tables: WithTables, capsys: pytest.CaptureFixture[str]) -> None:
    """None ends as if all were well: whoever swallowed the error, the block says that nothing was committed."""
    silent = 0
    async with with_tables(TokenRow) as db:
        for number in range(POISONED):
            try:
                await POISONS[number % len(POISONS)](db, f"{number}")
                silent += 1
            except TransactionError:
                pass
        assert await rows_of(db) == Counter()
    assert silent == 0
    say(capsys, f"{POISONED} poisoned transactions", f"{silent} silent")


PLACES = ["connect", "begin", "statement", "commit", "rollback"]


async def test_frozen_networks(with_faults: WithFaults, capsys: pytest.CaptureFixture[str]) -> None:
    """Wherever it freezes, the call ends by its deadline, its connection is given up, and the next call works."""
    late = list[float]()
    clock = asyncio.get_running_loop().time
    async with with_faults(TokenRow, pool_size=1, max_overflow=0) as (plain, proxy):
        db, spare = Database(plain.engine, deadline=0.3), TokenRepository(plain)
        for number in range(FREEZES):
            place = PLACES[number % len(PLACES)]
            if place == "connect":
                await plain.dispose()
            else:
                await spare.create(TokenCreate("before"))
            started = clock()
            raised = list[str]()
            with pytest.raises((KeyError, DeadlineExceeded)) as ended:
                await work(db, proxy, place, raised.append)
            assert ended.type is (KeyError if raised else DeadlineExceeded)
            late.append(clock() - started - 0.3)
            assert checked_out(plain) == 0
            proxy.thaw()
        await spare.create(TokenCreate("after"))
    late.sort()
    p99 = late[int(len(late) * 0.99)]
    say(
        capsys, f"{FREEZES} freezes", f"median {late[len(late) // 2]:.4f} s, p99 {p99:.4f} s, max {late[-1]:.4f} s late"
    )
    assert FREEZES < MEASURED or p99 < 0.05


async def work(db: Database, proxy: FaultProxy, place: str, raising: Callable[[str], None]) -> None:
    """Write, while the network freezes somewhere; where time is over before, that is as good a place."""
    if place in ("connect", "begin"):
        proxy.freeze()
    async with db.begin_session() as session:
        await session.execute(sa.insert(TokenRow).values(label="during", token=uuid.uuid4()))
        if place in ("statement", "rollback"):
            proxy.freeze()
        if place == "rollback":
            raising(place)
            raise KeyError
        await session.execute(sa.insert(TokenRow).values(label="during", token=uuid.uuid4()))
        if place == "commit":
            proxy.freeze()


class Tries(Policy):
    """Counts the tries that come through it."""

    made = 0

    async def run(self, operation: Any, work: Any) -> Any:
        self.made += 1
        return await work()


async def test_an_outage(with_faults: WithFaults, capsys: pytest.CaptureFixture[str]) -> None:
    """It adds a tenth to the load, each who waits is told within his deadline, and the next call works."""
    tries, retry = Tries(), RetryPolicy(RetryArgs(retry_delay=0))
    burst = retry.args.budget.burst if retry.args.budget else 0
    async with with_faults(TokenRow, pool_size=5, max_overflow=0, pool_timeout=3600) as (plain, proxy):
        db = Database(plain.engine, deadline=60)
        tokens = TokenRepository(db, resilience=Resilience([retry, tries]))
        await tokens.count()
        await proxy.refuse()
        proxy.cut()
        tries.made = 0
        left = iter(range(OUTAGE))

        async def call() -> None:
            for _ in left:
                with pytest.raises(DatabaseUnavailable):
                    await tokens.count()

        async with asyncio.TaskGroup() as group:
            for _ in range(100):
                group.create_task(call())
        assert OUTAGE < tries.made <= 1.1 * OUTAGE + burst
        await proxy.accept()
        await tokens.create(TokenCreate("after"))
        assert await tokens.count() == 1
    say(capsys, f"{OUTAGE} calls in an outage", f"{tries.made} tries")
