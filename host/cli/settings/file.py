# SPDX-License-Identifier: Apache-2.0
"""The file of defaults: where it lies, what it may hold. It is data; nothing of it is ever executed.

``[defaults]`` holds options of any verb, a table called like a verb options of that one, which come first. Keys are
the long options: ``save-picture = "sheet.png"``.
"""

import os
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from typer.core import TyperCommand, TyperOption

from host.cli.output import UsageError

HERE, VARIABLE, OWN = "edge-moe.toml", "EDGE_MOE_CONFIG", "edge-moe/config.toml"
"""Its name in the working folder; the variable that names it; its place in the user's folder of settings."""
DEFAULTS = "defaults"
LARGEST = 1 << 20

Verbs = Mapping[str, TyperCommand]
_KINDS = {int: "a whole number", float: "a number", bool: "true or false"}


def find() -> Path | None:
    """The file that counts: ``edge-moe.toml`` here, else $EDGE_MOE_CONFIG, else that of the user; None without any.
    Raises UsageError where the variable names none.
    """
    if (here := Path(HERE)).is_file():
        return here
    if named := os.environ.get(VARIABLE):
        if not Path(named).is_file():
            raise UsageError(f"The variable {VARIABLE} names the file {named}, which there is not.")
        return Path(named)
    own = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / OWN
    return own if own.is_file() else None


def options(verb: TyperCommand) -> dict[str, TyperOption]:
    """The options of a verb by their long names."""
    return {long_name(each): each for each in verb.params if isinstance(each, TyperOption)
            and each.expose_value and not each.hidden}


def long_name(option: TyperOption) -> str:
    """``save-picture`` of ``--save-picture``."""
    return next(name for name in option.opts if name.startswith("--"))[2:]


def read(path: Path, verbs: Verbs) -> dict[str, dict[str, Any]]:
    """What the file says, by verb and by parameter, as Click's ``default_map`` wants it. Raises UsageError with file,
    key and the nearest known one for what is no option, or no value of one.
    """
    content, found = _parsed(path), {name: {} for name in verbs}
    known = {name: options(verb) for name, verb in verbs.items()}
    for table, values in content.items():
        if not isinstance(values, dict):
            raise UsageError(f"{path}: {table!r} stands outside of a table; options are in [{DEFAULTS}] or in one "
                             f"called like a verb.")
        if table != DEFAULTS and table not in verbs:
            raise UsageError(f"{path}: [{table}] is no verb; the nearest table is "
                             f"[{nearest(table, (DEFAULTS, *verbs))}].")
    for table in (DEFAULTS, *content.keys() - {DEFAULTS}):  # a verb's own value comes last, and stays
        names = list(verbs) if table == DEFAULTS else [table]
        for key, value in content.get(table, {}).items():
            for name in _takers(path, table, key, value, {name: known[name] for name in names}):
                found[name][str(known[name][key].name)] = _for(known[name][key], value)
    return found


def _parsed(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise UsageError(f"{path}: a file of defaults has at most {LARGEST:,} bytes.")
        return tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not TOML: {str(error).rstrip('.') or 'nested too deeply'}.") from None


def _takers(path: Path, table: str, key: str, value: Any, known: Mapping[str, Mapping[str, TyperOption]]) -> list[str]:
    """The verbs that take ``key`` with that value."""
    having = {name: options[key] for name, options in known.items() if key in options}
    if not having:
        every = {key for options in known.values() for key in options}
        raise UsageError(f"{path}: [{table}] {key} is no option; the nearest one is {nearest(key, every)}.")
    found = [name for name, option in having.items() if _fits(option, value)]
    if not found:
        raise UsageError(f"{path}: [{table}] {key} must be {_wanted(next(iter(having.values())))}, not {value!r}.")
    return found


def _kind(option: TyperOption) -> type:
    """int, float, bool, or str for all that is written as text."""
    kind = bool if option.is_flag else option.type_descriptor.annotation
    return kind if kind in _KINDS else str


def _fits(option: TyperOption, value: Any) -> bool:
    if option.multiple:
        return isinstance(value, str) or isinstance(value, list) and all(isinstance(each, str) for each in value)
    kind = _kind(option)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is kind


def _wanted(option: TyperOption) -> str:
    return "a text or a list of texts" if option.multiple else _KINDS.get(_kind(option), "a text")


def _for(option: TyperOption, value: Any) -> Any:
    return [value] if option.multiple and isinstance(value, str) else value


def nearest(name: str, names: Iterable[str]) -> str:
    """The one of ``names`` that is most like ``name``."""
    return get_close_matches(name, sorted(names), 1, 0.0)[0]
