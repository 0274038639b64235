# SPDX-License-Identifier: Apache-2.0
"""Plot of the Pareto front: frame time against each resource."""

from pathlib import Path

import matplotlib

from golden.spec.whole_file import write_whole
from host.explore.evaluate import RESOURCES
from host.explore.search import Search

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402  the backend must be chosen first

SHOWN = ("DSP", "LUT", "BRAM36")
MARKERS = {1: "v", 2: "s", 4: "o"}


def save_pareto_front(found: Search, title: str, path: Path) -> None:
    """All points grey, the front coloured by MACs a cycle with a marker for the ports, the project's own as stars."""
    figure, axes = pyplot.subplots(1, len(SHOWN), figsize=(12, 4), sharey=True, layout="constrained")
    clock = found.board.clock_hz / 1e3
    most = max(point.machine.macs_per_cycle for point in found.pareto_front)
    for axis, name in zip(axes, SHOWN, strict=True):
        field = RESOURCES[name]
        axis.plot([getattr(p.area, field) for p in found.points], [p.cycles / clock for p in found.points], ".",
                  color="0.8", ms=3)
        for ports, marker in MARKERS.items():
            chosen = [p for p in found.pareto_front if p.machine.ports == ports]
            shown = axis.scatter([getattr(p.area, field) for p in chosen], [p.cycles / clock for p in chosen],
                                 c=[p.machine.macs_per_cycle for p in chosen], cmap="viridis_r", marker=marker, s=24,
                                 vmin=0, vmax=most, label=f"{ports} ports" if ports > 1 else "1 port", zorder=2)
        axis.plot([getattr(p.area, field) for p in found.shipped], [p.cycles / clock for p in found.shipped], "r*",
                  ms=10, label="as shipped", zorder=3)
        axis.axvline(found.fill * getattr(found.board, field), color="k", lw=1, ls=":")
        axis.set(xlabel=name, yscale="log")
        axis.tick_params(axis="x", labelrotation=30)
        axis.grid(alpha=0.3, which="both")
    axes[0].set_ylabel(f"ms a frame at {found.board.clock_hz / 1e6:.0f} MHz")
    axes[0].legend(fontsize=7)
    figure.colorbar(shown, ax=axes[-1], label="MACs a cycle")
    figure.suptitle(title)
    write_whole(path, lambda part: figure.savefig(part, dpi=110, format=path.suffix[1:]))
    pyplot.close(figure)
