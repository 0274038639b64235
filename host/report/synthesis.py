# SPDX-License-Identifier: Apache-2.0
"""Markdown tables of the results that `make synth` and `make pnr` keep in ``hw/synthesis``."""

from collections import Counter
from pathlib import Path

from golden.spec.boards import BOARD_OF, BOARDS, Board
from host.report import measured

KEPT = Path(__file__).parents[2] / "hw" / "synthesis"
LOGIC = {"levels": 8, "reset": 4096}
"""Upper limits of every machine: LUT levels of a path, flip-flops that one net resets."""
MUST = {"zcu102": {"LUT": 105_000, "DSP": 1754, "BRAM36": 638},
        "kv260": {"LUT": 94_000, "DSP": 998, "BRAM36": 115, "URAM": 51}}
"""Upper limits of whole machines; those of kv260 are 80 % of its device."""
TARGET = {"zcu102": {"LUT": 95_000, "DSP": 1300, "BRAM36": 450, "levels": 6}, "kv260": {"LUT": 85_000, "DSP": 850}}
"""Targets for the same quantities."""
MACHINE, GLUE = "top", "glue"
"""Row names of the whole machine and of the logic in the top module itself."""
_AREAS = ("LUT", "LUTRAM", "FF", "DSP", "BRAM36", "URAM")
_KINDS = {"register to register": "levels", "port to register": "in", "register to port": "out",
          "port to port": "through"}
_ABOUT = ("Each unit stands once in the machine; `glue` is the top's own logic, `top` the sum of all rows above it. "
          "Levels are LUT levels of the longest path from register to register (in: port to register, out: register to "
          "port, through: port to port); those of `top` run through as many units as they do.")


def areas(machine: str, results: list[dict], board: Board | None = None) -> str:
    """Markdown: one row per unit of ``machine`` (entries of ``sim.implementation.synth``), the board, the limits."""
    board = board or BOARDS[BOARD_OF[machine]]
    lines = [["unit", *("of them RAM" if name == "LUTRAM" else name for name in _AREAS), *_KINDS.values()]]
    for result in results:
        area = _counts(result)
        depths = [str(result["paths"][kind]["levels"]) if kind in result["paths"] else "-" for kind in _KINDS]
        lines.append([_row_name(result), *(_number(area[name]) for name in _AREAS), *depths])
    have = {"LUT": board.lut, "FF": board.ff, "DSP": board.dsp, "BRAM36": board.bram36, "URAM": board.uram}
    lines.append(_limits(f"{board.name} has", have))
    if whole := _whole(results):
        used = _counts(whole)
        lines.append(_limits("used", {name: f"{100 * used[name] / count:.0f} %" for name, count in have.items()
                                      if count}))
    if machine in MUST:
        lines += [_limits("must stay within", MUST[machine] | LOGIC), _limits("reach for", TARGET[machine])]
    return _markdown(lines) + (f"\n\n{_ABOUT}" if whole else "")


def clocks(results: list[dict], part: str, has: dict[str, int]) -> str:
    """Markdown: one row per unit (entries of ``sim.implementation.pnr``), the part, the share the machine uses."""
    lines = [["unit", *has, "Fmax, MHz"]]
    lines += [[_row_name(result), *(f"{result['used'].get(name, 0):,}" for name in has),
               f"{result['mhz']:.1f}" if result["mhz"] else "-"] for result in results]
    lines.append([f"{part} has", *(f"{count:,}" for count in has.values()), ""])
    if whole := _whole(results):
        used = (whole["used"].get(name, 0) / count for name, count in has.items())
        lines.append(["used", *(f"{100 * part:.0f} %" for part in used), ""])
    return _markdown(lines)


def kept_areas(machine: str) -> str:
    """The table of the results that ``make synth`` last kept for ``machine``."""
    return areas(machine, kept(machine)["units"])


def kept_totals(machine: str) -> str:
    """Of the same results the sum only, with the board and the limits."""
    whole = _whole(kept(machine)["units"])
    return areas(machine, [] if whole is None else [whole]).removesuffix(f"\n\n{_ABOUT}")


def kept_clocks(machine: str) -> str:
    """The table of the results that ``make pnr`` last kept for ``machine``."""
    found = kept(f"{machine}-pnr")
    return "\n\n".join([clocks(found["units"], found["part"], found["has"]), *found["sentences"]])


def kept(name: str) -> dict:
    """A result file; empty when there is none."""
    return measured.kept(name, KEPT)


def keep(name: str, entry: dict) -> Path:
    """Write a result file."""
    return measured.keep(name, entry, KEPT)


def _counts(result: dict) -> Counter:
    return Counter(result["resources"]) | Counter({"BRAM36": result["bram36"]})


def _whole(results: list[dict]) -> dict | None:
    return next((result for result in results if result["unit"] == MACHINE), None)


def _row_name(result: dict) -> str:
    return f"**{result['unit']}**" if result["unit"] == MACHINE else result["unit"]


def _limits(name: str, values: dict) -> list[str]:
    shown = [values.get(column, "") for column in (*_AREAS, *_KINDS.values())]
    return [name, *(value if isinstance(value, str) else f"{value:,}" for value in shown)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def _markdown(lines: list[list[str]]) -> str:
    ruled = [lines[0], ["---"] + ["---:"] * (len(lines[0]) - 1), *lines[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in ruled)
