# SPDX-License-Identifier: Apache-2.0
"""A device of a pool with its session: opened, brought to life again after a failure, closed."""

from collections.abc import Callable
from contextlib import suppress

from golden.spec.program.image import Image
from host.driver.device import Device
from host.driver.errors import AccelError
from host.driver.session import Session


class Member:
    """``name`` tells it from the others. ``opens`` makes the device; None for a ``device`` of the caller, who closes
    it.
    """

    def __init__(self, name: str, image: Image, options: dict, device: Device, opens: Callable[[], Device] | None):
        self._image, self._options, self._opens = image, options, opens
        self.device, self.name = device, name
        self._session: Session | None = None

    @property
    def session(self) -> Session:
        """The session on the device; made when it is first needed, and again after :meth:`revive`."""
        if self._session is None:
            self._session = Session(self._image, self.device, **self._options)
        return self._session

    def revive(self) -> None:
        """Bring a device that failed into a state in which jobs run. Raises AccelError where that cannot be done."""
        session, self._session = self._session, None
        if self._opens is None:
            if session is not None:
                session.reset()
                self._session = session
            return
        self.close()
        self.device = self._opens()

    def close(self) -> None:
        """Close what the pool opened."""
        if self._opens is not None:
            with suppress(AccelError):
                self.device.close()
