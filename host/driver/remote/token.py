# SPDX-License-Identifier: Apache-2.0
"""The token: a secret text that server and client share, kept in a file that only its owner reads.

Where it is looked for, in this order: the file that was named; ``EDGE_MOE_TOKEN``, the token itself;
``EDGE_MOE_TOKEN_FILE``; ``~/.config/edge-moe/token``. Never on a command line, which every user of a computer sees.
"""

import os
import secrets
import stat
from pathlib import Path

from host.driver.errors import NotAllowed

VALUE, FILE = "EDGE_MOE_TOKEN", "EDGE_MOE_TOKEN_FILE"
SHORTEST = 16
LONGEST = 1024


def default_file() -> Path:
    """Where the token lies unless said otherwise."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "edge-moe" / "token"


def find_token(file: "str | os.PathLike | None" = None) -> tuple[bytes, str]:
    """The token, and where it came from. Raises NotAllowed where there is none, or where others may read it."""
    if file is None and (value := os.environ.get(VALUE)) is not None:
        return _checked(value.strip().encode(), f"the variable {VALUE}"), f"the variable {VALUE}"
    path = Path(file or os.environ.get(FILE) or default_file())
    try:
        with path.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            content = opened.read(LONGEST + 1)
    except FileNotFoundError:
        raise NotAllowed(f"There is no token {path}: copy the one of the server, which `edge-moe serve` names, or set "
                         f"{VALUE} or {FILE}.") from None
    except OSError as error:
        raise NotAllowed(f"The token {path} cannot be read: {error.strerror}.") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise NotAllowed(f"Others may read the token {path}: chmod 600 {path}, and make a new one if they did.")
    return _checked(content.strip(), str(path)), str(path)


def server_token(file: "str | os.PathLike | None" = None) -> tuple[bytes, str]:
    """:func:`find_token`; a file that does not exist yet is made, with a new token that only its owner reads."""
    if file is None and os.environ.get(VALUE) is not None:
        return find_token()
    path = Path(file or os.environ.get(FILE) or default_file())
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return find_token(path)
    except OSError as error:
        raise NotAllowed(f"The token {path} cannot be made: {error.strerror}.") from None
    with os.fdopen(fd, "w") as opened:
        opened.write(secrets.token_urlsafe(32) + "\n")
    return find_token(path)


def _checked(token: bytes, source: str) -> bytes:
    if not SHORTEST <= len(token) <= LONGEST:
        raise NotAllowed(f"The token in {source} has {len(token)} characters; it must have {SHORTEST} to {LONGEST}.")
    return token
