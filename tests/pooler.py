"""A PgBouncer of the tests' own: ``with pooler(url) as behind``."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import URL

from rowsmith.embedded import SYSTEM_USER
from rowsmith.testing.fixtures import Server

BINARY = shutil.which("pgbouncer")


@contextmanager
def pooler(target: URL, *, mode: str = "transaction", connections: int = 2) -> Iterator[URL]:
    """Give the URL of a database behind a PgBouncer; where there is none on the machine, skip, but never in CI.

    Args:
        target: the database itself.
        mode: for how long a client has a connection of the server's: ``session``, ``transaction`` or ``statement``.
        connections: how many of them there are for all clients.
    """
    if BINARY is None:
        if os.environ.get("CI"):
            pytest.fail("pgbouncer is not installed: apt-get install pgbouncer")
        pytest.skip("pgbouncer is not installed: apt-get install pgbouncer")
    is_root = os.geteuid() == 0  # as which it refuses to run
    with tempfile.TemporaryDirectory(prefix="pooler") as name:  # a socket's path is short
        folder = Path(name)
        config = folder / "pgbouncer.ini"
        config.write_text(_config(Server(target), folder, mode, connections))
        if is_root:
            for path in (folder, config):
                shutil.chown(path, SYSTEM_USER)
        process = subprocess.Popen([BINARY, "-q", str(config)], user=SYSTEM_USER if is_root else None)
        try:
            _wait_for(folder, process)
            yield target.set(host=None, port=None, query={"host": str(folder), "port": "6432"})
        finally:
            process.kill()
            process.wait()


def _config(server: Server, folder: Path, mode: str, connections: int) -> str:
    password = f" password={server.password}" if server.password else ""
    return f"""
        [databases]
        * = host={server.host} port={server.port} user={server.user}{password}
        [pgbouncer]
        listen_addr =
        unix_socket_dir = {folder}
        auth_type = any
        admin_users = pgbouncer
        pool_mode = {mode}
        default_pool_size = {connections}
        max_client_conn = 1000
        logfile = {folder / "log"}
    """


def _wait_for(folder: Path, process: subprocess.Popen[bytes]) -> None:
    for _ in range(6000):
        try:
            psycopg.connect(host=str(folder), port=6432, dbname="pgbouncer", user="pgbouncer", autocommit=True).close()
            return
        except psycopg.OperationalError:
            assert process.poll() is None, "pgbouncer ended"
            time.sleep(0.01)
    raise AssertionError("pgbouncer does not answer")
