"""poolhttp as a library: `serve` in the main thread, `Server` in another."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from corpus.clients import connect, wait_until
from corpus.serving import START_TIMEOUT, Launch
from live import TIMEOUT, exchange, message

import poolhttp

from .running import answers, ask, unix_connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path


def app(_environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answer with a word."""
    start_response("200 OK", [])
    return [b"served"]


SCRIPT = """
import signal, sys
import poolhttp

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"served"]

def mine(number, frame):
    pass

signal.signal(signal.SIGTERM, mine)
before = signal.getsignal(signal.SIGINT)
poolhttp.serve(app, bind=sys.argv[1], keepalive=1)
print("TERM restored:", signal.getsignal(signal.SIGTERM) is mine)
print("INT restored:", signal.getsignal(signal.SIGINT) is before)
print("wake-up restored:", signal.set_wakeup_fd(-1) == -1)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_returns_and_restores_the_handlers(tmp_path: Path, number: int) -> None:
    script, path = tmp_path / "script.py", tmp_path / "sock"
    script.write_text(SCRIPT)
    child = subprocess.Popen(
        [sys.executable, str(script), f"unix:{path}"],
        cwd=tmp_path,
        env=Launch("", tmp_path).environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        try:
            wait_until(lambda: answers(path), "it listens")
            with unix_connect(path) as sock:
                assert exchange(sock, message("GET / HTTP/1.1")).body == b"served"
            child.send_signal(number)
            output, _ = child.communicate(timeout=START_TIMEOUT)
        finally:
            child.kill()
    assert child.returncode == 0
    assert output.splitlines() == [
        "TERM restored: True",
        "INT restored: True",
        "wake-up restored: True",
    ]


def test_server_in_a_thread_takes_a_free_port() -> None:
    server = poolhttp.Server(app, bind=["127.0.0.1:0"])
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        [(host, port)] = server.addresses
        assert host == "127.0.0.1"
        assert port != 0
        assert ask(port, "/").body == b"served"
    finally:
        server.stop()
        thread.join(TIMEOUT)
    assert not thread.is_alive()
    with pytest.raises(ConnectionRefusedError):
        connect(port)


def test_serve_refuses_what_it_cannot_do() -> None:
    with pytest.raises(poolhttp.BindError, match="nonsense"):
        poolhttp.serve(app, bind="nonsense")
    with pytest.raises(poolhttp.SettingsError, match="keepalive"):
        poolhttp.serve(app, bind="127.0.0.1:0", keepalive=-1)
    with pytest.raises(TypeError, match="bogus"):
        poolhttp.serve(app, bind="127.0.0.1:0", bogus=1)


def test_handlers_are_as_before_when_the_start_fails() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(poolhttp.BindError):
        poolhttp.serve(app, bind="127.0.0.1:99999")
    assert signal.getsignal(signal.SIGTERM) is before
