"""The project's sessions: ``nox -s demo``, ``nox -s api``, ``nox -s tests``, and what keeps them honest."""

from __future__ import annotations

import os
import shutil
import sys

import nox

# The first that tries a Python before it takes it: pyenv's stand-in for one that is not in use counts as not there.
nox.needs_version = ">=2026.8.10"
# virtualenv comes with nox itself and brings its own pip, so nothing else has to be on the machine.
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
# A Python that is not there is passed over with a word, on CI too, and never downloaded.
nox.options.error_on_missing_interpreters = False
nox.options.download_python = "never"
nox.options.sessions = ["lint", "types", "tests"]

PYPROJECT = nox.project.load_toml("pyproject.toml")

# A core that has nothing left to do takes tests from the others: some take a second, most some milliseconds.
ON_EVERY_CORE = ("-n", "auto", "--dist", "worksteal")


def install(session: nox.Session, *groups: str, extras: str = "") -> None:
    """Build the wheel, install it with `extras`, and bring the dependency groups."""
    needs = nox.project.dependency_groups(PYPROJECT, *groups)
    session.install("--quiet", f".[{extras}]" if extras else ".", *needs)


@nox.session
def demo(session: nox.Session) -> None:
    """Load real data into a PostgreSQL of its own and walk through every operation."""
    install(session, "demo", extras="embedded")
    session.run("python", "-m", "examples.demo", *session.posargs)


@nox.session
def api(session: nox.Session) -> None:
    """Serve the example application on real data, in a PostgreSQL of its own, until it is interrupted."""
    install(session, "api", "demo", extras="embedded")
    session.run("python", "-m", "examples.api", *session.posargs)


PYTHONS = nox.project.python_versions(PYPROJECT)
OWN = "{}.{}".format(*sys.version_info)


@nox.session
def tests(session: nox.Session) -> None:
    """Run all tests against the built wheel, on every core and every Python of the classifiers that is on the machine.

    First on the Python that nox runs on, whichever that is; then on the others, and of those that are not there nox
    says so. ``nox -s tests_on-3.12`` runs them on one.
    """
    run_tests(session)
    for version in PYTHONS:
        if version != OWN:
            session.notify(f"tests_on-{version}")


@nox.session(python=PYTHONS)
def tests_on(session: nox.Session) -> None:
    """Run all tests on one Python."""
    run_tests(session)


def run_tests(session: nox.Session) -> None:
    """Run all tests, or what is asked for, in the session's Python."""
    install(session, "tests", extras="testing")
    bring_servers(session)
    session.run("pytest", *(session.posargs or ["-q", *ON_EVERY_CORE]))


# By the package of Debian's that brings it: the programs, either of which will do, that tests start.
SERVERS = {
    "redis-server": ("redis-server", "valkey-server"),
    "pgbouncer": ("pgbouncer",),
    "prometheus": ("prometheus",),
}


def bring_servers(session: nox.Session) -> None:
    """Install Debian's packages of servers that are missing, if that may be; without one its tests are skipped."""
    missing = [package for package, programs in SERVERS.items() if not any(map(shutil.which, programs))]
    if missing and os.getuid() == 0 and shutil.which("apt-get"):
        quiet, any_end = {"DEBIAN_FRONTEND": "noninteractive"}, range(256)
        bring = ("apt-get", "-qq", "install", "-y", "--no-install-recommends")
        session.run("apt-get", "-qq", "update", external=True, silent=True, success_codes=any_end)
        session.run(*bring, *missing, external=True, silent=True, success_codes=any_end, env=quiet)
    for package in missing:
        if not any(map(shutil.which, SERVERS[package])):
            session.warn(f"{package} is not installed: its tests are skipped")


@nox.session
def coverage(session: nox.Session) -> None:
    """Say which lines and branches no test reaches, and fail where that is more than pyproject.toml allows.

    By ``coverage run``, because pytest loads rowsmith's own plugin before a plugin could measure that. Without the
    tests of the type checkers, which run nothing of rowsmith.
    """
    install(session, "tests", "coverage", extras="testing")
    bring_servers(session)
    session.run("coverage", "erase")
    given = session.posargs or ["-q", *ON_EVERY_CORE, "--ignore=tests/typing"]
    session.run("coverage", "run", "-m", "pytest", *given)
    session.run("coverage", "combine", "-q")
    session.run("coverage", "report")


