# SPDX-License-Identifier: Apache-2.0
"""The register map as tables: for pages in Markdown, and as one HTML page."""

from collections.abc import Sequence
from html import escape

from golden.spec.machine import MachineConfig
from golden.spec.regs import REGISTERS
from golden.spec.status import MEANING, Status
from host.registers.facts import ACCESSES, KEY, heading, reset_of
from host.report.instruction_set import table

STYLE = """body { font: 15px/1.5 sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; width: 100%; margin: 1em 0 }
th, td { text-align: left; padding: .25em .6em; border-bottom: 1px solid #ddd; vertical-align: top }
th { background: #f3f3f3 } tr:target, h3:target { background: #fff3c4 }
td:first-child, code { font-family: monospace }"""

Rows = tuple[list[str], list[list[str]]]
"""Headings and cells of a table."""


def registers() -> str:
    """The registers as a Markdown table, and what it leaves open."""
    return f"{table(*_registers(None))}\n\n{KEY} {ACCESSES}"


def fields() -> str:
    """The fields of registers that have several, as a Markdown table."""
    return table(*_fields())


def statuses() -> str:
    """The status codes as a Markdown table."""
    return table(*_statuses())


def markdown(machine: MachineConfig | None = None) -> str:
    """A whole page in Markdown."""
    parts = [f"# {heading(machine)}", f"Written by `edge-moe registers`. {KEY} {ACCESSES}"]
    for title, rows in _tables(machine):
        parts += [f"## {title}", table(*rows)]
    return "\n\n".join([*parts, ""])


def html(machine: MachineConfig | None = None) -> str:
    """A whole page in HTML, which needs no other file; each register has an anchor of its name."""
    title = escape(heading(machine))
    parts = ["<!DOCTYPE html>", "<!-- SPDX-License-Identifier: Apache-2.0 -->", '<html lang="en"><head>',
             f'<meta charset="utf-8"><title>{title}</title>', f"<style>{STYLE}</style></head><body>",
             f"<h1>{title}</h1>",
             f"<p>Written by <code>edge-moe registers</code>. {escape(KEY)} {escape(ACCESSES)}</p>"]
    for name, (headings, rows) in _tables(machine):
        parts += [f"<h2>{name}</h2>", "<table>", _row("th", headings)]
        parts += [_row("td", row, row[1] if name == "Registers" else None) for row in rows]
        parts.append("</table>")
    return "\n".join([*parts, "</body></html>", ""])


def _row(cell: str, values: Sequence[str], anchor: str | None = None) -> str:
    start = "<tr>" if anchor is None else f'<tr id="{anchor}">'
    return start + "".join(f"<{cell}>{escape(str(value))}</{cell}>" for value in values) + "</tr>"


def _tables(machine: MachineConfig | None) -> list[tuple[str, Rows]]:
    return [("Registers", _registers(machine)), ("Fields", _fields()), ("Status codes", _statuses())]


def _registers(machine: MachineConfig | None) -> Rows:
    def reset(register):
        value = reset_of(register, machine)
        return "of the machine" if value is None else f"0x{value:X}"

    return ["offset", "name", "bits", "access", "reset", "meaning"], [
        [f"0x{r.offset:03X}", r.name, str(r.bits), r.access.value.upper() + (", locked" if r.locked else ""), reset(r),
         r.about] for r in REGISTERS]


def _fields() -> Rows:
    return ["register", "bits", "field", "access", "meaning"], [
        [r.name, f"{f.low}" if f.width == 1 else f"{f.low + f.width - 1}:{f.low}", f.name, f.access.value.upper(),
         f.about] for r in REGISTERS for f in r.parts]


def _statuses() -> Rows:
    return ["code", "name", "meaning"], [[f"0x{int(s):02X}", s.name, MEANING[s]] for s in Status]
