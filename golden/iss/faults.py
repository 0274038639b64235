# SPDX-License-Identifier: Apache-2.0
"""Faults of the simulator: the status code and instruction index that the hardware would latch."""

from golden.spec.status import MEANING, Status


class IssFault(Exception):
    """A job that ended with another status than OK. ``status``, ``index`` (instruction) and ``address`` are what the
    registers STATUS, ERR_INDEX and ERR_ADDR would show."""

    def __init__(self, status: Status, index: int = 0, detail: str = "", address: int = 0):
        self.status, self.index, self.address = status, index, address
        more = f" ({detail})" if detail else ""
        super().__init__(f"{status.name} at instruction {index}: {MEANING[status]}{more}")


def check(condition: bool, status: Status, index: int, detail: str = "", address: int = 0) -> None:
    """Raise :class:`IssFault` unless ``condition`` holds."""
    if not condition:
        raise IssFault(status, index, detail, address)