@nox.session
def lint(session: nox.Session) -> None:
    """Check rules and format."""
    session.install("--quiet", *nox.project.dependency_groups(PYPROJECT, "lint"))
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the source, the examples and a sample of user code with both checkers, strictly."""
    install(session, "types", extras="testing,metrics,otel,redis")
    session.run("mypy", "--strict", *session.posargs)
    session.run("pyright", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure beside hand-written asyncpg, the limit of the wire and other libraries, in one run.

    ``--write`` has it write docs/benchmarks.md, its charts and the README's table; ``--help`` says how to have less.
    """
    install(session, "bench", extras="embedded,metrics")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def bench_caches(session: nox.Session) -> None:
    """Measure a get that a cache answers beside one on the wire and a bare GET of Redis; takes ``--rounds N``."""
    install(session, "bench", extras="embedded,redis")
    bring_servers(session)
    session.run("python", "-m", "benchmarks.caches", *session.posargs)


def prove(session: nox.Session, tests: str, sizes: dict[str, str], *options: str) -> None:
    """Run tests that are small in the suite at another size: ``nox -s fuzz -- 5000000 250000``."""
    install(session, "tests", extras="testing")
    bring_servers(session)
    given = dict(zip(sizes, session.posargs, strict=False))
    session.run("pytest", "-q", *(options or ON_EVERY_CORE), *tests.split(), env={**sizes, **given})


@nox.session
def fuzz(session: nox.Session) -> None:
    """Send random requests and cursors; takes the compiles, the executions on each backend, and the cursors."""
    tests = "tests/filters/test_fuzz.py tests/pagination/test_cursor.py"
    sizes = {"ROWSMITH_FUZZ_COMPILES": "100000", "ROWSMITH_FUZZ_EXECUTIONS": "5000", "ROWSMITH_FUZZ_CURSORS": "10000"}
    prove(session, tests, sizes)


@nox.session
def laws(session: nox.Session) -> None:
    """Try the laws of filters, pages and batches on random tables; takes the filters, keysets and batch programs."""
    tests = "tests/filters/test_filter_laws.py tests/pagination/test_keyset.py tests/test_batch_state_machine.py"
    sizes = {"ROWSMITH_LAW_FILTERS": "4000", "ROWSMITH_EXAMPLES": "1000", "ROWSMITH_PROGRAMS": "200"}
    prove(session, tests, sizes)


@nox.session
def lanes(session: nox.Session) -> None:
    """Have random rows of every type of column go by every lane; takes the rows of each type."""
    tests = "tests/operations/blocks/test_lane_law.py tests/test_two_lanes.py"
    prove(session, tests, {"ROWSMITH_LANE_ROWS": "10000"})


@nox.session
def arguments(session: nox.Session) -> None:
    """Call random verbs with random arguments, right and wrong; takes the calls on each backend, and the seed."""
    prove(session, "tests/test_arguments.py", {"ROWSMITH_ARGUMENTS": "20000", "ROWSMITH_SEED": "1"})


@nox.session
def tenants(session: nox.Session) -> None:
    """Run programs of two tenants over every verb, on rows that inherit too; takes how many on each backend."""
    prove(session, "tests/test_tenant_programs.py", {"ROWSMITH_TENANT_PROGRAMS": "400"})


@nox.session
def ways(session: nox.Session) -> None:
    """Try all cases of which the suite has a share; takes in how many ways each is tried."""
    prove(session, "tests", {"ROWSMITH_WAYS": "3"})


