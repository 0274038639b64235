# SPDX-License-Identifier: Apache-2.0
"""Plots of the benchmark: where the cycles went, the roofline, how the experts were loaded."""

from pathlib import Path

import matplotlib
import numpy as np

from golden.spec.machine import MachineConfig
from sim.demo.layers import Layer

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402  the backend must be chosen first

STACK = (("ARRAY_BUSY", "multiplying"), ("ARRAY_WEIGHTS", "waiting for weights"),
         ("ARRAY_OPERANDS", "waiting for operands"), ("ARRAY_DRAIN", "waiting for epilogue or softmax"))


def save_cycle_stack(runs: dict[str, dict[str, int]], path: Path) -> None:
    """One bar for each run: the array's cycles by what it did or waited for. ``runs``: name -> hardware counters."""
    figure, axis = pyplot.subplots(figsize=(9, 1.2 + 0.6 * len(runs)), layout="constrained")
    names, left = list(runs), np.zeros(len(runs))
    parts = [(label, np.array([counters[key] for counters in runs.values()], float)) for key, label in STACK]
    total = np.array([counters["CYCLES"] for counters in runs.values()], float)
    parts.append(("nothing issued", np.maximum(0, total - sum(values for _, values in parts))))
    for label, values in parts:
        axis.barh(names, values / 1e3, left=left / 1e3, label=label)
        left += values
    axis.set(xlabel="thousand cycles", title="what the matrix array did")
    axis.invert_yaxis()
    axis.legend(fontsize=7)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def save_roofline(layers: list[Layer], machine: MachineConfig, bytes_per_cycle: float, path: Path) -> None:
    """Each layer's useful MACs a cycle over its MACs a DRAM byte, under the roofs of array and memory."""
    figure, axis = pyplot.subplots(figsize=(7, 5), layout="constrained")
    shown = [layer for layer in layers if layer.macs and layer.bytes]
    intensity = [layer.macs / layer.bytes for layer in shown]
    axis.loglog(intensity, [layer.macs / layer.cycles for layer in shown], "o")
    for x, layer in zip(intensity, shown, strict=True):
        axis.annotate(layer.name.removeprefix("blocks."), (x, layer.macs / layer.cycles), fontsize=7)
    span = np.geomspace(min(intensity) / 2, max(intensity) * 2, 50)
    axis.loglog(span, np.minimum(machine.macs_per_cycle, span * bytes_per_cycle), "k-", lw=1)
    axis.set(xlabel="MACs a DRAM byte", ylabel="useful MACs a cycle", title=f"roofline of {machine.name}, by layer")
    axis.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def save_expert_load(layers: list[Layer], experts: int, path: Path) -> None:
    """Tokens in each expert's queue, a row a MoE layer."""
    shown = [layer for layer in layers if layer.queues]
    load = np.array([[layer.queues.get(expert, 0) for expert in range(experts)] for layer in shown])
    figure, axis = pyplot.subplots(figsize=(0.5 * experts + 2, 0.5 * len(shown) + 1.2), layout="constrained")
    image = axis.imshow(load, cmap="magma", aspect="auto")
    for (row, expert), tokens in np.ndenumerate(load):
        axis.text(expert, row, tokens, ha="center", va="center", fontsize=7,
                  color="white" if tokens < load.max() / 2 else "black")
    axis.set(xlabel="expert", xticks=range(experts), yticks=range(len(shown)), title="tokens an expert")
    axis.set_yticklabels([layer.name for layer in shown])
    figure.colorbar(image, ax=axis)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
