# SPDX-License-Identifier: Apache-2.0
"""Markdown tables of kept measurements: models x machines, published accelerators, the ablation of the ideas."""

from collections.abc import Sequence
from dataclasses import dataclass

from golden.spec.machine import ZCU102
from golden.spec.model import M3VIT_TINY
from host.report.instruction_set import table
from host.report.measured import KEPT, cell, kept, milliseconds

IDEAL, BOARD = "fast, ideal DRAM", "fast, DRAM of the board"
HEADLINE = (IDEAL, BOARD, "fast, packed experts, DRAM of the board", "fast, four pictures, ideal DRAM")
"""Cases of M3ViT-Tiny on zcu102 that README.md shows."""


@dataclass(frozen=True)
class Published:
    """A published accelerator: model, board, bits of weights and activations, clock in MHz, DSP blocks (0: not stated),
    milliseconds a frame at batch 1, millions of multiply-accumulates a frame as the paper counts them (0: tokens not
    stated, or no use of DSPs to be told from it), remark."""

    name: str
    model: str
    board: str
    bits: str
    mhz: int
    dsp: int
    ms: float
    mmac: float
    remark: str = ""


PUBLISHED = (
    Published("Edge-MoE, ICCAD 2023", "M3ViT-T", "ZCU102", "16 / 32", 300, 0, 34.64, 782.7),
    Published("UbiMoE, ISCAS 2025", "M3ViT-T", "ZCU102", "16 / 32", 300, 1850, 25.76, 782.7,
              "129 tokens by its sources"),
    Published("CoQMoE, Euro-Par 2025", "M3ViT-T", "ZCU102", "8 / 8", 300, 1754, 6.47, 0),
    Published("UbiMoE, ISCAS 2025", "M3ViT-S", "U280", "16 / 32", 200, 0, 10.33, 0),
    Published("CoQMoE, Euro-Par 2025", "M3ViT-S", "U280", "8 / 8", 250, 2635, 9.16, 0),
    Published("Huang, TCAS-I 2023", "ViT-T", "ZCU102", "8 / 8", 300, 1268, 4.077, 1254),
    Published("Huang, TCAS-I 2023", "ViT-S", "ZCU102", "8 / 8", 300, 1268, 11.14, 4248),
    Published("HeatViT, HPCA 2023", "DeiT-S", "ZCU102", "8 / 8", 300, 0, 9.15, 0, "tokens pruned"),
    Published("Auto-ViT-Acc, FPL 2022", "DeiT-S", "ZCU102", "4 to 8 / 8", 150, 1552, 10.03, 4553,
              "a part of the products in LUTs"),
    Published("HG-PIPE", "DeiT-T", "VCK190", "3 / 3", 425, 312, 1.94, 0,
              "layers are a pipeline: 7,118 frames/s; products in LUTs; one network a bitstream"),
)
"""Rows of their papers. What is not stated there is left out, not computed."""


def models_and_machines() -> str:
    """Cycles of each model on each machine that holds it, measured in RTL where `make bench` kept it, else
    predicted."""
    rows = []
    for facts in kept("predicted").get("cells", ()):
        if "refusal" not in facts:
            rows.append([facts["model"], facts["machine"], f"{facts['macs_per_cycle']:,}", f"{facts['dsp']:,.0f}",
                         facts["tokens"], *_cell(facts, kept(cell(facts["model"], facts["machine"])))])
    return table(["model", "machine", "MAC/cycle", "DSP", "tokens", "cycles, ideal memory",
                  "cycles, memory of the board", "ms", "frames/s", "MAC/DSP/cycle", "experts hit", "RTL at"], rows)


def measured_cases(model: str, machine: str, only: Sequence[str] = ()) -> str:
    """Every case of a model on a machine that `make bench` kept, or ``only`` some: cycles, use of the array, bytes."""
    found = kept(cell(model, machine))
    rows = [[name, f"{row['cycles']:,}", f"{milliseconds(row['cycles']):.3f}", f"{row['use']:.3f}",
             f"{row['bytes'] / 1e6:.1f}", f"{row['dram_ratio']:.3f}", f"{row['predicted'] / row['cycles'] - 1:+.1%}",
             f"`{row['commit']}`"]
            for name in only or sorted(found) if (row := found.get(name))]
    return table(["case", "cycles a picture", "ms", "array use", "DRAM MB a picture", "bytes over those needed",
                  "performance model", "RTL at"], rows)


