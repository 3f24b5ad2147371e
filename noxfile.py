"""The project's sessions: ``nox -s demo``, ``nox -s tests``, and what keeps them honest."""

from __future__ import annotations

import nox

nox.needs_version = ">=2025.2.9"
# virtualenv comes with nox itself and brings its own pip, so nothing else has to be on the machine.
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "tests"]

PYPROJECT = nox.project.load_toml("pyproject.toml")


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
def tests(session: nox.Session) -> None:
    """Run all tests against the built wheel, on every core."""
    install(session, "tests", extras="testing")
    session.run("pytest", *(session.posargs or ["-q", "-n", "auto"]))


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
    """Measure against hand-written asyncpg and the limit of the wire, in one run."""
    install(session, "bench", extras="embedded")
    session.run("python", "-m", "benchmarks", *session.posargs)
