"""Starts an application under poolhttp as a child process, either way in, and ends it.

Lives here: the two command lines (`python -m poolhttp serve`, `gunicorn -k CLASS`), the child's
environment, finding the port the kernel chose, collecting the output, and the end by signal.
Must not live here: requests, assertions about answers, pytest fixtures.

Guarantees: no fixed port (every server binds port 0 and says where it listens); no sleep (a reader
thread takes the output line by line and wakes whoever waits for one); a child that was started is
reaped, by its own pid, whatever the test did.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

START_TIMEOUT = 60.0
"""Seconds until a child has to say where it listens. Generous: shared CI machines stall."""

STOP_TIMEOUT = 60.0
"""Seconds until a child has to be gone after SIGTERM; above gunicorn's graceful_timeout (30)."""

LISTENING = re.compile(r"[Ll]istening (?:at:|on) http://127\.0\.0\.1:(\d+)")

BOOTING = re.compile(r"Booting worker with pid: \d+")

OUR_WORKER = "poolhttp.worker.EpollWorker"

SETTINGS = ("GUNICORN_CMD_ARGS", "FORWARDED_ALLOW_IPS", "SCRIPT_NAME", "SENDFILE", "POOLHTTP_")
"""How the names of variables begin that would change the defaults under the tests' feet."""


class ServerError(Exception):
    """The child ended, or kept silent, where it should have served."""


@dataclass(frozen=True)
class Launch:
    """What to start: the way in, the application, and how it is set."""

    app: str
    """MODULE:ATTRIBUTE."""
    app_dir: Path
    """The directory that MODULE is imported from; also the working directory."""
    worker_class: str | None = OUR_WORKER
    """gunicorn's `-k`; None starts `python -m poolhttp serve` instead."""
    options: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)

    def argv(self) -> list[str]:
        """The command line, with port 0."""
        bind = "127.0.0.1:0"
        if self.worker_class is None:
            start = [sys.executable, "-m", "poolhttp", "serve", self.app, "--bind", bind]
            return [*start, *self.options]
        start = [sys.executable, "-m", "gunicorn", "-k", self.worker_class, "-w", "1"]
        return [*start, "--no-control-socket", "-b", bind, *self.options, self.app]

    def environ(self) -> dict[str, str]:
        """The child's environment: ours, minus what would change defaults, plus `env`."""
        env = {key: val for key, val in os.environ.items() if not key.startswith(SETTINGS)}
        search = [str(self.app_dir), env.get("PYTHONPATH", "")]
        env["PYTHONPATH"] = os.pathsep.join(part for part in search if part)
        env["PYTHONDONTWRITEBYTECODE"] = "1"
        env["PYTHONUNBUFFERED"] = "1"
        return {**env, **self.env}


class Server:
    """One running server; a context manager that starts it and makes sure that it is gone."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._closed = False
        self._process = subprocess.Popen(
            launch.argv(),
            cwd=launch.app_dir,
            env=launch.environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read_output, daemon=True)
        self._reader.start()
        self._port: int | None = None

    @property
    def pid(self) -> int:
        """The process that was started: gunicorn's master, or poolhttp itself."""
        return self._process.pid

    @property
    def port(self) -> int:
        """The port the kernel chose; waits for the line that says so."""
        return self.wait_until_listening()

    def wait_until_listening(self) -> int:
        """The port, once it accepts connections and is going to serve them.

        gunicorn's master listens before it asks the worker class for its opinion of the settings;
        only then does it start a worker. ServerError when the server never gets that far.
        """
        if self._port is None:
            port = self.wait_for(LISTENING, START_TIMEOUT).group(1)
            if self.launch.worker_class is not None:
                self.wait_for(BOOTING, START_TIMEOUT)
            self._port = int(port)
        return self._port

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def output(self, first_line: int = 0) -> str:
        """What the server has printed from line `first_line` on."""
        with self._news:
            return "".join(self._lines[first_line:])

    def line_count(self) -> int:
        """How many lines the server has printed so far."""
        with self._news:
            return len(self._lines)

    def wait_for(self, pattern: re.Pattern[str], timeout: float) -> re.Match[str]:
        """The first match of `pattern` in the output; ServerError when there never was one."""

        def settled() -> bool:
            return self._closed or any(pattern.search(line) for line in self._lines)

        with self._news:
            self._news.wait_for(settled, timeout)
            for line in self._lines:
                if found := pattern.search(line):
                    return found
        raise ServerError(f"no line like {pattern.pattern!r} from {self._describe()}")

    def send_signal(self, number: int) -> None:
        """Send a signal to the process that was started, and to nothing else."""
        self._process.send_signal(number)

    def wait(self, timeout: float = STOP_TIMEOUT) -> int:
        """The exit status; ServerError when it is still running at the end of `timeout`."""
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ServerError(f"still running after {timeout:.0f} s: {self._describe()}") from None
        self._reader.join(STOP_TIMEOUT)
        return status

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the signal, wait, and give back the exit status."""
        self.send_signal(number)
        return self.wait()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(STOP_TIMEOUT)
        if self._process.stdout is not None and not self._reader.is_alive():
            self._process.stdout.close()

    def _read_output(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self._lines.append(line)
                self._news.notify_all()
        with self._news:
            self._closed = True
            self._news.notify_all()

    def _describe(self) -> str:
        state = self._process.poll()
        status = "running" if state is None else f"exit status {state}"
        return f"{' '.join(self.launch.argv())} ({status}); its output:\n{self.output()}"
