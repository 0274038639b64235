# SPDX-License-Identifier: Apache-2.0
"""Errors of a device on their way to the client: class, sentence and what a job's error knows, as JSON."""

import json

from golden.spec.status import Status
from host.driver import errors
from host.driver.errors import AccelError, DeviceLost, OutOfMemory
from host.driver.remote.frames import MOST_UNKNOWN

KINDS = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, AccelError)}
LONGEST = MOST_UNKNOWN // 8
"""Characters of a sentence that are sent."""


def error_bytes(error: BaseException) -> bytes:
    """Payload of an ERROR frame. What is no error of the driver is told as DeviceLost, with its own name."""
    facts: dict = {"error": type(error).__name__, "says": str(error)[:LONGEST]}
    if isinstance(error, MemoryError):
        facts = {"error": OutOfMemory.__name__, "says": "The server itself has not enough memory for that."}
    elif not isinstance(error, AccelError):
        facts = {"error": DeviceLost.__name__, "says": f"The device failed: {type(error).__name__}: {error}"[:LONGEST]}
    else:
        facts |= {"status": error.status, "address": error.address, "index": error.index, "run_id": error.run_id}
    return json.dumps(facts).encode()


def error_from(payload: bytes) -> AccelError:
    """The error that an ERROR frame carries; whatever it holds, an error of the driver."""
    try:
        facts = json.loads(payload)
        kind = KINDS.get(facts["error"], DeviceLost)
        status = facts.get("status")
        return kind(str(facts["says"]), status=None if status is None else Status(status),
                    **{name: int(facts.get(name, 0)) for name in ("address", "index", "run_id")})
    except (ValueError, KeyError, TypeError, AttributeError):
        return DeviceLost("The server reported an error that this driver does not understand.")
