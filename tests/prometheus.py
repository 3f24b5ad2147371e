"""A Prometheus of a test's own: what a registry held at some points in time, and what a query makes of it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

STEP = 15
"""Seconds between two looks at a registry, as Prometheus has them by default."""


class Recording:
    """What a registry holds, each time it is looked at; the looks are ``STEP`` seconds apart, whenever they are."""

    def __init__(self, registry: CollectorRegistry, looks: int) -> None:
        self.registry, self.start = registry, (int(time.time()) // STEP - looks) * STEP
        self.end = self.start
        self._lines: list[str] = []

    def look(self) -> None:
        for family in self.registry.collect():
            for sample in family.samples:
                labels = ",".join(f"{name}={json.dumps(value)}" for name, value in sample.labels.items())
                self._lines.append(f"{sample.name}{{{labels}}} {sample.value} {self.end}")
        self.end += STEP

    def text(self) -> str:
        """Give it in OpenMetrics' form."""
        return "\n".join([*self._lines, "# EOF\n"])


class Prometheus:
    """A server that answers queries."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, **asked: object) -> Any:
        given = urllib.parse.urlencode(asked)
        with urllib.request.urlopen(f"{self.url}{path}?{given}", timeout=60) as answer:  # noqa: S310
            return json.load(answer)

    def series(self, query: str, over: Recording) -> dict[str, list[tuple[float, float]]]:
        """Give what a query makes at each step, by the labels of what it makes."""
        found = self.ask("/api/v1/query_range", query=query, start=over.start, end=over.end, step=STEP)
        return {
            ", ".join(one["metric"].values()): [(at, float(value)) for at, value in one["values"]]
            for one in found["data"]["result"]
        }


def is_there() -> bool:
    """Say whether Debian's package is installed, or another that has both programs."""
    return all(map(shutil.which, ("prometheus", "promtool")))


@contextmanager
def prometheus(recording: Recording, folder: Path) -> Iterator[Prometheus]:
    """Start a server that has seen a recording."""
    (folder / "recording").write_text(recording.text())
    (folder / "prometheus.yml").write_text("{}")
    backfill = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "recording", "data"]
    subprocess.run(backfill, cwd=folder, check=True, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    options = ("--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={place}")
    server = subprocess.Popen(["prometheus", *options], cwd=folder, stderr=subprocess.DEVNULL)
    try:
        made = Prometheus(f"http://{place}")
        while server.poll() is None:
            try:
                made.ask("/api/v1/labels")
                break
            except urllib.error.URLError:
                time.sleep(0.05)
        yield made
    finally:
        server.terminate()
        server.wait()
