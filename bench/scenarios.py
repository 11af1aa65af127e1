"""The scenarios: which requests the client sends and what the servers do beside answering them."""

from __future__ import annotations

from dataclasses import dataclass

# What the varying header holds where wrk.lua puts its digits: as long as a UUID's digits.
REQUEST_ID_MARKER = "5f0c8e1d9b7a4c3e8d2f6a1b0c9e7d54"

# What a browser sends for a page behind a proxy, beside the Host header that wrk adds.
BROWSER_HEADERS = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language: en-US,en;q=0.5",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Referer: http://www.example.com/catalogue/books?page=3",
    "Cookie: sessionid=8d1f0b6c4e2a49f7b3c5; theme=dark; consent=necessary",
    "Cache-Control: max-age=0",
    "Sec-Fetch-Site: same-origin",
    "X-Forwarded-For: 203.0.113.42",
    f"X-Request-Id: {REQUEST_ID_MARKER}",
)


@dataclass(frozen=True)
class Scenario:
    """One kind of load.

    Attributes:
        name: what `--scenario` calls it.
        summary: one line for `--list` and the head of the table.
        headers: request headers beyond the Host header that wrk adds, each as `Name: value`.
        marker: text in `headers` that the client replaces by something else in each request; empty
            when all requests are the same.
        floor: the contender that the ratio column compares with; empty for no such column.
        both_log_modes: run each contender with its access log off and with it on, and only those
            contenders that can write one.
    """

    name: str
    summary: str
    headers: tuple[str, ...] = ()
    marker: str = ""
    floor: str = "floor"
    both_log_modes: bool = False


SCENARIOS = (
    Scenario("hello", "keep-alive, no request header but Host"),
    Scenario("headers", "keep-alive, 10 more request headers, always the same", BROWSER_HEADERS),
    Scenario(
        "headers-varying",
        "keep-alive, the same 10 headers, X-Request-Id differs in each request",
        BROWSER_HEADERS,
        marker=REQUEST_ID_MARKER,
    ),
    Scenario(
        "churn",
        "Connection: close, one connection per request",
        ("Connection: close",),
        floor="floor-defer",
    ),
    Scenario(
        "accesslog",
        "hello with the access log off and on",
        floor="",
        both_log_modes=True,
    ),
)
DEFAULT_SCENARIOS = ("hello", "headers", "headers-varying", "churn")
