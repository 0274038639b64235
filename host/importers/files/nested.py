# SPDX-License-Identifier: Apache-2.0
"""Dictionaries of tensors inside what a checkpoint file holds, and the prefixes of their names."""

import re
from collections.abc import Iterable

from golden.files.errors import AmbiguousModel, UnknownLayout

DEEPEST = 4
_WRAPPED = re.compile(r"(^|\.)(_orig_mod|_fsdp_wrapped_module|module)\.")
_NO_MODEL = re.compile(r"(.*optim.*|.*sched.*|.*scaler.*|amp|state)")


def state_dict(payload: object, key: str | None, source: str) -> dict:
    """The dictionary of tensors in a payload: the only one, or the one at the place ``key``, such as ``teacher`` or
    ``state_dict.ema``. Raises :class:`AmbiguousModel` with the names of all where there are several.
    """
    if not isinstance(payload, dict):
        raise UnknownLayout(f"{source} must hold a dictionary of tensors, not a {type(payload).__name__}.")
    found = dict(_dictionaries(payload, "", 0))
    if key is not None:
        match = [place for place in found if place == key] or [place for place in found if place.startswith(f"{key}.")]
        if len(match) == 1:
            return found[match[0]]
        if found and not (len(found) == 1 and "" in found):
            raise AmbiguousModel(f"{source} has no dictionary of tensors named {key!r}; it has {_listed(found)}.")
    if len(found) > 1:
        raise AmbiguousModel(f"{source} holds {len(found)} dictionaries of tensors, {_listed(found)}: choose one with "
                             f"--key NAME (key=... in Python).")
    return next(iter(found.values()), payload)


def unwrapped(names: Iterable[str]) -> dict[str, str]:
    """Each name without what ``torch.compile``, DataParallel and FSDP put into it, by the name it had."""
    return {name: _WRAPPED.sub(r"\1", _WRAPPED.sub(r"\1", name)) for name in names}


def prefix_of(names: Iterable[str], anchor: str, key: str | None) -> str | None:
    """What stands before ``anchor`` in one of the names; None where no name ends with it. Where several networks
    have it, as teacher and student, ``key`` chooses the prefix, else :class:`AmbiguousModel` is raised.
    """
    found = sorted({name.removesuffix(anchor) for name in names
                    if name == anchor or name.endswith((f".{anchor}", f"/{anchor}"))})
    if key is not None and (chosen := [prefix for prefix in found if prefix in (f"{key}.", key)
                                       or prefix.startswith(f"{key}.")]):
        found = chosen
    if len(found) > 1:
        raise AmbiguousModel(f"The checkpoint holds {len(found)} networks, "
                             f"{', '.join(repr(prefix.rstrip('./')) for prefix in found)}: choose one with --key NAME "
                             f"(key=... in Python).")
    return found[0] if found else None


def _dictionaries(payload: dict, place: str, depth: int) -> Iterable[tuple[str, dict]]:
    """Place and content of each dictionary that holds tensors of a network."""
    if sum(isinstance(name, str) and hasattr(value, "untyped_storage") for name, value in payload.items()) > 1:
        yield place, payload
    for name, value in payload.items() if depth < DEEPEST else ():
        if isinstance(name, str) and isinstance(value, dict) and not _NO_MODEL.fullmatch(name):
            yield from _dictionaries(value, f"{place}.{name}".lstrip("."), depth + 1)


def _listed(places: Iterable[str]) -> str:
    return ", ".join(repr(place or "the file itself") for place in places)
