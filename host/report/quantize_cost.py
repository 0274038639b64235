# SPDX-License-Identifier: Apache-2.0
"""Cost of quantizing: wall time, processor time and peak memory of ``edge-moe quantize`` for seeded models.

The limits of time hold for two cores that do nothing else; on a busy machine the processor time is compared with them.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from rich.table import Table

from golden.model.store import save_float
from golden.model.synthetic import synthetic_model
from golden.spec.model import DEIT_TINY, ModelConfig
from host.progress import printer

VIT_BASE = replace(DEIT_TINY, name="vit-base", dim=768, heads=12, mlp_hidden=3072)
LIMITS = {"deit-tiny": (90.0, 6.0), "vit-base": (600.0, 6.0)}
"""Most seconds and GiB by model."""
MODELS = {model.name: model for model in (DEIT_TINY, VIT_BASE)}


def cost(config: ModelConfig, folder: Path) -> tuple[float, float, float]:
    """Seconds of wall time, of processor time, and peak GiB of one run in a process of its own."""
    source = folder / f"{config.name}.safetensors"
    save_float(synthetic_model(config, seed=1), source)
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "host.cli", "quantize", str(source), "-o", str(folder / "q.safetensors")],
                   check=True, env=os.environ, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - began, processor, after.ru_maxrss / (1 << 20)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make bench-quantize", description=__doc__)
    parser.add_argument("--model", choices=sorted(MODELS), help="only this one")
    options = parser.parse_args(arguments)
    table, met = Table("model", "wall, s", "processor, s", "limit, s", "peak, GiB", "limit, GiB", "met"), True
    with tempfile.TemporaryDirectory() as folder:  # the smaller model first: the peak is that of all so far
        for name in [options.model] if options.model else MODELS:
            wall, processor, peak = cost(MODELS[name], Path(folder))
            seconds, memory = LIMITS[name]
            good = min(wall, processor) <= seconds and peak <= memory
            table.add_row(name, f"{wall:.1f}", f"{processor:.1f}", f"{seconds:g}", f"{peak:.2f}", f"{memory:g}",
                          "yes" if good else "NO")
            met = met and good
    printer().print(table)
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
