"""SIGTERM and SIGINT: the first stops a command within seconds, a second one ends it at once.

Inside `handled`, the first signal raises KeyboardInterrupt in the main thread, wherever that is; in
a destructor, which would swallow it, soon afterwards.
Inside `deferred` it does not: the code there asks `requested`, and stops where it loses no work.
A thread ends a process that does not stop by itself, for example in a long call of a library. It
also stops a process of `multiprocessing` when its parent process has ended.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from types import FrameType

from motifk8s.errors import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT)
SECONDS_TO_STOP = 5.0  # from the first signal to the end of a process that does not stop by itself
SECONDS_TO_SAVE = 15.0  # from the first signal; so long, saving a checkpoint is tried again
# Signals in this time count as one: `timeout` sends it to its process and to the process group.
SECONDS_OF_ONE = 0.5


class _Signals:
    """The signals that have come so far."""

    def __init__(self) -> None:
        self.count = 0
        self.first = float("inf")  # time of the first

    def add(self) -> None:
        now = time.monotonic()
        self.first = min(self.first, now)
        if self.count == 0 or now - self.first > SECONDS_OF_ONE:
            self.count += 1


class _Handler:
    """The handler of this process: `handle` runs in the main thread, `watch` in another."""

    def __init__(self, say: Callable[[], object]) -> None:
        self.say = say
        self.parent = multiprocessing.parent_process()
        # Argo may send each SIGTERM twice to a pod, and `run` to its processes.
        self.second = self.parent is None and "MOTIFK8S_POD" not in os.environ
        self.handled, self.watched = _Signals(), _Signals()
        self.deferring = self.raised = False
        self.losing: Callable[[], bool] = lambda: False
        self.lost = -float("inf")  # when an end would last have lost work
        self.stop = threading.Event()
        self.reader, self.writer = socket.socketpair()
        self.ignored = sys.unraisablehook  # the hook before

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Stop the main thread: soon, but not in the middle of a call of a library."""
        if number in SIGNALS:  # SIGALRM is of `unraisable`
            self.handled.add()
        if not self.deferring and not self.raised:
            self.raised = True  # only once, because a second one would disturb the cleanup
            raise KeyboardInterrupt

    def unraisable(self, lost: sys.UnraisableHookArgs) -> None:
        """Raise again soon what a destructor or a callback of a library has swallowed."""
        if isinstance(lost.exc_value, KeyboardInterrupt) and self.handled.count:
            self.raised = False
            signal.setitimer(signal.ITIMER_REAL, 0.01)
        else:
            self.ignored(lost)

    def watch(self) -> None:
        """Count the signals, which arrive here at once; end the process if it does not stop."""
        sources: list[socket.socket | int] = [self.reader]
        if self.parent:
            sources.append(self.parent.sentinel)
        while True:
            ready = wait(sources, timeout=0.1 if self.watched.count else None)
            if self.reader in ready:
                numbers = self.reader.recv(1024)
                if 0 in numbers:
                    return
                for _ in filter(SIGNALS.__contains__, numbers):
                    self.watched.add()
                    self.stop.set()
            elif ready:  # the parent process has ended
                sources = [self.reader]
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
            if self.overdue():
                last = threading.Thread(target=self.say, daemon=True)
                last.start()
                last.join(1.0)  # the main thread may hold the lock of stderr
                os._exit(Interrupted.exit_code)

    def overdue(self) -> bool:
        if self.watched.count > 1 and self.second:
            return True
        if self.losing():
            self.lost = time.monotonic()
        return time.monotonic() - max(self.watched.first, self.lost) > SECONDS_TO_STOP

    @contextmanager
    def installed(self) -> Iterator[None]:
        thread = threading.Thread(target=self.watch, name="signals", daemon=True)
        self.writer.setblocking(False)
        descriptor = signal.set_wakeup_fd(self.writer.fileno(), warn_on_full_buffer=False)
        numbers = (*SIGNALS, signal.SIGALRM)
        before = {number: signal.signal(number, self.handle) for number in numbers}
        sys.unraisablehook = self.unraisable
        try:
            thread.start()  # after the handlers: it sends a signal at once if the parent has ended
            yield
        finally:
            sys.unraisablehook = self.ignored
            self.raised = True  # a signal that comes now is too late to stop anything
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(descriptor)
            self.writer.send(b"\0")
            if thread.ident:  # None if a signal came before its start
                thread.join()
            self.reader.close()
            self.writer.close()


_handler: _Handler | None = None


@contextmanager
def handled(say: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Handle signals during the block, in the main thread; inside another such block, do nothing.

    `say` is called before a process that does not stop by itself is ended, with exit code 75.
    """
    global _handler
    if _handler is not None:
        yield
        return
    _handler = _Handler(say)
    try:
        with _handler.installed():
            yield
    finally:
        _handler = None


@contextmanager
def deferred(losing: Callable[[], bool] = lambda: True, second: bool = True) -> Iterator[None]:
    """Do not disturb the block, which asks `requested`; at its end, stop if a signal has come.

    Parameters
    ----------
    losing : callable
        Returns whether the end of this process would lose work; called in another thread. If not,
        a process that does not stop by itself is ended, as it is outside the block.
    second : bool
        Whether a second signal ends the process.
    """
    handler = _handler
    if handler is None:
        yield
        return
    before, handler.second = handler.second, handler.second and second
    handler.deferring, handler.losing = True, losing
    try:
        yield
    finally:
        handler.lost = time.monotonic()
        handler.deferring, handler.losing = False, lambda: False
        if not handler.handled.count:  # else the signals of the block would end the process now
            handler.second = before
    if handler.handled.count:
        handler.raised = True
        raise KeyboardInterrupt


def handling() -> bool:
    """Return whether this process is a command or one of its cells, and not, say, a notebook."""
    return _handler is not None


def requested() -> int:
    """Return how many signals to stop have come."""
    return max(_handler.handled.count, _handler.watched.count) if _handler else 0


def stop_here() -> None:
    """Raise KeyboardInterrupt if a signal has come, inside `deferred` too."""
    if requested():
        raise KeyboardInterrupt


def sleep(seconds: float) -> None:
    """Wait before another attempt of something; raise `Interrupted` if this process must stop.

    After a signal inside `deferred`, attempts continue for a few seconds, to save a checkpoint.
    """
    _check()
    stop = _handler.stop if _handler else None
    if stop and not stop.is_set() and threading.current_thread() is not threading.main_thread():
        stop.wait(seconds)
    else:
        time.sleep(seconds)
    _check()


def _check() -> None:
    if _handler is None or not requested():
        return
    first = min(_handler.handled.first, _handler.watched.first)
    if not _handler.deferring or time.monotonic() - first > SECONDS_TO_SAVE:
        raise Interrupted("stopped while waiting for the store")