def _cell(facts: dict, measured: dict) -> list[str]:
    """Cycles in both memories, then what follows from those with the board's: milliseconds, frames, use of DSPs."""
    shown, cycles = [], {}
    for case in (IDEAL, BOARD):
        cycles[case] = measured[case]["cycles"] if case in measured else facts["cycles"][case]
        shown.append(f"{cycles[case]:,.0f} {'RTL' if case in measured else 'model'}")
    known = measured.get(BOARD) or measured.get(IDEAL)
    macs = known["macs"] if known else facts["macs"]
    hit = known["experts_hit"] if known else facts["experts_hit"]
    ms = milliseconds(cycles[BOARD])
    commits = sorted({measured[case]["commit"] for case in (IDEAL, BOARD) if case in measured})
    return [*shown, f"{ms:.3f}", f"{1000 / ms:.0f}", f"{macs / cycles[BOARD] / facts['dsp']:.2f}",
            f"{hit:.3g}" if hit else "", ", ".join(f"`{commit}`" for commit in commits)]


def published() -> str:
    """Published accelerators in the same columns."""
    rows = []
    for row in PUBLISHED:
        cycles = row.ms * 1e3 * row.mhz
        use = f"{row.mmac * 1e6 / cycles / row.dsp:.2f}" if row.mmac and row.dsp else ""
        rows.append([row.name, row.model, row.board, row.bits, row.mhz, row.dsp or "", f"{row.ms:g}",
                     f"{cycles:,.0f}", f"{1000 / row.ms:.0f}", use, row.remark])
    return table(["published", "model", "board", "bits W / A", "MHz", "DSP", "ms", "cycles", "frames/s",
                  "MAC/DSP/cycle", "remark"], rows)


def bytes_over_needed() -> str:
    """DRAM bytes of a frame of M3ViT-Tiny on zcu102 over those needed, in figures."""
    return f"{kept(cell(M3VIT_TINY.name, ZCU102.name))[BOARD]['dram_ratio']:.3f}"


def experts_hit() -> str:
    """Mean number of experts with tokens in a layer of M3ViT-Tiny, of how many, on the measured picture."""
    return f"{kept(cell(M3VIT_TINY.name, ZCU102.name))[BOARD]['experts_hit']:.1f} of {M3VIT_TINY.experts}"


def model_error() -> str:
    """The largest error of the performance model in all cases that `make bench` kept."""
    names = [path.stem for path in KEPT.glob("*.json")]
    errors = [abs(case["predicted"] / case["cycles"] - 1) for name in names for case in kept(name).values()
              if isinstance(case, dict) and case.keys() >= {"predicted", "cycles", "dram_ratio"}]
    return f"{100 * max(errors):.1f} %"


def giga_operations() -> str:
    """Operations of a frame of M3ViT-Tiny, two for a multiply-accumulate, in thousands of millions."""
    return f"{2 * M3VIT_TINY.macs / 1e9:.3f}"


FIGURES = {"bytes-over-needed": bytes_over_needed, "experts-hit": experts_hit, "model-error": model_error,
           "giga-operations": giga_operations}
"""Figures for the middle of a sentence."""


def signed(count: float) -> str:
    """A difference of areas, empty where there is none; block memories count in halves."""
    return f"{count:+,.{int(count % 1 == 0.5)}f}" if count else ""


def ablation() -> str:
    """What each idea is worth: switched off alone."""
    rows, full = [], 0.0
    for row in kept("ablation").get("alone", ()):
        full = full or row["cycles"]
        area = [signed(row["area"][name]) for name in ("lut", "dsp", "bram36")]
        rows.append([row["name"], row["instead"], f"{row['cycles']:,.0f}", f"{row['cycles'] / full:.2f}",
                     f"{row['bytes'] / 1e6:.1f}", *area, row["source"]])
    return table(["without", "instead", "cycles", "of the full", "DRAM MB", "LUT", "DSP", "BRAM36", "from"], rows)


def ablation_steps() -> str:
    """The ideas added one after the other, with the paper's milliseconds."""
    rows, steps = [], kept("ablation").get("cumulative", ())
    for step in steps:
        rows.append([step["added"], f"{step['cycles']:,.0f}", f"{milliseconds(step['cycles']):.3f}",
                     f"{steps[0]['cycles'] / step['cycles']:.2f}", step["source"], f"{step['paper_ms']:.1f}",
                     f"{steps[0]['paper_ms'] / step['paper_ms']:.2f}"])
    return table(["added", "cycles", "ms at 300 MHz", "speed-up", "from", "paper: ms", "paper: speed-up"], rows)