@nox.session
def caches(session: nox.Session) -> None:
    """Read and write through caches at random; takes the steps on each, the deaths of Redis, and tenants' programs.

    A few steps are too few: it is an error if none of them finds anything in the cache, as 120 surely do.
    """
    tests = "tests/cache tests/test_tenant_programs.py"
    sizes = {"ROWSMITH_INTERLEAVINGS": "100000", "ROWSMITH_CACHE_ACCIDENTS": "10", "ROWSMITH_TENANT_PROGRAMS": "400"}
    prove(session, tests, sizes)


@nox.session
def poolers(session: nox.Session) -> None:
    """Run what every verb promises through a PgBouncer in transaction mode; takes its connections, and the programs.

    Without tests of engines of their own, which set a ``search_path`` when they connect: PgBouncer refuses that.
    """
    modules = ("verbs", "scope_law", "tenants", "tenant_programs")
    tests = " ".join(["tests/operations", *(f"tests/test_{module}.py" for module in modules)])
    sizes = {"ROWSMITH_TEST_POOLER": "4", "ROWSMITH_TENANT_PROGRAMS": "100"}
    prove(session, tests, sizes, *ON_EVERY_CORE, "-k", "not bind_of and not their_bind")


@nox.session
def reference(session: nox.Session) -> None:
    """Run all tests with no native lane, by the one that it is held against; takes the programs of two tenants."""
    sizes = {"ROWSMITH_TEST_LANE": "sqlalchemy", "ROWSMITH_TENANT_PROGRAMS": "100"}
    prove(session, "tests examples", sizes, *ON_EVERY_CORE, "-m", "not of_the_native_lane", "--ignore=tests/typing")


@nox.session
def replicas(session: nox.Session) -> None:
    """Read from a standby that is late, and promote one under writers; takes the reads, the lag in ms, the writers."""
    sizes = {"ROWSMITH_LAGGING_READS": "10000", "ROWSMITH_LAG": "5000", "ROWSMITH_PROMOTION_WRITERS": "8"}
    prove(session, "tests/test_promotion.py", sizes, "-p", "no:xdist", "--log-level=INFO", "-rP")


@nox.session
def cancels(session: nox.Session) -> None:
    """Cancel every verb where it waits; takes at how many of its suspension points, 0 for all of them."""
    prove(session, "tests/test_cancellations.py", {"ROWSMITH_CANCELS": "0"})


@nox.session
def faults(session: nox.Session) -> None:
    """Lose COMMITs, kill the server, poison transactions, freeze the network; takes how many of each.

    One after the other and on one core, since it is measured how late deadlines are. All at full size take an hour.
    """
    sizes = {
        "ROWSMITH_LOST": "10000",
        "ROWSMITH_CRASHES": "200",
        "ROWSMITH_POISONED": "10000",
        "ROWSMITH_FREEZES": "200",
        "ROWSMITH_OUTAGE": "10000",
    }
    prove(session, "tests/test_many_faults.py", sizes, "-p", "no:xdist")


@nox.session
def deadlocks(session: nox.Session) -> None:
    """Send batches of every verb, mixed at random, from eight tasks over the same rows; takes how many."""
    prove(session, "tests/test_batch_deadlocks.py", {"ROWSMITH_DEADLOCK_BATCHES": "10000"})


@nox.session
def depth(session: nox.Session) -> None:
    """Read keyset pages deep in a large table and show what PostgreSQL read for them; takes the rows."""
    prove(session, "tests/operations/reads/test_depth.py", {"ROWSMITH_DEPTH": "1000000"})


@nox.session
def dashboard(session: nox.Session) -> None:
    """Have Prometheus answer the dashboard's queries, and draw docs/dashboard.png; root has it installed by apt-get."""
    install(session, "tests", extras="testing")
    session.install("--quiet", "matplotlib>=3.9")
    bring_servers(session)
    picture = {"ROWSMITH_PICTURE": "docs/dashboard.png"}
    session.run("pytest", "-q", "-rs", "tests/examples/test_dashboard.py", env=picture)


@nox.session
def browser(session: nox.Session) -> None:
    """Look at the example application's OpenAPI page in a Chromium of this machine; the picture goes to build/."""
    install(session, "tests", extras="testing")
    session.run("pytest", "-q", "examples/api/browser.py")
