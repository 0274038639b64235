# SPDX-License-Identifier: Apache-2.0
"""What a signal to end does to a command: SIGTERM ends it as Ctrl-C does, so that devices stop and half files go."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


@contextmanager
def ends_on_sigterm() -> Iterator[None]:
    """SIGTERM raises SystemExit with the status that shells give it, 143. Does nothing outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def ctrl_c_later() -> Iterator[None]:
    """A Ctrl-C meanwhile is heard afterwards, and not at all by processes that are started meanwhile.

    They inherit the mask of this thread. Where the signal goes to another thread, a handler keeps it. Outside the main
    thread only the former.
    """
    heard: list[int] = []
    main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number)) if main else None
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if heard and callable(handler):
            handler(signal.SIGINT, None)


def _end(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)
