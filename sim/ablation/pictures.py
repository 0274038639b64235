# SPDX-License-Identifier: Apache-2.0
"""Bar chart of the ablation."""

from pathlib import Path

import matplotlib

from host.report.measured import milliseconds
from sim.ablation.rows import Row, Step

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402  the backend must be chosen first


def save_bars(rows: list[Row], steps: list[Step], path: Path) -> None:
    """Above: cycles without each idea over those of the full design. Below: milliseconds with one idea after the other,
    here and in the paper, on a logarithmic axis."""
    figure, (above, below) = pyplot.subplots(2, 1, figsize=(8, 7), layout="constrained")
    names = [row.name if not row.instead else f"without {row.name}:\n{row.instead}" for row in rows]
    bars = above.barh(names, [row.cycles / rows[0].cycles for row in rows])
    above.bar_label(bars, [f"{row.cycles:,.0f}" for row in rows], padding=3, fontsize=7)
    above.set(xlabel="cycles over those of the full design", title="each idea switched off alone")
    above.tick_params(axis="y", labelsize=7)
    above.margins(x=0.15)
    above.invert_yaxis()
    places = range(len(steps))
    for shift, values, label in ((-0.2, [milliseconds(step.cycles) for step in steps], "here, 300 MHz assumed"),
                                 (0.2, [step.paper_ms for step in steps], "Edge-MoE, table V")):
        bars = below.bar([place + shift for place in places], values, 0.4, label=label)
        below.bar_label(bars, [f"{value:.3g}" for value in values], fontsize=7)
    below.set_xticks(places, [step.added if n == 0 else f"+ {step.added}" for n, step in enumerate(steps)], fontsize=7,
                     rotation=15)
    below.set(yscale="log", ylabel="ms a frame", title="added one after the other")
    below.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
