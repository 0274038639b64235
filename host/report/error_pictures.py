# SPDX-License-Identifier: Apache-2.0
"""Plots of the accuracy report: error by layer, and the residual stream's range within its number format."""

from pathlib import Path

import matplotlib
import numpy as np

from golden.spec.whole_file import write_whole
from host.report.compare import Comparison

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402  the backend must be chosen first


def save_error_by_layer(title: str, results: list[Comparison], path: Path) -> None:
    """MSE after each layer, one line per picture and task; below, value ranges against int16."""
    figure, (errors, ranges) = pyplot.subplots(2, 1, figsize=(9, 7), layout="constrained", sharex=True)
    for result in results:
        errors.semilogy([layer.error.mse for layer in result.layers], marker=".",
                        label=f"{result.picture}, {result.task} ({result.output.sqnr:.1f} dB)")
    errors.set(ylabel="MSE of the residual stream", title=title)
    errors.legend(fontsize=6, ncols=2)
    errors.grid(alpha=0.3)
    places = np.arange(len(results[0].layers))
    low = np.min([[layer.low for layer in result.layers] for result in results], axis=0)
    high = np.max([[layer.high for layer in result.layers] for result in results], axis=0)
    frac = results[0].frac
    limit = 2.0 ** (15 - frac)
    ranges.axhspan(-limit, limit, color="0.92", label=f"int16, step 2^-{frac}: +-{limit:g}")
    ranges.bar(places, high - low, bottom=low, width=0.6, label="float values")
    ranges.set(ylabel="residual stream", xticks=places)
    ranges.set_xticklabels([layer.name for layer in results[0].layers], rotation=45, ha="right", fontsize=7)
    ranges.legend(fontsize=7)
    write_whole(path, lambda part: figure.savefig(part, dpi=110, format=path.suffix[1:]))
    pyplot.close(figure)
