# SPDX-License-Identifier: Apache-2.0
"""Small JSON files that lie next to a checkpoint."""

import json
from pathlib import Path

from golden.files.errors import BadHeader

LIMIT = 8 << 20
"""Largest accepted file in bytes; an index of shards needs about 100 bytes a tensor."""


def read_json(path: Path) -> dict:
    """A JSON object from a file next to a checkpoint; empty where there is no such file."""
    if not path.is_file():
        return {}
    if path.stat().st_size > LIMIT:
        raise BadHeader(f"{path} must be a small JSON file, not {path.stat().st_size} bytes.")
    try:
        data = json.loads(path.read_bytes().decode())
    except (ValueError, RecursionError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise BadHeader(f"{path} must be JSON; it is not ({first}).") from None
    if not isinstance(data, dict):
        raise BadHeader(f"{path} must hold a JSON object, not a {type(data).__name__}.")
    return data
