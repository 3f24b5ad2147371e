"""The OpenAPI page in a real browser: ``nox -s browser``, or ``pytest examples/api/browser.py`` beside a Chromium.

The page is looked at as a person would: scripts run, and what counts is the document they leave.
The picture is put into ``build/openapi.png``.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from examples.api.app import make_app
from rowsmith import Database

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PICTURE = Path("build/openapi.png")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Serve the application on a free port; the page itself needs no table."""
    server = uvicorn.Server(uvicorn.Config(make_app(Database.from_url("sqlite://")), log_level="warning"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def browser() -> str:
    """Give the path of a Chromium.

    Raises:
        LookupError: there is none; the message says how to get one.
    """
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        raise LookupError("no Chromium on this machine: apt-get install chromium (or your system's way)")
    return found


def look_at(url: str, profile: Path, *options: str) -> str:
    """Open a page, give it ten seconds of its own time, and give what the browser prints."""
    command = [browser(), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    wait = "--virtual-time-budget=10000"
    done = subprocess.run([*command, wait, *options, url], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def test_the_openapi_page_renders(url: str, tmp_path: Path) -> None:
    """Every operation stands on the page after its scripts have run, and nothing came from another host."""
    page = look_at(f"{url}/docs", tmp_path, "--dump-dom")
    for operation in ("groups-create", "groups-search", "groups-get", "groups-update", "groups-delete", "groups-purge"):
        assert f'id="operations-{operation}_' in page
    assert "Failed to load API definition" not in page
    assert "GroupFilter" in page
    sources = [part.split('"')[0] for part in page.split(' src="')[1:]]
    assert all(source.startswith(("/", "data:")) for source in sources)


def test_a_picture_is_taken(url: str, tmp_path: Path) -> None:
    """The page is more than a blank sheet."""
    PICTURE.parent.mkdir(exist_ok=True)
    look_at(f"{url}/docs", tmp_path, "--window-size=1400,1900", f"--screenshot={PICTURE.resolve()}")
    assert PICTURE.stat().st_size > 30_000
