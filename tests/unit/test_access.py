"""The access log: each atom of gunicorn's language, lines that a client can't forge, and formats
that are refused before the first request."""

from __future__ import annotations

import base64
import logging
import os
import re
import sys
from contextvars import Context
from threading import Barrier, Thread
from typing import Any

import pytest

from poolhttp.access import DEFAULT_FORMAT, AccessLog, FormatError
from poolhttp.appcontext import AppContext
from poolhttp.sendfile import Buffer
from poolhttp.settings import Settings
from poolhttp.timers import Clock
from poolhttp.wsgi import Response

from .parsing import new_parser


class Drain:
    """Where the response's bytes go: nowhere, since only the log matters."""

    backlog = 0
    broken = False

    def send(self, buffers: list[Buffer], nbytes: int) -> None:
        """Take everything."""

    def drain(self, limit: int) -> None:
        """Nothing waits."""

    def pump_later(self) -> None:
        """Everything is taken at once."""


def respond(*lines: str, fails: bool = False, body: bytes = b"hello") -> Response:
    """A finished response to a request of those lines."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if fails:
            raise ValueError("the app's")
        start_response(
            "201 Created", [("X-Answer", 'say "so"'), ("Content-Length", str(len(body)))]
        )
        return [body]

    log = logging.Logger("quiet", logging.CRITICAL)
    context = AppContext(app, Settings(), log, Clock())
    context.observe(after_response=lambda response: None)
    head = "\r\n".join([*(lines or ("GET /a%20b?c=d HTTP/1.1",)), "Host: h", "", ""])
    request, _ = new_parser().feed(head.encode("latin-1"))
    assert request is not None
    request.environ["REMOTE_ADDR"] = "192.0.2.7"
    environ = request.environ
    response = Response(context, Drain(), request, environ)
    response.run(Context())
    # The log is told before the response lets go of its environ.
    response.environ = environ
    return response


def line(line_format: str, response: Response) -> str:
    """The one line that the format makes of it."""
    written: list[str] = []
    log = AccessLog(line_format, written.append)
    log.add(response)
    assert not written, "written before the turn's end"
    log.flush()
    log.flush()
    (text,) = written
    assert text.endswith("\n")
    assert text.count("\n") == 1
    return text[:-1]


ATOMS = (
    ("h", "192.0.2.7"),
    ("l", "-"),
    ("u", "-"),
    ("r", "GET /a%20b?c=d HTTP/1.1"),
    ("m", "GET"),
    ("U", "/a b"),
    ("q", "c=d"),
    ("H", "HTTP/1.1"),
    ("s", "201"),
    ("B", "5"),
    ("b", "5"),
    ("f", "-"),
    ("a", "-"),
    ("p", f"<{os.getpid()}>"),
    ("{host}i", "h"),
    ("{X-Nothing}i", "-"),
    ("{Content-Type}i", "-"),
    ("{x-answer}o", 'say \\"so\\"'),
    ("{X-Nothing}o", "-"),
    ("{REQUEST_METHOD}e", "GET"),
    ("{nothing}e", "-"),
)
PATTERNS = (
    ("t", r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"),
    ("T", r"\d+"),
    ("M", r"\d+"),
    ("D", r"\d+"),
    ("L", r"\d+\.\d{6}"),
)


@pytest.mark.parametrize(("atom", "text"), ATOMS)
def test_an_atom(atom: str, text: str) -> None:
    assert line(f"%({atom})s", respond()) == text


@pytest.mark.parametrize(("atom", "pattern"), PATTERNS)
def test_an_atom_of_time(atom: str, pattern: str) -> None:
    assert re.fullmatch(pattern, line(f"%({atom})s", respond()))


def test_no_body_is_a_zero() -> None:
    """As gunicorn writes it, in both atoms."""
    assert line("%(b)s %(B)s", respond(body=b"")) == "0 0"


def test_request_fields() -> None:
    response = respond(
        "GET / HTTP/1.1", "User-Agent: me", "Referer: there", "X-A: 1", "Content-Type: a/b"
    )
    text = line("%(a)s %(f)s %({x-a}i)s %({content-type}i)s", response)
    assert text == "me there 1 a/b"


@pytest.mark.parametrize(
    ("credentials", "user"),
    [
        ("Basic " + base64.b64encode(b"ann:secret").decode(), "ann"),
        ("basic " + base64.b64encode(b"ann").decode(), "ann"),
        ("Basic " + base64.b64encode(b":secret").decode(), "-"),
        ("Basic " + base64.b64encode(b'a"\n:x').decode(), 'a\\"\\x0a'),
        ("Basic !", "-"),
        ("Bearer abc", "-"),
        ("Basic", "-"),
    ],
)
def test_the_user(credentials: str, user: str) -> None:
    response = respond("GET / HTTP/1.1", f"Authorization: {credentials}")
    assert line("%(u)s", response) == user
    assert "secret" not in line("%(u)s", response)


def test_a_failed_app_is_a_500() -> None:
    assert line("%(s)s", respond(fails=True)) == "500"


def test_the_default_format() -> None:
    text = line(DEFAULT_FORMAT, respond("GET / HTTP/1.1", "User-Agent: x"))
    pattern = r'192\.0\.2\.7 - - \[[^]]+\] "GET / HTTP/1\.1" 201 5 "-" "x"'
    assert re.fullmatch(pattern, text)


def test_percent_signs_and_plain_text() -> None:
    assert line("100%% %(m)s {x}", respond()) == "100% GET {x}"


CONTROLS = {"C0": range(0x20), "DEL": (0x7F,), "C1": range(0x80, 0xA0), "quotes": (0x22, 0x5C)}


@pytest.mark.parametrize("kind", CONTROLS)
def test_what_could_forge_a_line_is_escaped(kind: str) -> None:
    """CWE-117: a control character can end the line or drive the terminal that shows it, also one
    of C1 (U+009B is the CSI of 8-bit terminals); a quote ends the field."""
    response = respond()
    for char in map(chr, CONTROLS[kind]):
        response.environ["HTTP_USER_AGENT"] = f"a{char}b"
        escaped = "\\" + char if char in '"\\' else f"\\x{ord(char):02x}"
        assert line('"%(a)s"', response) == f'"a{escaped}b"'
        response.environ["PATH_INFO"] = f"/{char}"
        assert line("%(U)s", response) == f"/{escaped}"


def test_what_is_printable_stays() -> None:
    response = respond()
    response.environ["HTTP_USER_AGENT"] = "a é ü ~"
    assert line("%(a)s", response) == "a é ü ~"


def test_a_percent_sign_of_the_client_is_text() -> None:
    assert line("%(r)s", respond("GET /%(x)s%s HTTP/1.1")) == "GET /%(x)s%s HTTP/1.1"


@pytest.mark.parametrize(
    "line_format",
    ["%(x)s", "%(Z)s", "%h", "%", "%(h)", "%(h)d", "%(hh)s", "%({x}z)s", "%({}i)s", "%s"],
)
def test_a_bad_format_is_refused(line_format: str) -> None:
    with pytest.raises(FormatError):
        AccessLog(line_format, lambda text: None)


def test_lines_of_a_turn_are_written_together() -> None:
    written: list[str] = []
    log = AccessLog("%(m)s", written.append)
    for _ in range(3):
        log.add(respond())
    log.flush()
    assert written == ["GET\nGET\nGET\n"]


def test_names_in_a_format_are_no_code() -> None:
    """They go into generated functions."""
    name = "') or exit() #\\"
    response = respond()
    assert line("%({" + name + "}i)s %({" + name + "}o)s %({" + name + "}e)s", response) == "- - -"
    response.environ[name] = "found"
    literal = "'''\\{0}\""
    assert line(literal + "%({" + name + "}e)s", response) == literal + "found"


ESCAPED = {"\t": "\\x09", '"': '\\"', "\\": "\\\\", "\x9b": "\\x9b", "\ud800": "\\ud800"}


@pytest.mark.parametrize("literal", ["-", "é", "100%%", *ESCAPED])
@pytest.mark.parametrize("value", ["a", "é", "%s", *ESCAPED])
def test_a_format_has_what_a_value_may_not(literal: str, value: str) -> None:
    """What the format has stays as it is; a value has no more of it."""
    response = respond()
    response.environ["HTTP_USER_AGENT"] = value
    text = line(literal + "%(a)s", response)
    assert text == literal.replace("%%", "%") + ESCAPED.get(value, value)


@pytest.mark.parametrize("value", [None, 1, b"b", ["unhashable"]])
def test_an_app_may_put_anything_into_its_environ(value: object) -> None:
    response = respond()
    response.environ.update(REQUEST_METHOD=value, HTTP_REFERER=value)
    text = line("%(m)s <%(f)s> %(r)s", response)
    assert text == f"{value} <{value}> {value} /a%20b?c=d HTTP/1.1"


def test_a_line_is_seen_anew_when_it_differs() -> None:
    """Plain and escaped lines of one log, each also twice."""
    written: list[str] = []
    log = AccessLog("%(a)s", written.append)
    response = respond()
    for agent in ("a", "a", "\n", "\n", "a", "b", '"'):
        response.environ["HTTP_USER_AGENT"] = agent
        log.add(response)
    log.flush()
    assert written == ['a\na\n\\x0a\n\\x0a\na\nb\n\\"\n']


def test_threads_lose_and_double_no_line() -> None:
    """Several threads add while another one flushes."""
    threads, each = 4, 10_000
    written: list[str] = []
    log = AccessLog("%({number}e)s", written.append)
    ready = Barrier(threads + 1)

    def add(thread: int) -> None:
        response = respond()
        ready.wait()
        for number in range(each):
            response.environ["number"] = f"{thread}.{number}"
            log.add(response)

    adding = [Thread(target=add, args=(thread,)) for thread in range(threads)]
    for started in adding:
        started.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        ready.wait()
        while any(thread.is_alive() for thread in adding):
            log.flush()
    finally:
        sys.setswitchinterval(interval)
    log.flush()
    assert all(text.endswith("\n") for text in written)
    lines = "".join(written).splitlines()
    for thread in range(threads):
        expected = [f"{thread}.{number}" for number in range(each)]
        assert [text for text in lines if text.startswith(f"{thread}.")] == expected
    assert len(lines) == threads * each
