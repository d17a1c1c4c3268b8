"""The crawler on a small site that the test serves."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from crawler import Crawler
from umbrella.testing import run

HERE = Path(__file__).parent

PAGES = {
    "/": ("Home", ["/a", "/b", "/missing", "#top", "https://elsewhere.invalid/"]),
    "/a": ("A", ["/", "b", "/c?x=1#part"]),
    "/b": ("B é", ["/a", "/b"]),
    "/c?x=1": ("C", ["/d"]),
    "/d": ("D", ["/"]),
}


class Site:
    """A site on this machine, which counts what it is asked for."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked[self.path] += 1
                found = PAGES.get(self.path)
                title, links = found or ("none", [])
                anchors = "".join(f'<p><a class="x" href="{link}">there</a>' for link in links)
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.end_headers()
                self.wfile.write(f"<title>{title}</title>{anchors}".encode())

            def log_message(self, format: str, *arguments: object) -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def site() -> Iterator[Site]:
    """A site for one test."""
    made = Site()
    yield made
    made.server.shutdown()
    made.server.server_close()


def expected(site: Site) -> set[tuple[str, int, str]]:
    """All pages of the site."""
    pages = {(site.url + path, 200, title) for path, (title, _) in PAGES.items()}
    return {*pages, (f"{site.url}/missing", 404, "")}


def test_each_page_of_the_site_is_read_once_and_the_cycle_ends(site: Site, tmp_path: Path) -> None:
    app = shutil.copy(HERE / "crawler.py", tmp_path)
    (tmp_path / "sites.txt").write_text(f"{site.url}/\n\nhttp://127.0.0.1:1/\n", encoding="utf-8")
    for flags in [], ["--workers", "2"]:
        site.asked.clear()
        command = [sys.executable, "-m", "umbrella", "run", app, "--", *flags]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60)
        assert done.returncode == 0, done.stderr
        found = [tuple(line.split("\t")) for line in done.stdout.splitlines()]
        pages = {(url, str(status), title) for url, status, title in expected(site)}
        assert sorted(found) == sorted([*pages, ("http://127.0.0.1:1/", "0", "")])
        assert set(site.asked.values()) == {1}


def test_a_page_is_acked_when_all_that_it_leads_to_is_read(site: Site) -> None:
    with run(Crawler) as topology:
        message = topology.emit("sites", f"{site.url}/")
        assert set(topology.values("pages")) == expected(site)
        assert topology.acked("sites") == [message]
