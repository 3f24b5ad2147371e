"""Pausing the garbage collector."""

from __future__ import annotations

import asyncio
import gc

import pytest

from rowsmith.operations.blocks import collector
from rowsmith.operations.blocks.collector import collector_paused


async def test_the_collector_rests_and_comes_back() -> None:
    """Whatever the block raises."""
    with pytest.raises(LookupError), collector_paused():
        assert not gc.isenabled()
        raise LookupError
    assert gc.isenabled()


async def test_batches_at_the_same_time_share_the_first_ones_pause() -> None:
    """Its end is everybody's, so that overlapping batches cannot keep the collector off."""
    with collector_paused(), collector_paused():
        assert not gc.isenabled()
    first, second = collector_paused(), collector_paused()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert gc.isenabled()
    second.__exit__(None, None, None)
    assert gc.isenabled()


async def test_a_pause_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that waits for a lock does not keep the collector off for as long as that takes."""
    monkeypatch.setattr(collector, "LONGEST", 0.01)
    with collector_paused():
        await asyncio.sleep(0.05)
        assert gc.isenabled()


async def test_an_application_without_a_collector_keeps_it_so() -> None:
    """What was off before stays off."""
    gc.disable()
    try:
        with collector_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
