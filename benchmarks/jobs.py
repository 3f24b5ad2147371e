"""The work: what each contender is asked to do, with which arguments, and what of the results has to agree.

A job calls one method of :class:`~benchmarks.contenders.contender.Contender`. Its arguments are made anew before each
sample, outside of what is timed; those of a job that writes put the tables back first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, cycle, islice
from random import Random
from typing import Any, Literal

from benchmarks.contenders.contender import Contender
from benchmarks.data import PAGE, SEARCH, Change
from benchmarks.world import Sizes, World, known_rows, new_rows

DOMAINS = 5
"""Tenants whose pages are read, one after the other."""

Given = Sequence[tuple[Any, ...]]
"""The arguments of each call."""

Kind = Literal["single", "page", "batch", "concurrent"]


@dataclass(frozen=True)
class Stage:
    """Where one sample of a job is taken: whose, on which tables, how much of it."""

    contender: Contender
    world: World
    sizes: Sizes
    seed: int = 0

    def some(self, count: int, below: int) -> list[int]:
        """Give different ids, the same for everybody."""
        return Random(self.seed).sample(range(1, below + 1), min(count, below))  # noqa: S311 - no secret


Arguments = Callable[[Stage], Awaitable[Given]]
Run = Callable[["Job", Contender, Given], Awaitable[list[Any]]]


async def in_turn(job: Job, contender: Contender, given: Given) -> list[Any]:
    """Make one call after the other."""
    method = getattr(contender, job.method)
    return [await method(*arguments) for arguments in given]


def by_tasks(number: int) -> Run:
    """Make the calls from several tasks at once, each one after the other; a call names its method first."""

    async def run(_: Job, contender: Contender, given: Given) -> list[Any]:
        async def some(first: int) -> list[Any]:
            return [await getattr(contender, method)(*rest) for method, *rest in given[first::number]]

        return list(chain.from_iterable(await asyncio.gather(*map(some, range(number)))))

    return run


async def consume(job: Job, contender: Contender, given: Given) -> list[Any]:
    """Read a stream to its end, and give its first rows and how many there were."""
    count, first = 0, []
    async for row in contender.stream(*given[0]):
        count += 1
        if count <= PAGE:
            first.append(row)
    return [first, count]


@dataclass(frozen=True)
class Job:
    """One kind of work."""

    name: str
    method: str
    arguments: Arguments
    kind: Kind = "single"
    run: Run = in_turn
    changes: str | None = None
    """The table that it changes, whose rows have to agree afterwards."""
    unlike: frozenset[str] = frozenset()
    """Columns in which contenders differ, since server or client make them: ids that are drawn, the time of now."""
    is_long: bool = False
    """It takes seconds, and is left to contenders that differ in it."""


# Arguments


async def ids(stage: Stage) -> Given:
    return [(id_,) for id_ in stage.some(stage.sizes.calls, stage.world.sizes.groups)]


async def scoped_ids(stage: Stage) -> Given:
    return [(id_, stage.world.domain(id_)) for (id_,) in await ids(stage)]


async def names(stage: Stage) -> Given:
    return [(stage.world.domain(id_), f"group {id_}") for (id_,) in await ids(stage)]


def domains(stage: Stage) -> Iterator[str]:
    """Give a domain for each call, by turns."""
    return islice(cycle({stage.world.domain(number): None for number in range(DOMAINS)}), stage.sizes.calls)


async def second_pages(stage: Stage) -> Given:
    after = {domain: (await stage.contender.page(domain, None))[1] for domain in set(domains(stage))}
    return [(domain, after[domain]) for domain in domains(stage)]


async def searched_pages(stage: Stage) -> Given:
    after = {domain: (await stage.contender.filtered(domain, SEARCH, None))[1] for domain in set(domains(stage))}
    return [(domain, SEARCH, after[domain]) for domain in domains(stage)]


async def offsets(stage: Stage) -> Given:
    return [(domain, SEARCH, PAGE) for domain in domains(stage)]


async def searches(stage: Stage) -> Given:
    return [(domain, SEARCH) for domain in domains(stage)]


async def new(stage: Stage) -> Given:
    await stage.world.renew()
    return [(values,) for values in new_rows(stage.sizes.calls, stage.world.domains)]


async def changes_of(stage: Stage) -> Given:
    return [(change(id_),) for id_ in await stage.world.renew(stage.sizes.calls)]


async def own_ids(stage: Stage) -> Given:
    return [(id_,) for id_ in await stage.world.renew(stage.sizes.calls)]


async def half_new(stage: Stage) -> Given:
    return [(values,) for values in await half_there(stage, stage.sizes.calls)]


async def half_there(stage: Stage, count: int) -> list[Any]:
    """Give values of new groups and of such as are there, by turns."""
    there = await stage.world.renew(count // 2)
    old = [(stage.world.domain(id_), f"group {id_}", 7, f"note {id_}") for id_ in there]
    fresh = list(new_rows(count - len(old), stage.world.domains))
    return [row for pair in zip(old, fresh, strict=False) for row in pair] + fresh[len(old) :]


def change(id_: int) -> Change:
    """Say what an update sets."""
    return Change(id_, id_ % 1000 + 1, None if id_ % 3 == 0 else f"note {id_}")


async def many_ids(stage: Stage) -> Given:
    keys = stage.some(stage.sizes.keys, stage.world.sizes.groups)
    return [(keys,)] * max(stage.sizes.calls // 20, 1)


async def many_new(stage: Stage) -> Given:
    await stage.world.refill("bench_numbered")
    return [(list(new_rows(stage.sizes.known, 50)),)]


async def many_known(stage: Stage) -> Given:
    await stage.world.refill("bench_plain")
    return [([tuple(vars(row).values()) for row in known_rows(stage.sizes.known)],)]


async def batch_ids(stage: Stage) -> Given:
    rows = stage.sizes.table
    await stage.world.refill("bench_numbered", rows)
    return [(stage.some(stage.sizes.batch, rows),)]


async def batch_ids_and_weight(stage: Stage) -> Given:
    return [(*(await batch_ids(stage))[0], 7)]


async def batch_changes(stage: Stage) -> Given:
    return [([change(id_) for id_ in (await batch_ids(stage))[0][0]],)]


async def batch_half_new(stage: Stage) -> Given:
    return [(await half_there(stage, stage.sizes.batch),)]


def events_after(share: float) -> Arguments:
    """Ask for the events that come after such a share of all, or after the first page."""

    async def arguments(stage: Stage) -> Given:
        before = int(stage.world.sizes.events * share) or PAGE - 1
        after = await stage.contender.place(await stage.world.event(before), before)
        return [(after,)] * stage.sizes.calls

    return arguments


async def all_events(stage: Stage) -> Given:
    return [(min(stage.sizes.events, stage.world.sizes.events * 10 // 11),)]


async def gets(stage: Stage) -> Given:
    found = stage.some(stage.sizes.mixed, stage.world.sizes.groups)
    return [("get", id_) for id_ in (found * stage.sizes.mixed)[: stage.sizes.mixed]]


async def gets_and_updates(stage: Stage) -> Given:
    own = await stage.world.renew(stage.sizes.mixed // 5)
    updates = [("update", change(id_)) for id_ in own]
    calls = [*(await gets(stage))[: stage.sizes.mixed - len(updates)], *updates]
    Random(stage.seed).shuffle(calls)  # noqa: S311 - no secret
    return calls


DRAWN = frozenset({"id", "created_at"})
MARKED = frozenset({"deleted_at"})

paged = partial(Job, kind="page")
written = partial(Job, changes="bench_groups")
batched = partial(Job, kind="batch", changes="bench_numbered")
at_once = partial(Job, kind="concurrent")

JOBS = [
    Job("get", "get", ids),
    Job("get in a scope", "get_scoped", scoped_ids),
    Job("find by a unique key", "find", names),
    paged("page of 100, keyset, scope", "page", second_pages),
    paged("page with three filters, keyset", "filtered", searched_pages),
    paged("page with three filters, offset", "offset", offsets),
    paged("exact count with three filters", "count", searches),
    written("create", "create", new, unlike=DRAWN),
    written("update", "update", changes_of),
    written("upsert", "upsert", half_new, unlike=DRAWN),
    written("delete (soft)", "delete", own_ids, unlike=MARKED),
    written("purge", "purge", own_ids),
    batched("batch_get of 1,000", "batch_get", many_ids, changes=None),
    batched("batch_create, all known", "batch_create_known", many_known, changes="bench_plain", is_long=True),
    batched("load", "load", many_known, changes="bench_plain", is_long=True),
    batched("batch_create, ids by the server", "batch_create", many_new, unlike=DRAWN, is_long=True),
    batched("batch_update", "batch_update", batch_ids_and_weight),
    batched("batch_update_each", "batch_update_each", batch_changes),
    batched("batch_upsert", "batch_upsert", batch_half_new, changes="bench_groups", unlike=DRAWN),
    batched("batch_delete (soft)", "batch_delete", batch_ids, unlike=MARKED),
    batched("batch_purge", "batch_purge", batch_ids),
    paged("second page of all", "events", events_after(0)),
    paged("page at depth 1,000,000", "events", events_after(10 / 11)),
    batched("stream of 1,000,000", "stream", all_events, changes=None, run=consume, is_long=True),
    at_once("16 concurrent getters", "get", gets, run=by_tasks(16)),
    at_once("64 concurrent getters", "get", gets, run=by_tasks(64)),
    at_once("16 tasks, 80 % get, 20 % update", "update", gets_and_updates, run=by_tasks(16), changes="bench_groups"),
]
