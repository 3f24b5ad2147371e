"""The benchmark of caches: what it measures is answered by them, and its goals are said to be kept or missed."""

from __future__ import annotations

from redis.asyncio import Redis
from sqlalchemy import URL

from benchmarks.caches import BESIDE, MOST_CALLS, Taken, lines, measure
from benchmarks.data import Server as Database
from redis_server import Server


async def test_each_is_measured_beside_another(rowsmith_url: URL, server: Server, client: Redis) -> None:
    """All that is asked for comes from the caches, which the run looks at itself; calls are those that it may take."""
    await client.set("bare", "of another run")
    taken = await measure(Database.at(rowsmith_url, pool=2), server.socket, rounds=3, calls=2)
    assert set(BESIDE) <= set(taken)
    assert {name for name, one in taken.items() if one.ratio is not None} == set(BESIDE)
    assert all(one.time > 0 for one in taken.values())
    assert all(taken[name].calls <= most for name, most in MOST_CALLS.items())


def test_a_goal_that_is_missed_is_told() -> None:
    """By time, and by calls."""
    shown = "".join(
        lines({"get from memory": Taken(9.0, 101, (0.1, 0.2, 0.3)), "get from Redis": Taken(9.0, 1, (1.2, 1.4, 1.6))})
    )
    assert "0.20 (0.10 to 0.30) of a get on the wire, goal 0.25: kept, 100 calls: missed" in shown
    assert "1.40 (1.20 to 1.60) of a bare GET, goal 1.3: missed" in shown
