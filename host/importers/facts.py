# SPDX-License-Identifier: Apache-2.0
"""Facts about a checkpoint: options given, else what its files say, else a guess, each with who said it."""

from collections.abc import Callable
from dataclasses import replace

from golden.files.errors import AmbiguousModel
from golden.spec.model import GateKind
from host.importers.files.nested import prefix_of
from host.importers.options import Options

_OWN = "an option"
_SHOWN = ("heads", "top_k", "gate", "activation", "eps", "pool", "pixel_scale", "pixel_mean", "pixel_std", "fit",
          "crop_share", "interpolation")


class Facts:
    """Options of an import as they become known. The first to say a value is believed: ask in the order options,
    files, guesses. ``note`` hears sentences for the user.
    """

    def __init__(self, options: Options, note: Callable[[str], None] = lambda line: None):
        self.options, self.note = options, note
        self._said_by = dict.fromkeys(options.given, _OWN)
        self._guessed: dict[str, str] = {}

    def told(self, source: str, **values) -> None:
        """Take values, where they are not None, that a file says. Raises :class:`AmbiguousModel` where it has
        another count of attention heads than the option: no result would show which was right.
        """
        values = {field: value for field, value in values.items() if value is not None}
        given = self.options.heads
        if self._said_by.get("heads") == _OWN and values.get("heads", given) != given:
            raise AmbiguousModel(f"{source} says {values['heads']} attention heads, --heads says {given}. Leave "
                                 f"--heads out, or correct the file.")
        self._take(source, values)

    def guess(self, why: str, **values) -> None:
        """Take values that no file says; ``why`` completes "a guess, ..."."""
        new = self._take(why, values)
        self._guessed |= dict.fromkeys(new, why)

    def said_by(self, field: str) -> str | None:
        """Who said a field's value: an option, a file, or the reason of a guess; None where it is not known."""
        return self._said_by.get(field)

    def left_out(self, names: list[str], why: str) -> None:
        """Tell ``note`` which tensors have no place in the model, if any; ``why`` completes "they are ..."."""
        if names:
            self.note(f"{len(names)} tensors are {why} and left out: {', '.join(sorted(names)[:4])}"
                      f"{', ...' if len(names) > 4 else '.'}")

    def prefix_of(self, tensors: dict, anchor: str) -> str | None:
        """What stands before ``anchor`` in a tensor's name; None where there is none. The option ``key`` chooses."""
        return prefix_of(tensors, anchor, self.options.key)

    def without_prefix(self, tensors: dict, prefix: str, keep: tuple[str, ...] = ()) -> dict:
        """The tensors under a prefix, without it, and those whose names start with one of ``keep``; others are left
        out, and said so.
        """
        if not prefix:
            return tensors
        inside = {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
        kept = {name: array for name, array in tensors.items() if keep and name.startswith(keep)}
        self.left_out([name for name in tensors if not name.startswith(prefix) and name not in kept],
                      f"outside the network {prefix.rstrip('./')!r}, stay on the host")
        return inside | kept

    def resized(self, old: tuple[int, int], new: tuple[int, int], kind: str) -> None:
        """Tell ``note`` that positions were resized."""
        self.note(f"positional embedding resized from {old[0]} x {old[1]} to {new[0]} x {new[1]} patches "
                  f"({kind.replace('_', ' with ')}).")

    def say(self) -> None:
        """Tell ``note`` who said what, guesses last."""
        lines: dict[tuple[bool, str], list[str]] = {}
        for field in _SHOWN:
            if (by := self._said_by.get(field)) not in (None, _OWN):
                lines.setdefault((field in self._guessed, str(by)), []).append(field)
        for (guessed, by), fields in sorted(lines.items()):
            shown = ", ".join(f"{field.replace('_', ' ')} {_text(getattr(self.options, field))}" for field in fields)
            options = ", ".join(f"--{field.replace('_', '-')}" for field in fields)
            self.note(f"a guess, {by}: {shown}. If the model was trained otherwise give {options}." if guessed
                      else f"{by} says: {shown}.")

    def _take(self, source: str, values: dict) -> list[str]:
        new = [field for field in values if getattr(self.options, field) is None and values[field] is not None]
        self.options = replace(self.options, **{field: values[field] for field in new})
        self._said_by |= dict.fromkeys(new, source)
        return new


def _text(value: object) -> str:
    if isinstance(value, GateKind):
        return value.value
    return " ".join(f"{v:.6g}" for v in value) if isinstance(value, tuple) else str(value)
