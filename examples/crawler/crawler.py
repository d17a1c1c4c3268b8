"""A crawler, which is a cycle: pages have links, and links lead to pages.

`umbrella run crawler.py` begins at the addresses in `sites.txt`, one a line, stays on their hosts, and ends when there
is nothing new: the cycle is empty then, and the input has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from html.parser import HTMLParser
from urllib.error import HTTPError, URLError
from urllib.parse import urldefrag, urljoin, urlsplit
from urllib.request import Request, urlopen

from umbrella import (
    Bolt,
    FieldsGrouping,
    FileSpout,
    Input,
    KeyedState,
    ShuffleGrouping,
    StdoutBolt,
    Stream,
    Topology,
    bolt,
)

#: How many links a page may be away from where it began.
DEPTH = 5
#: The most of a page that is read, in bytes.
LARGEST = 1 << 20


@bolt("url depth")
def begin(input: Input) -> Iterator[tuple[str, int]]:
    """The addresses to begin at."""
    if input.line.strip():
        yield input.line.strip(), 0


class Unseen(Bolt):
    """Lets each address pass once."""

    class Default(Stream):
        fields = "url depth"

    seen = KeyedState[bool]()

    def process(self, input: Input) -> Iterator[Stream]:
        if input.url not in self.seen:
            self.seen[input.url] = True
            yield self.Default(input.url, input.depth)


class Fetch(Bolt):
    """Reads pages, those of one batch side by side, and emits what they are and where they lead."""

    class Default(Stream):
        fields = "url status title"

    class Links(Stream):
        fields = "url depth"

    async def process(self, input: Input) -> AsyncIterator[Stream]:
        status, page = await asyncio.to_thread(_get, input.url)
        found = _Page()
        found.feed(page)
        yield self.Default(input.url, status, found.title.strip())
        if input.depth < DEPTH:
            for link in dict.fromkeys(found.links):
                url = urldefrag(urljoin(input.url, link)).url
                if urlsplit(url)[:2] == urlsplit(input.url)[:2]:
                    yield self.Links(url, input.depth + 1)


class _Page(HTMLParser):
    """The title and the links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.title = ""
        self.links: list[str] = []
        self._is_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._is_title = tag == "title"
        if tag == "a":
            self.links += [value for name, value in attrs if name == "href" and value]

    def handle_endtag(self, tag: str) -> None:
        self._is_title = False

    def handle_data(self, data: str) -> None:
        if self._is_title:
            self.title += data


def _get(url: str) -> tuple[int, str]:
    """The status of an address and its page; what cannot be reached has the status 0."""
    request = Request(url, headers={"User-Agent": "waterspout-crawler", "Accept": "text/html"})
    try:
        with urlopen(request, timeout=10) as answer:
            is_page = answer.headers.get_content_type() == "text/html"
            return answer.status, answer.read(LARGEST).decode("utf-8", "replace") if is_page else ""
    except HTTPError as error:
        return error.code, ""
    except (URLError, OSError, ValueError):
        return 0, ""


class Crawler(Topology):
    """Fetching takes time and counting does not, so there are more tasks that fetch."""

    sites = FileSpout(path="sites.txt")
    starts = begin(inputs=sites)
    unseen = Unseen(2, inputs=FieldsGrouping(starts, "url"))
    pages = Fetch(4, inputs=unseen)
    unseen.inputs.append(FieldsGrouping(pages.Links, "url"))
    out = StdoutBolt(inputs=ShuffleGrouping(pages))
