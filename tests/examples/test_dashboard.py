"""The dashboard in ``docs/`` shows what a repository's metrics say; ``nox -s dashboard`` draws the picture of it."""

from __future__ import annotations

import json
import os
import re
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from examples.domain.repository import DomainRepository
from examples.domain.rows import Continent, DomainRow
from examples.domain.types import DomainCreate, DomainName
from examples.fair_share.errors import FairShareNotFound, FairShareTaken
from examples.fair_share.repository import FairShareRepository
from examples.fair_share.rows import FairShareRow, UsageRow
from examples.fair_share.standings import Decay
from examples.fair_share.types import DomainShareScope, FairShareCreate, FairShareKey
from examples.group.repository import GroupRepository
from examples.group.rows import GroupMemberRow, GroupRow
from examples.group.types import DomainScope, GroupCreate, GroupId, UserId
from prometheus import Recording, is_there, prometheus
from rowsmith.resilience import MetricArgs, MetricPolicy
from rowsmith.testing import FaultProxy, WithFaults

DOCS = Path(__file__).parents[2] / "docs"
DASHBOARD: Any = json.loads((DOCS / "dashboard.json").read_text())
PICTURE = os.environ.get("ROWSMITH_PICTURE")
LOOKS = 120 if PICTURE else 12
WINDOW = "1m"
DE = DomainName("DE")
SCOPE = DomainShareScope(DE)


def queries() -> dict[str, dict[str, str]]:
    """Give each panel's queries by their legends, as Grafana sends them."""
    given = {"$__rate_interval": WINDOW, "$layer": "fair_share_db_source"}

    def sent(query: str) -> str:
        return re.sub("|".join(map(re.escape, given)), lambda found: given[found[0]], query)

    return {
        panel["title"]: {target["legendFormat"]: sent(target["expr"]) for target in panel["targets"]}
        for panel in DASHBOARD["panels"]
    }


def test_every_metric_of_the_dashboard_is_one_of_rowsmiths() -> None:
    """By its name and its labels, and each of rowsmith's is shown."""
    MetricPolicy(MetricArgs("repository", "any"))
    shown = set(re.findall(r"rowsmith_\w+?(?=_total|_bucket|[{(,])", json.dumps(list(queries().values()))))
    families = {family.name for family in REGISTRY.collect() if family.name.startswith("rowsmith_")}
    assert shown == families


async def use(shares: FairShareRepository, group: GroupId, looks: int, proxy: FaultProxy) -> Recording:
    """Work with shares, a third of the time with a network that loses requests and is slow."""
    recording = Recording(REGISTRY, looks)
    for look in range(looks):
        if looks / 3 < look < looks / 2 and look % 2:
            proxy.drop_request("INSERT INTO fair_shares")
            proxy.delay("SELECT", 0.03, times=2)
        user = UserId(UUID(int=look))
        made = await shares.create(FairShareCreate(DE, group, user, Decimal(1)), scope=SCOPE)
        for _ in range(3 + look % 4):
            await shares.get(made.key, SCOPE)
        if look % 5 == 0:
            with pytest.raises(FairShareTaken):
                await shares.create(FairShareCreate(DE, group, user, Decimal(1)), scope=SCOPE)
            with pytest.raises(FairShareNotFound):
                await shares.get(FairShareKey(DE, group, UserId(UUID(int=10**9))), SCOPE)
        await shares.standings(Decay(date(2024, 5, 1), half_life=timedelta(days=7)), SCOPE)
        recording.look()
    return recording


@pytest.mark.skipif(not is_there(), reason="needs prometheus and promtool: apt-get install prometheus")
async def test_every_panel_shows_what_happened(with_faults: WithFaults, tmp_path: Path) -> None:
    """Prometheus itself answers the dashboard's queries: calls, errors by code, retries, quantiles."""
    async with with_faults(UsageRow, FairShareRow, GroupMemberRow, GroupRow, DomainRow) as (db, proxy):
        await DomainRepository(db).create(DomainCreate(DE, "Germany", Continent.EUROPE))
        group = await GroupRepository(db).create(GroupCreate(DE, "Berlin"), scope=DomainScope(DE))
        recording = await use(FairShareRepository(db), group.id, LOOKS, proxy)
    shown: dict[str, dict[str, Any]] = {}
    with prometheus(recording, tmp_path) as server:
        for panel, given in queries().items():
            for legend, query in given.items():
                found = server.series(query, recording)
                name = None if "{{" in legend else legend
                shown.setdefault(panel, {}).update({name or label: values for label, values in found.items()})
    assert set(shown["Calls a second"]) >= {"create", "get", "shares_and_usage"}
    assert max(value for _, value in shown["Retries a second"]["create"]) > 0
    assert {"fair-share_create_taken", "fair-share_get_not-found"} <= set(shown["Failures a second, by error"])
    assert all(len(values) > LOOKS / 2 for panel in shown.values() for values in panel.values())
    if PICTURE:
        draw(shown, Path(PICTURE))


def draw(shown: dict[str, dict[str, Any]], place: Path) -> None:
    """Draw the panels as the dashboard has them."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(3, 2, figsize=(12, 10), layout="constrained")
    filled = [(title, series) for title, series in shown.items() if series]  # nothing is cached here
    for axis, (title, series) in zip(axes.flat, filled, strict=True):
        for label, values in series.items():
            begun = values[0][0]
            axis.plot([(at - begun) / 60 for at, _ in values], [value for _, value in values], label=label)
        axis.set(title=title, xlabel="minutes", ylim=(0, None))
        axis.legend(fontsize="small")
    figure.savefig(place, dpi=80)
