"""A store that goes away, and commands in their own process that get signals."""

from __future__ import annotations

import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from helpers.tiny import ROOT


class Gate:
    """A proxy before a server; it can stop answering at a request.

    `close` names the request by a regular expression of its first line ("PUT .*/checkpoint"), and
    what happens from then on: "hang" keeps all connections and answers nothing, "refuse" closes
    them, "busy" answers 503.
    """

    def __init__(self, url: str) -> None:
        host, _, port = url.rpartition("/")[2].partition(":")
        self.behind = (host, int(port))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.mode, self.then, self.at = "open", "open", re.compile("$^")
        self.closed = threading.Event()
        self.requests: list[str] = []
        self.last = ""  # the request at which it closed
        self.sockets: list[socket.socket] = [self.listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self, then: str, at: str = "") -> None:
        self.then, self.at = then, re.compile(at)
        if not at:
            self._close()

    def open(self) -> None:
        """Let all new connections through again; not after "refuse"."""
        self.at, self.mode = re.compile("$^"), "open"
        self.closed.clear()

    def _close(self) -> None:
        self.mode = self.then
        self.closed.set()
        if self.mode == "refuse":
            self.end()

    def end(self) -> None:
        for each in self.sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                self.sockets.append(near)
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with suppress(OSError):
            far = socket.create_connection(self.behind)
            self.sockets.append(far)
            with selectors.DefaultSelector() as both:
                both.register(near, selectors.EVENT_READ)
                both.register(far, selectors.EVENT_READ)
                while True:
                    for key, _ in both.select():
                        data = key.fileobj.recv(1 << 16)
                        if not data:
                            return self._shut(near, far)
                        if key.fileobj is near:
                            self._look(data)
                        if self.mode == "busy" and key.fileobj is near:
                            near.sendall(b"HTTP/1.1 503 -\r\nContent-Length: 0\r\n\r\n")
                        elif self.mode != "hang":
                            (far if key.fileobj is near else near).sendall(data)

    def _shut(self, *both: socket.socket) -> None:
        for each in both:
            each.close()

    def _look(self, data: bytes) -> None:
        if request := re.match(rb"(GET|PUT|POST|DELETE|HEAD) (\S+) HTTP", data):
            line = b" ".join(request.groups()).decode()
            self.requests.append(line)
            if self.mode == "open" and self.at.match(line):
                self.last = line
                self._close()


# Runs the command, and prints when a function of the module `cell` is called.
STAGES = """
import sys
from motifk8s.cells import cell
from motifk8s.cli.main import main

name, *argv = sys.argv[1:]
before = getattr(cell, name)

def entering(*args, **named):
    print("entered", flush=True)
    return before(*args, **named)

setattr(cell, name, entering)
sys.exit(main(argv))
"""

# Runs the command with a store that is waited for 10 s and, for an answer, 2 s.
IMPATIENT = """
import sys
from motifk8s.cli.main import main
from motifk8s.store import s3

s3.LONGER = 1
s3.S3Store.__init__.__defaults__ = ("", 10, 2, 2)
sys.exit(main(sys.argv[1:]))
"""


class Running:
    """A command in its own process, with its output in files."""

    def __init__(self, folder: Path, *args: object, code: str = "", **env: str) -> None:
        run = ["-c", code] if code else ["-m", "motifk8s"]
        path = os.environ.get("UNDER_TEST", str(ROOT / "python"))
        self.out, self.err = folder / "stdout", folder / "stderr"
        with open(self.out, "w") as out, open(self.err, "w") as err:
            self.process = subprocess.Popen(
                [sys.executable, *run, *map(str, args)],
                env={**os.environ, "PYTHONPATH": path, **env},
                stdout=out,
                stderr=err,
            )

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def ended(self, within: float) -> float:
        """Return the seconds until the process ends; fail after `within`."""
        start = time.monotonic()
        try:
            self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"still runs after {within:.0f} s: {self.said()}") from None
        return time.monotonic() - start

    def until(self, seen, within: float = 300) -> None:
        end = time.monotonic() + within
        while not seen():
            if self.process.poll() is not None or time.monotonic() > end:
                self.process.kill()
                raise AssertionError(f"nothing happened: {self.said()}")
            time.sleep(0.02)

    def said(self) -> str:
        return self.err.read_text()
