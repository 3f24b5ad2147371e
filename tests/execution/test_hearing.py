"""Who listens to events: it is looked once, and again as soon as anybody has begun to listen to anything."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import Any

import pytest
from sqlalchemy import Engine, Pool, create_engine, event

from rowsmith.execution.hearing import Hearing

_of_engine = attrgetter("begin", "commit")


class Looking:
    """What is looked at, and how often."""

    def __init__(self) -> None:
        self.looks = 0
        self.hearing = Hearing(self.events, lambda listener: listener is harmless)

    def events(self, of: Any) -> Any:
        self.looks += 1
        return _of_engine(of)


def harmless(*_: Any) -> None: ...


def other(*_: Any) -> None: ...


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = create_engine("sqlite://")
    yield made
    made.dispose()


@pytest.fixture
def looking(engine: Engine) -> Looking:
    """Give what has looked at the engine, where nobody listens."""
    looking = Looking()
    for _ in range(3):
        assert looking.hearing.heard(engine.dispatch) is None
    assert looking.looks == 1
    return looking


@pytest.mark.parametrize("target", [None, Engine], ids=["the engine", "all engines"])
def test_who_begins_to_listen_is_heard_until_he_ends(engine: Engine, looking: Looking, target: Any) -> None:
    """Each time anew, of one object as of a class, however many others begin and end meanwhile."""
    target, elsewhere = target or engine, create_engine("sqlite://")
    for _ in range(3):
        event.listen(elsewhere, "begin", other)
        event.listen(target, "commit", other)
        event.remove(elsewhere, "begin", other)
        event.listen(elsewhere, "begin", other)
        assert looking.hearing.heard(engine.dispatch) == looking.hearing.heard(engine.dispatch) == "commit"
        event.remove(target, "commit", other)
        event.remove(elsewhere, "begin", other)
        assert looking.hearing.heard(engine.dispatch) is looking.hearing.heard(engine.dispatch) is None


def test_who_listens_to_something_else_is_looked_at_once(engine: Engine, looking: Looking) -> None:
    """And so is one who does no harm; once he has ended it is as before."""
    for target, name, listener in ((engine, "rollback", other), (Pool, "checkout", other), (engine, "begin", harmless)):
        before = looking.looks
        event.listen(target, name, listener)
        for _ in range(3):
            assert looking.hearing.heard(engine.dispatch) is None
        assert looking.looks == before + 1
        event.remove(target, name, listener)
        assert looking.hearing.heard(engine.dispatch) is None
        assert looking.looks == before + 1


def test_each_has_looked_himself(engine: Engine, looking: Looking) -> None:
    """What one has found out while nobody new came is no other's, nor that of anything else."""
    heard = create_engine("sqlite://")
    event.listen(heard, "commit", other)
    assert looking.hearing.heard(engine.dispatch) is None
    assert Looking().hearing.heard(heard.dispatch) == "commit"
    assert looking.hearing.heard(heard.dispatch) == "commit"
    assert looking.hearing.heard(engine.dispatch) is None
