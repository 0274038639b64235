# SPDX-License-Identifier: Apache-2.0
"""``make docs``: generates the tables in README pages from the spec and from the last kept results of `make synth`,
`make pnr`, `make bench`, `make bench-table` and `make ablation`.

The text between ``<!-- begin NAME -->`` and ``<!-- end NAME -->`` in a page is replaced: by a table of its own, or by
a figure in the middle of a sentence.
``tests/meta/test_pages.py`` fails when a page is out of date.
"""

import re
from functools import partial
from pathlib import Path

import numpy as np

from golden.ops.activation import activate
from golden.spec.activations import ACT_IN_FRAC, ACT_OUT_FRAC, BY_CODE
from golden.spec.limits import MODEL_LIMITS, machine_limits
from golden.spec.machine import MACHINES
from golden.spec.model import M3VIT_TINY
from golden.spec.quantized import quantized_schema
from host.registers.pages import fields, registers, statuses
from host.report.comparison import (
    FIGURES,
    HEADLINE,
    ablation,
    ablation_steps,
    measured_cases,
    models_and_machines,
    published,
)
from host.report.instruction_set import instructions, table
from host.report.other_networks import other_networks
from host.report.synthesis import kept_areas, kept_clocks, kept_totals

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "golden/README.md", "hw/README.md", "hw/synthesis/README.md", "host/doc/other-networks.md",
         "sim/bench/README.md")


def machines() -> str:
    """The presets of machine configurations."""
    return table(
        ["machine", "MAC/cycle", "tm x 32 x tk", "weight ports", "longest burst", "ring KiB", "operand KiB",
         "residual KiB", "K, V KiB", "fingerprint"],
        [[m.name, m.macs_per_cycle, f"{m.tm} x 32 x {m.tk}", f"{m.ports} x {8 * m.port_bytes} bits", m.max_burst,
          m.ring_lines // 16, m.operand_rows // 16, m.residual_rows // 16, f"2 x {m.kv_tiles // 2}",
          f"`{m.fingerprint:016x}`"] for m in MACHINES.values()])


def activations() -> str:
    """Codes, tables and errors of the activations."""
    rows, u = [], np.arange(-1 << 15, 1 << 15)
    for kind in BY_CODE:
        exact = np.array([kind.exact(x) for x in (u / 2 ** ACT_IN_FRAC).tolist()])
        error = np.abs(activate(u, kind.code) - exact * 2.0 ** kind.out_frac(0)).max()
        steps = f"t = {ACT_IN_FRAC + kind.step_log2}" if kind.delta else "T = 0"
        shown = "`g = u`, steps of u" if kind.passes else steps
        rows.append([kind.code, kind.name, shown, f"{error:.2f} ({error / 2 ** ACT_OUT_FRAC:.1e})" if error else 0])
    return table(["code", "activation", "table", "largest error of all inputs, steps of 2^-14"], rows)


def tensors() -> str:
    """The tensors of a quantized model, with the shapes they have in M3ViT-Tiny; one block of each kind."""
    shown = [(name, spec) for name, spec in quantized_schema(M3VIT_TINY).items()
             if not name.startswith("blocks.") or name.startswith(("blocks.0.", "blocks.1.mlp", "blocks.1.gate.task0"))]
    return table(["tensor", "type", "shape"], [[f"`{name}`", dtype, " x ".join(map(str, shape)) or "scalar"]
                                               for name, (dtype, shape) in shown])


def limits() -> str:
    """Limits of models: on any machine, and on each preset."""
    rows = [[limit.name, limit.about, limit.most, *[""] * len(MACHINES)] for limit in MODEL_LIMITS]
    held = [machine_limits(machine) for machine in MACHINES.values()]
    rows += [[what, "", "", *(values[what] for values in held)] for what in held[0]]
    return table(["what", "meaning", "any machine", *MACHINES], rows)


SECTIONS = {"registers": registers, "fields": fields, "statuses": statuses, "instructions": instructions,
            "machines": machines, "activations": activations, "tensors": tensors, "limits": limits,
            "other-networks": other_networks, "models-machines": models_and_machines, "published": published,
            "headline": partial(measured_cases, "m3vit-tiny", "zcu102", HEADLINE),
            "m3vit-tiny-zcu102": partial(measured_cases, "m3vit-tiny", "zcu102"),
            "m3vit-tiny-u280": partial(measured_cases, "m3vit-tiny", "u280"),
            "ablation": ablation, "ablation-steps": ablation_steps,
            "synth-zcu102-total": partial(kept_totals, "zcu102"), "synth-zcu102": partial(kept_areas, "zcu102"),
            "synth-kv260": partial(kept_areas, "kv260"), "synth-u280": partial(kept_areas, "u280"),
            "synth-small": partial(kept_areas, "small"), "pnr-small": partial(kept_clocks, "small")}


def rewritten(text: str) -> str:
    """``text`` with every generated section as it should be. Raises KeyError for an unknown section."""
    def fill(match: re.Match) -> str:
        if match[1] in FIGURES:
            return f"<!-- begin {match[1]} -->{FIGURES[match[1]]()}<!-- end {match[1]} -->"
        return f"<!-- begin {match[1]} -->\n\n{SECTIONS[match[1]]()}\n\n<!-- end {match[1]} -->"

    return re.sub(r"<!-- begin ([\w-]+) -->.*?<!-- end \1 -->", fill, text, flags=re.DOTALL)


def main() -> int:
    """Rewrite the pages; prints the ones that changed."""
    for page in PAGES:
        path = ROOT / page
        old = path.read_text()
        new = rewritten(old)
        if new != old:
            path.write_text(new)
            print(f"rewrote {page}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
