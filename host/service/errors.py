# SPDX-License-Identifier: Apache-2.0
"""Errors of the service: each has an HTTP status, a name, and one sentence."""

from host.driver.errors import AccelError, DeviceBusy, DeviceLost, DeviceNotFound, DeviceTimeout, InputError, NotAllowed
from host.images import PictureError

AWAY = (DeviceLost, DeviceNotFound, DeviceBusy, NotAllowed)
"""Failures after which the device is opened again: the same request may work a moment later."""
RETRY_SECONDS = 2


class Refused(Exception):
    """A request that is answered with an error. ``name`` is one word, for programs; ``retry``: seconds after which the
    same request may work."""

    def __init__(self, status: int, name: str, sentence: str, retry: int | None = None):
        super().__init__(sentence)
        self.status, self.name, self.retry = status, name, retry

    @property
    def answer(self) -> dict[str, str]:
        """The JSON body of the answer; ``error`` alone is the protocol's."""
        return {"error": f"{self.name}: {self}", "name": self.name}

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.retry is None else {"Retry-After": str(self.retry)}


class BadRequest(Refused):
    """What came is not what the protocol says."""

    def __init__(self, sentence: str):
        super().__init__(400, "BadRequest", sentence)


def refusal(error: BaseException) -> Refused:
    """How ``error`` is answered: by the class and the sentence of a driver's or picture's error, else as a defect of
    this service."""
    if isinstance(error, Refused):
        return error
    name, sentence = type(error).__name__, str(error) or "no more is known."
    if isinstance(error, InputError | PictureError):
        return Refused(400, name, sentence)
    if isinstance(error, AWAY):
        return Refused(503, name, sentence, RETRY_SECONDS)
    if isinstance(error, DeviceTimeout):
        return Refused(504, name, sentence)
    if isinstance(error, AccelError):
        return Refused(502, name, sentence)
    return Refused(500, "InternalError", f"The service failed with {name}; its log tells more.")
