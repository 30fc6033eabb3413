"""The file: alone, for everybody, of nobody; and the address that shows it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest
from starlette.testclient import TestClient

from tests.dashboard.conftest import AS_OF, publish_world
from winback.dashboard import write_dashboard
from winback.dashboard.server import app
from winback.publishing import publish
from winback.settings import PROJECT_ROOT, Settings
from winback.warehouse import open_warehouse

# Per row of figures; a year of three programs is 9,000 rows.
LARGEST = 600_000


@pytest.fixture(scope="module")
def page(settings: Settings) -> str:
    return write_dashboard(settings).path.read_text(encoding="utf-8")


def test_it_asks_for_nothing_and_may_not(page: str) -> None:
    assert not re.search(r"""(src|href|action)=["'](?!data:|#|\$)|@import|url\(|https?://""", page.replace("http://www.w3.org", ""))
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert policy.startswith("default-src 'none'; ")
    for element, directive in (("script", "script-src"), ("style", "style-src")):
        [text] = re.findall(rf"<{element}>(.*?)</{element}>", page, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy


def test_nobody_is_in_it(page: str, settings: Settings) -> None:
    with duckdb.connect(str(settings.published / "winback.duckdb"), read_only=True) as connection:
        ids = connection.execute("select distinct unnest([customer_id, order_id, message_id]) from marts.order_attribution").fetchall()
    assert len(ids) > 1000
    assert not [known for (known,) in ids if known and known in page]


def test_words_of_others_stay_words(page: str) -> None:
    assert "Contacts &lt;and&gt; consents are invented" in page
    [data] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, flags=re.DOTALL)
    assert "<" not in data
    assert "Harbour & <Hill>" in json.loads(data)["tables"]["journeys"]["brand"]["words"]


def test_it_is_small(page: str) -> None:
    assert len(page.encode()) < LARGEST


def test_the_same_figures_give_the_same_file(settings: Settings, page: str) -> None:
    again = write_dashboard(settings)
    assert again.path.read_text(encoding="utf-8") == page
    assert [path.name for path in settings.dashboards.iterdir()] == ["2025-07-01.html"]


def test_each_opening_shows_the_newest(tmp_path: Path) -> None:
    settings = publish_world(tmp_path)
    client = TestClient(app(settings), base_url="http://127.0.0.1")
    assert '"run":"run-1"' in client.get("/").text, "made at the first opening where no run has left one"
    with open_warehouse(settings) as warehouse:
        publish(settings, warehouse, "run-2", AS_OF + timedelta(days=1))
    write_dashboard(settings)
    newest = client.get("/")
    assert '"run":"run-2"' in newest.text
    assert newest.headers["cache-control"] == "no-cache"
    assert '"run":"run-1"' in client.get("/2025-07-01.html").text
    assert [client.get(path).status_code for path in ("/2024-01-01.html", "/..%2f..%2fledger.db", "/x.html")] == [404, 404, 404]


def test_another_name_does_not_reach_it(settings: Settings) -> None:
    assert TestClient(app(settings), base_url="http://elsewhere.example.com").get("/").status_code == 400


def test_without_marts_the_page_says_what_to_do(tmp_path: Path) -> None:
    answer = TestClient(app(Settings(home=tmp_path)), base_url="http://localhost").get("/")
    assert answer.status_code == 503
    assert "Run a day first" in answer.text


def test_command(settings: Settings) -> None:
    command = [sys.executable, "-c", "from winback.cli import main; main()", "dashboard", "--no-browser", "--port", "0"]
    environment = os.environ | {"WINBACK_HOME": str(settings.root)}
    with subprocess.Popen(command, cwd=PROJECT_ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = process.stdout.readline()
        [address] = re.findall(r"http://127\.0\.0\.1:\d+", told)
        with urllib.request.urlopen(address, timeout=30) as answer:  # noqa: S310 our own address
            assert b"Win-back dashboard" in answer.read()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) in (0, -signal.SIGTERM)


def test_it_ends_with_the_process_that_it_was_started_beside(settings: Settings) -> None:
    beside = (
        "from winback.cli.beside import start_beside; import os, sys; "
        "start_beside(os.environ, 'dashboard', '--no-browser', '--port', '0'); sys.stdin.read()"
    )
    environment = os.environ | {"WINBACK_HOME": str(settings.root)}
    with subprocess.Popen(
        [sys.executable, "-c", beside], cwd=PROJECT_ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline().startswith("Dashboard: http://127.0.0.1:")
        parent.kill()
        parent.wait(timeout=30)
        # Ends only when the server, which holds the other end, has ended too.
        assert parent.stdout.read() == ""
